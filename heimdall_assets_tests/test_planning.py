"""The planner's decisions, as properties over whatever waits."""

from __future__ import annotations

import itertools
import math
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heimdall_assets.planning import Asked, Candidate, Lane, choose, make_batches, plan, plan_requests, priority

if TYPE_CHECKING:
    from collections.abc import Sequence


unhurried = settings(deadline=None, max_examples=60)
"""Machines that run several tests at once are slow now and then."""


def candidates(registered: Sequence[bool], num_fresh: int = 0) -> list[Candidate]:
    """Waiting sessions, the newest first; their ids count up."""
    return [Candidate(uuid.UUID(int=index + 1), flag, index < num_fresh) for index, flag in enumerate(registered)]


waiting = st.builds(candidates, st.lists(st.booleans(), max_size=60), st.integers(0, 60))
LANES = get_args(Lane)
lanes = st.sets(st.sampled_from(LANES))
slots = st.integers(0, 80)
shares = st.integers(0, 100)


@unhurried
@given(waiting, slots, shares)
def test_a_tick_never_plans_more_than_its_slots_and_no_session_twice(
    pending: list[Candidate], slots: int, share: int
) -> None:
    fresh, old = choose(pending[:slots], pending[::-1][:slots], slots=slots, oldest_share_percent=share)
    chosen = [candidate.session_id for candidate in (*fresh, *old)]
    assert len(chosen) == len(set(chosen)) == min(slots, len(pending))


@unhurried
@given(waiting, st.integers(1, 80), shares)
def test_where_more_waits_than_fits_the_oldest_get_their_share_and_the_newest_the_rest(
    pending: list[Candidate], slots: int, share: int
) -> None:
    fresh, old = choose(pending[:slots], pending[::-1][:slots], slots=slots, oldest_share_percent=share)
    if len(pending) <= slots:
        assert (fresh, old) == (pending, [])
        return
    reserved = math.ceil(slots * share / 100)
    assert old == pending[::-1][:reserved]
    assert fresh == pending[: slots - reserved]


@unhurried
@given(waiting, st.integers(1, 20))
def test_batches_hold_every_session_once_in_order_and_are_ranges_only_of_new_keys(
    pending: list[Candidate], batch_size: int
) -> None:
    batches = make_batches(pending, batch_size=batch_size, lane="fresh")
    assert all(1 <= len(batch.session_ids) <= batch_size for batch in batches)
    new = [key for batch in batches if batch.is_contiguous for key in batch.session_ids]
    known = [key for batch in batches if not batch.is_contiguous for key in batch.session_ids]
    assert new == [c.session_id for c in pending if not c.is_registered]
    assert known == [c.session_id for c in pending if c.is_registered]
    assert len({batch.batch_id for batch in batches}) == len(batches)
    assert all(batch.batch_id.startswith("fresh-") for batch in batches)


