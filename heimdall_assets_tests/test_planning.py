"""The planner's decisions, as properties over whatever waits."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.planning import Asked, Candidate, choose, make_batches, plan, plan_requests, priority

if TYPE_CHECKING:
    from collections.abc import Sequence


def candidates(registered: Sequence[bool]) -> list[Candidate]:
    """Waiting sessions, the newest first; their ids count up."""
    return [Candidate(uuid.UUID(int=index + 1), flag) for index, flag in enumerate(registered)]


waiting = st.lists(st.booleans(), max_size=60).map(candidates)
slots = st.integers(0, 80)
shares = st.integers(0, 100)


@given(waiting, slots, shares)
def test_a_tick_never_plans_more_than_its_slots_and_no_session_twice(
    pending: list[Candidate], slots: int, share: int
) -> None:
    fresh, old = choose(pending[:slots], pending[::-1][:slots], slots=slots, oldest_share_percent=share)
    chosen = [candidate.session_id for candidate in (*fresh, *old)]
    assert len(chosen) == len(set(chosen)) == min(slots, len(pending))


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
        lanes: dict[str, set[uuid.UUID]] = {"fresh": set(), "backlog": set(), "retry": set()}
        for batch in batches:
            lanes[batch.lane] |= set(batch.session_ids)
        return lanes

    with_failures, without = planned(retries), planned([])
    assert with_failures["fresh"] | with_failures["backlog"] == without["fresh"] | without["backlog"]
    assert len(with_failures["retry"]) == min(num_retries, retry_slots)


@pytest.mark.parametrize(("waiting_count", "expected"), [(49, 0), (50, 50), (120, 100)])
def test_while_fresh_runs_wait_in_the_queue_only_full_batches_are_added(waiting_count: int, expected: int) -> None:
    pending = candidates([False] * waiting_count)
    batches = plan(
        pending,
        pending[::-1],
        [],
        slots=250,
        retry_slots=0,
        batch_size=50,
        oldest_share_percent=20,
        hold_partial=True,
    )
    assert sum(len(batch.session_ids) for batch in batches) == expected


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


def test_fresh_sessions_come_before_what_the_schedule_caught_before_retries_and_requests() -> None:
    assert priority("fresh", "sensor") == 10
    assert priority("fresh", "schedule") == priority("backlog", "sensor") == 0
    assert priority("retry", "sensor") == priority("request", str(uuid.uuid4())) == -10