@unhurried
@given(waiting, st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_failed_sessions_never_take_a_slot_from_a_healthy_one(
    pending: list[Candidate], num_retries: int, slots: int, retry_slots: int
) -> None:
    retries = [Candidate(uuid.UUID(int=10_000 + index), True) for index in range(num_retries)]

    def planned(with_retries: list[Candidate]) -> dict[str, set[uuid.UUID]]:
        batches = plan(
            pending[:slots],
            pending[::-1][:slots],
            with_retries,
            slots=slots,
            retry_slots=retry_slots,
            batch_size=10,
            oldest_share_percent=20,
        )
        found = defaultdict[str, set[uuid.UUID]](set)
        for batch in batches:
            found[batch.lane] |= set(batch.session_ids)
        return found

    with_failures, without = planned(retries), planned([])
    assert len(with_failures.pop("retry", ())) == min(num_retries, retry_slots)
    assert with_failures == without


@pytest.mark.parametrize(("waiting_count", "expected"), [(49, 0), (50, 50), (120, 100)])
@pytest.mark.parametrize("lane", ["fresh", "backlog"])
def test_while_runs_of_a_lane_wait_in_the_queue_only_full_batches_are_added(
    lane: Lane, waiting_count: int, expected: int
) -> None:
    pending = candidates([False] * waiting_count, waiting_count if lane == "fresh" else 0)
    batches = plan(
        pending,
        pending[::-1],
        [],
        slots=250,
        retry_slots=0,
        batch_size=50,
        oldest_share_percent=20,
        queued={lane},
    )
    assert sum(len(batch.session_ids) for batch in batches) == expected


@unhurried
@given(waiting, st.integers(1, 20))
def test_holding_back_leaves_out_the_newest_of_each_kind_and_less_than_a_batch_of_them(
    pending: list[Candidate], batch_size: int
) -> None:
    batches = plan(
        pending,
        pending[::-1],
        pending[:3],
        slots=80,
        retry_slots=2,
        batch_size=batch_size,
        oldest_share_percent=20,
        queued={"fresh", "backlog"},
    )
    for lane, is_registered in itertools.product(("fresh", "backlog"), (False, True)):
        kind = [c.session_id for c in pending if c.is_registered is is_registered and c.is_fresh is (lane == "fresh")]
        held = [batch for batch in batches if batch.lane == lane and batch.is_contiguous is not is_registered]
        assert all(len(batch.session_ids) == batch_size for batch in held)
        assert [key for batch in held for key in batch.session_ids] == kind[len(kind) % batch_size :]
    retried = sum(len(batch.session_ids) for batch in batches if batch.lane == "retry")
    assert retried == min(2, len(pending))  # what is tried again is not held back


@unhurried
@given(waiting, st.integers(1, 40), st.integers(1, 20), lanes)
@example(candidates([False] * 60), 40, 7, {"backlog"})
def test_holding_back_holds_no_old_session_where_more_waits_than_a_tick_can_take(
    pending: list[Candidate], slots: int, batch_size: int, queued: set[Lane]
) -> None:
    held, all_of_them = (
        [
            (batch.lane, batch.is_contiguous, batch.session_ids)
            for batch in plan(
                pending[:slots],
                pending[::-1][:slots],
                [],
                slots=slots,
                retry_slots=0,
                batch_size=batch_size,
                oldest_share_percent=20,
                queued=lanes_in_queue,
            )
        ]
        for lanes_in_queue in (queued, set[Lane]())
    )
    if len(pending) > slots:
        assert [each for each in held if each[0] != "fresh"] == [each for each in all_of_them if each[0] != "fresh"]
    planned = [key for _, _, keys in all_of_them for key in keys]
    assert len(planned) == len(set(planned)) == min(slots, len(pending))


@unhurried
@given(waiting, st.integers(0, 40), st.integers(0, 20))
def test_fresh_sessions_have_batches_of_their_own_and_slots_of_their_own(
    pending: list[Candidate], slots: int, fresh_slots: int
) -> None:
    most = max(slots, fresh_slots)
    batches = plan(
        pending[:most],
        pending[::-1][:most],
        [],
        slots=slots,
        retry_slots=0,
        batch_size=10,
        oldest_share_percent=20,
        fresh_slots=fresh_slots,
    )
    fresh = {c.session_id for c in pending if c.is_fresh}
    planned = {lane: [key for batch in batches if batch.lane == lane for key in batch.session_ids] for lane in LANES}
    assert fresh.issuperset(planned["fresh"])
    assert len(planned["fresh"]) >= min(fresh_slots, len(fresh) - sum(key in fresh for key in planned["backlog"]))
    assert len(planned["backlog"]) <= slots
    keys = [key for each in planned.values() for key in each]
    assert len(keys) == len(set(keys))


def test_a_session_that_ceases_to_be_fresh_between_two_queries_is_planned_once() -> None:
    newest, later = candidates([False] * 22, 22), candidates([False] * 22)
    batches = plan(
        newest[:20],
        later[::-1][:20],
        [],
        slots=20,
        retry_slots=0,
        batch_size=10,
        oldest_share_percent=50,
        fresh_slots=20,
    )
    keys = [key for batch in batches for key in batch.session_ids]
    assert sorted(keys) == [candidate.session_id for candidate in newest]


@unhurried
@given(waiting, st.integers(1, 40), shares, st.integers(1, 20))
def test_every_batch_is_of_one_kind_and_lane_and_has_a_name_of_its_own(
    pending: list[Candidate], slots: int, share: int, batch_size: int
) -> None:
    retries = [Candidate(uuid.UUID(int=10_000 + index), True) for index in range(5)]
    batches = plan(
        pending[:slots],
        pending[::-1][:slots],
        retries,
        slots=slots,
        retry_slots=5,
        batch_size=batch_size,
        oldest_share_percent=share,
    )
    registered = {c.session_id for c in (*pending, *retries) if c.is_registered}
    for batch in batches:
        assert 1 <= len(batch.session_ids) <= batch_size
        assert all((key in registered) is not batch.is_contiguous for key in batch.session_ids)
        assert batch.batch_id.partition("-")[0] == batch.lane  # the planner counts lanes by it
        assert (batch.request_id, batch.stale) == (None, False)
    assert len({batch.batch_id for batch in batches}) == len(batches)
    found = [batch.lane for batch in batches]
    assert found == sorted(found, key=LANES.index)


def test_a_tick_without_slots_plans_nothing() -> None:
    pending = candidates([False, True])
    for slots in (0, -5):
        assert choose(pending, pending, slots=slots, oldest_share_percent=20) == ([], [])
        assert (
            plan(pending, pending, pending, slots=slots, retry_slots=slots, batch_size=5, oldest_share_percent=20) == []
        )


@unhurried
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 20), st.booleans()), max_size=60), st.integers(0, 30))
def test_a_session_that_several_requests_wait_for_is_planned_once_for_the_first(
    asked: list[tuple[int, int, bool]], slots: int
) -> None:
    queue = [Asked(uuid.UUID(int=r), uuid.UUID(int=s), registered, False, 7) for r, s, registered in asked]
    batches = plan_requests(queue, slots=slots)
    planned = [key for batch in batches for key in batch.session_ids]
    assert len(planned) == len(set(planned)) == min(slots, len({item.session_id for item in queue}))
    owners = {key: batch.request_id for batch in batches for key in batch.session_ids}
    for item in reversed(queue):
        if item.session_id in owners and all(item is not other for other in queue[: queue.index(item)]):
            first = next(other for other in queue if other.session_id == item.session_id)
            assert owners[item.session_id] == first.request_id
    assert all(batch.lane == "request" and len(batch.session_ids) <= 7 for batch in batches)


def test_batches_of_requests_say_whose_they_are_and_whether_they_compute_again() -> None:
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    queue = [
        Asked(first, uuid.UUID(int=11), False, False, 2),
        Asked(first, uuid.UUID(int=12), False, True, 2),
        Asked(first, uuid.UUID(int=13), True, False, 2),
        Asked(second, uuid.UUID(int=14), False, False, 1),
        Asked(second, uuid.UUID(int=15), False, False, 1),
    ]
    found = [(b.request_id, b.stale, b.is_contiguous, len(b.session_ids)) for b in plan_requests(queue, slots=9)]
    assert found == [
        (first, False, True, 1),
        (first, False, False, 1),
        (first, True, True, 1),
        (second, False, True, 1),
        (second, False, True, 1),
    ]


def test_fresh_sessions_come_before_what_the_schedule_caught_before_retries_and_requests() -> None:
    assert priority("fresh", "sensor") == priority("backlog", "sensor") == 10
    assert priority("retry", "schedule") == priority("backlog", str(uuid.uuid4())) == -10
    assert priority("fresh", "schedule") == priority("backlog", "schedule") == 0
    assert priority("retry", "sensor") == priority("request", str(uuid.uuid4())) == -10
