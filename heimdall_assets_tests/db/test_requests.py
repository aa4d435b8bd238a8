"""Requests: a selection is taken in once, followed to its end, and never asks for a session twice."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.db import attempts, discovery, requests, states, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.db.progress import Progress, progress, recent
from heimdall_assets.db.requests import Selection
from heimdall_assets.errors import SettingError, UnknownRequest
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import GOOD, TRUNCATED, SessionFactory

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings


def count(engine: Engine, **selection: object) -> int:
    """How many sessions a selection finds."""
    with transaction(engine) as connection:
        return requests.count(connection, Selection(**selection), feature_version=FEATURE_VERSION)  # type: ignore[arg-type]


def submit(engine: Engine, **selection: object) -> UUID:
    """Ask, and let the planner take it in."""
    with transaction(engine) as connection:
        key = requests.submit(connection, Selection(**selection), requested_by="test")  # type: ignore[arg-type]
        discovery.discover(connection)
        requests.take_in(connection, feature_version=FEATURE_VERSION)
    return key


def settle(engine: Engine, key: UUID) -> Progress:
    """Give outcomes, as every tick does; how far the request is."""
    with transaction(engine) as connection:
        requests.settle(connection, feature_version=FEATURE_VERSION)
        return progress(connection, key)


def waiting(engine: Engine) -> list[UUID]:
    """Sessions that the planner would plan for requests."""
    with transaction(engine) as connection:
        found = requests.next_sessions(connection, 1000, feature_version=FEATURE_VERSION)
        return [row.recording_session_id for row in found]


def add_foreign_row(factory: SessionFactory, key: UUID) -> None:
    """A row as other code writes it."""
    factory.rows(
        "INSERT INTO heimdall.measurement_features (recording_session_id, timestamp, receiver_features, "
        "extraction_metadata, overall_confidence) VALUES (:id, now(), ARRAY['{\"rx_id\": \"RX1\"}'::jsonb], '{}', 0.5) "
        "RETURNING 1",
        id=key,
    )


def test_a_selection_counts_pending_stale_and_failed_sessions_before_anybody_has_looked(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    pending = factory.add_many(4)
    stale = factory.add(minutes=10)
    add_foreign_row(factory, stale)
    factory.add((None,), minutes=20)  # no IQ data
    factory.add(status="recording", minutes=30)
    broken = factory.add((TRUNCATED,), minutes=40)
    extract_session(engine, broken, settings)
    assert count(engine, pending=True) == 4
    assert count(engine, stale=True) == 1
    assert count(engine, failed=True) == 1
    assert count(engine, reason="truncated") == 1
    assert count(engine, reason="not_found") == 0
    assert count(engine, pending=True, stale=True, failed=True) == 6
    assert count(engine, pending=True, limit=3) == 3
    assert count(engine, session_ids=(str(pending[0]), str(stale), str(broken))) == 3
    assert count(engine, pending=True, since="2025-06-01T00:01:00+00:00", until="2025-06-01T00:03:00+00:00") == 2


def test_a_selection_that_names_nothing_is_refused(engine: Engine) -> None:
    with pytest.raises(SettingError, match="the selection names no sessions"):
        count(engine, limit=5)


def test_a_request_ends_with_done_and_failed_adding_up_to_what_it_found(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    keys = [*factory.add_many(3), factory.add((TRUNCATED,), minutes=9)]
    request = submit(engine, pending=True)
    factory.add_many(2, minutes=60)  # these came later: they are not part of it
    assert set(waiting(engine)) == set(keys)
    assert settle(engine, request).remaining == 4
    for key in keys[:2]:
        extract_session(engine, key, settings)
    half = settle(engine, request)
    assert (half.status, half.done, half.failed, half.remaining) == ("running", 2, 0, 2)
    assert half.eta_seconds is not None
    for key in keys[2:]:
        extract_session(engine, key, settings)
    end = settle(engine, request)
    assert (end.status, end.total_found, end.done, end.failed, end.remaining) == ("done", 4, 3, 1, 0)
    assert end.has_ended
    assert waiting(engine) == []


def test_a_request_that_finds_nothing_ends_at_once(engine: Engine) -> None:
    end = settle(engine, submit(engine, pending=True))
    assert (end.status, end.total_found) == ("done", 0)


def test_two_identical_requests_are_both_answered_by_one_attempt_a_session(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    keys = factory.add_many(2, (TRUNCATED,))
    for key in keys:
        extract_session(engine, key, settings)
    first, second = submit(engine, failed=True), submit(engine, failed=True)
    assert len(waiting(engine)) == 4  # the planner takes each session once: see planning.plan_requests
    for key in keys:
        extract_session(engine, key, settings)
    assert [settle(engine, request).failed for request in (first, second)] == [2, 2]
    attempts = factory.rows("SELECT count(*) FROM heimdall.feature_attempts GROUP BY recording_session_id")
    assert attempts == [(2,), (2,)]


def test_what_ended_since_the_last_look_is_not_asked_for_again(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    broken, good = factory.add((TRUNCATED,)), factory.add(minutes=5)
    extract_session(engine, broken, settings)
    submit(engine, pending=True, failed=True)
    assert set(waiting(engine)) == {broken, good}
    extract_session(engine, good, settings)
    assert waiting(engine) == [broken]
    extract_session(engine, broken, settings)
    assert waiting(engine) == []


def test_a_stale_session_is_open_until_it_was_computed_again(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    key = factory.add()
    add_foreign_row(factory, key)
    request = submit(engine, stale=True)
    assert settle(engine, request).remaining == 1
    assert waiting(engine) == [key]
    extract_session(engine, key, settings)  # leaves other code's features alone
    assert settle(engine, request).remaining == 1
    extract_session(engine, key, settings, stale=True)
    assert settle(engine, request).done == 1
    assert count(engine, stale=True) == 0


def test_a_cancelled_request_plans_nothing_more_and_keeps_what_was_done(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    keys = factory.add_many(3)
    request = submit(engine, pending=True)
    extract_session(engine, keys[0], settings)
    with transaction(engine) as connection:
        cancelled = requests.cancel(connection, request)
        assert requests.cancelled_requests(connection, {str(request), "sensor"}) == {str(request)}
    assert (cancelled.status, cancelled.done, cancelled.cancelled, cancelled.remaining) == ("cancelled", 1, 2, 0)
    assert waiting(engine) == []
    assert settle(engine, request).status == "cancelled"


def test_a_session_that_vanished_or_was_ignored_counts_as_failed(factory: SessionFactory, engine: Engine) -> None:
    keys = factory.add_many(2, (GOOD,))
    request = submit(engine, pending=True)
    with transaction(engine) as connection:
        states.ignore(connection, keys[:1])
        connection.execute(
            sa.text("DELETE FROM heimdall.feature_states WHERE recording_session_id = :id"), {"id": keys[1]}
        )
    end = settle(engine, request)
    assert (end.status, end.failed) == ("done", 2)


def test_reserved_and_running_sessions_are_not_offered_twice(factory: SessionFactory, engine: Engine) -> None:
    keys = factory.add_many(3)
    submit(engine, pending=True)
    factory.rows(
        "UPDATE heimdall.feature_states SET reserved_by = 'fresh-1' WHERE recording_session_id = :id RETURNING 1",
        id=keys[0],
    )
    factory.rows(
        "UPDATE heimdall.feature_states SET state = 'running' WHERE recording_session_id = :id RETURNING 1", id=keys[1]
    )
    assert waiting(engine) == [keys[2]]


def test_an_unknown_request_is_named(engine: Engine) -> None:
    key = uuid.uuid4()
    with pytest.raises(UnknownRequest, match=str(key)), transaction(engine) as connection:
        progress(connection, key)


def test_ignored_sessions_leave_the_work_list_until_they_are_brought_back(
    factory: SessionFactory, engine: Engine
) -> None:
    key, empty = factory.add(), factory.add((None,), minutes=5)
    with transaction(engine) as connection:
        assert set(states.ignore(connection, [key, empty])) == {key, empty}
        assert states.ignore(connection, [key]) == []
    assert count(engine, pending=True) == 0
    with transaction(engine) as connection:
        assert set(states.ignore(connection, [key, empty], undo=True)) == {key, empty}
    assert (factory.state(key), factory.state(empty)) == ("pending", "empty")


@given(
    st.builds(
        Selection,
        pending=st.booleans(),
        reason=st.none() | st.text(max_size=10),
        session_ids=st.lists(st.uuids().map(str), max_size=3).map(tuple),
        limit=st.none() | st.integers(1, 9),
    )
)
def test_a_stored_selection_reads_back_as_it_was_whatever_newer_versions_added(selection: Selection) -> None:
    stored = {**asdict(selection), "session_ids": list(selection.session_ids), "of_a_later_version": 1}
    assert Selection.from_json(stored) == selection


def test_a_request_cancelled_half_way_ends_when_what_runs_has_ended_and_its_counts_add_up(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    keys = factory.add_many(5)
    request = submit(engine, pending=True)
    reserve(engine, "request-1", keys[:3])
    with transaction(engine) as connection:
        assert requests.note_queued(connection) == [(request, 1, 3)]
    extract_session(engine, keys[0], settings)
    set_running(factory, keys[1])
    with transaction(engine) as connection:
        cancelled = requests.cancel(connection, request)
    assert (cancelled.status, cancelled.done, cancelled.remaining, cancelled.cancelled) == ("cancelling", 1, 2, 2)
    assert not cancelled.has_ended
    assert waiting(engine) == []
    with transaction(engine) as connection:
        work.release(connection, ["request-1"])  # its run in the queue was cancelled; what runs goes on
    half = settle(engine, request)
    assert (half.status, half.done, half.cancelled, half.remaining) == ("cancelling", 1, 3, 1)
    factory.rows("UPDATE heimdall.feature_states SET state = 'pending' WHERE state = 'running' RETURNING 1")
    extract_session(engine, keys[1], settings)
    end = settle(engine, request)
    assert (end.status, end.total_found, end.done, end.failed, end.cancelled) == ("cancelled", 5, 2, 0, 3)
    assert end.has_ended
    extract_session(engine, keys[2], settings)  # the sensor's work now: the request's counts are final
    assert settle(engine, request) == end


def reserve(engine: Engine, batch_id: str, keys: list[UUID]) -> None:
    """Plan sessions in a batch, as the planner does."""
    with transaction(engine) as connection:
        work.reserve(connection, batch_id, keys)


def set_running(factory: SessionFactory, key: UUID) -> None:
    """A worker has begun with a session."""
    factory.rows(
        "UPDATE heimdall.feature_states SET state = 'running' WHERE recording_session_id = :id RETURNING 1", id=key
    )


def test_a_request_nobody_has_taken_in_can_be_cancelled_without_a_planner(engine: Engine) -> None:
    with transaction(engine) as connection:
        request = requests.submit(connection, Selection(pending=True), requested_by="test")
        assert requests.cancel(connection, request).has_ended
        requests.take_in(connection, feature_version=FEATURE_VERSION)
        assert progress(connection, request).status == "cancelled"
        assert requests.cancel(connection, request).status == "cancelled"


def test_cancelling_waits_for_a_tick_that_is_under_way(factory: SessionFactory, engine: Engine) -> None:
    keys = factory.add_many(2)
    request = submit(engine, pending=True)

    def cancel() -> Progress:
        with transaction(engine) as connection:
            return requests.cancel(connection, request)

    with ThreadPoolExecutor(1) as pool:
        with planner_lock(engine) as planner:
            assert planner is not None
            future = pool.submit(cancel)
            wait_for(
                lambda: factory.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") > 0,
                "the command to wait",
                poll_s=0.05,
            )
            work.reserve(planner, "request-1", keys[:1])
            requests.note_queued(planner)
        cancelled = future.result()
    assert (cancelled.status, cancelled.remaining, cancelled.cancelled) == ("cancelling", 1, 1)


def test_sessions_count_as_queued_whoever_planned_them_and_again_when_they_are_planned_anew(
    factory: SessionFactory, engine: Engine
) -> None:
    keys = factory.add_many(4)
    first, second = submit(engine, pending=True), submit(engine, pending=True, limit=1)
    reserve(engine, "fresh-1", keys[2:])
    reserve(engine, "request-1", keys[:1])

    def noted() -> set[tuple[UUID, int, int]]:
        with transaction(engine) as connection:
            return set(requests.note_queued(connection))

    assert noted() == {(first, 1, 2), (first, 2, 1), (second, 1, 1)}
    assert noted() == set()
    with transaction(engine) as connection:
        work.release(connection, ["fresh-1"])
    reserve(engine, "request-2", keys[2:3])
    assert noted() == {(first, 3, 1)}
    with transaction(engine) as connection:
        assert [progress(connection, key).tasks_queued for key in (first, second)] == [3, 1]


def test_a_session_that_kills_its_workers_fails_its_request_instead_of_being_asked_for_without_end(
    factory: SessionFactory, engine: Engine
) -> None:
    key = factory.add()
    request = submit(engine, pending=True)
    rule = states.RetryRule(max_attempts=2, base_seconds=1, max_seconds=1)
    for _ in range(requests.MOST_LOST):
        assert settle(engine, request).remaining == 1
        assert waiting(engine) == [key]
        with transaction(engine) as connection:
            attempts.begin_attempt(connection, key, run_id="x", feature_version=FEATURE_VERSION)
        with transaction(engine) as connection:
            assert attempts.recover_lost(connection, rule) == [key]
    end = settle(engine, request)
    assert (end.status, end.failed) == ("done", 1)


def test_a_selection_that_cannot_be_read_is_cancelled_and_stops_no_other(
    factory: SessionFactory, engine: Engine
) -> None:
    factory.add()
    for selection in ("{}", '{"session_ids": ["x"]}', '{"pending": true, "since": 5}'):
        factory.rows(
            "INSERT INTO heimdall.feature_requests (selection, requested_by) VALUES (CAST(:values AS jsonb), 'x') "
            "RETURNING 1",
            values=selection,
        )
    assert settle(engine, submit(engine, pending=True)).total_found == 1
    with transaction(engine) as connection:
        found = recent(connection, 10)
    assert [request.status for request in found] == ["running", "cancelled", "cancelled", "cancelled"]
    with transaction(engine) as connection, pytest.raises(SettingError, match="names no sessions"):
        requests.submit(connection, Selection(), requested_by="test")


def test_a_reason_narrows_the_failed_ones_among_named_sessions(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    pending, broken = factory.add(), factory.add((TRUNCATED,), minutes=5)
    extract_session(engine, broken, settings)
    named = (str(pending), str(broken))
    assert count(engine, session_ids=named) == 2
    assert count(engine, session_ids=named, reason="truncated") == 2
    assert count(engine, session_ids=named, reason="not_found") == 1


def test_open_requests_are_listed_before_those_that_ended_the_newest_first(
    factory: SessionFactory, engine: Engine
) -> None:
    factory.add()
    first, second = submit(engine, pending=True), submit(engine, pending=True)
    with transaction(engine) as connection:
        requests.cancel(connection, second)
    third = submit(engine, pending=True)
    with transaction(engine) as connection:
        assert [request.request_id for request in recent(connection, 10)] == [third, first, second]
        assert [request.request_id for request in recent(connection, 1)] == [third]


def test_some_stale_sessions_are_asked_for_at_a_time_and_those_whose_recomputation_failed_never(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    keys = factory.add_many(4)
    for key in keys:
        extract_session(engine, key, settings)
    old = """
        UPDATE heimdall.measurement_features
        SET extraction_metadata = jsonb_set(extraction_metadata, '{feature_version}', '0') RETURNING 1"""
    factory.rows(old)
    with transaction(engine) as connection:
        work.absorb_changes(connection, 9)
    (factory.root / GOOD).rename(factory.root / "away")
    extract_session(engine, keys[3], settings, stale=True)  # fails, and the features stay stale
    (factory.root / "away").rename(factory.root / GOOD)

    def ask(limit: int) -> int:
        with transaction(engine) as connection:
            return requests.ask_for_stale(connection, limit, feature_version=FEATURE_VERSION)

    assert ask(0) == 0
    assert ask(2) == 2
    assert ask(2) == 0  # one at a time
    with transaction(engine) as connection:
        requests.take_in(connection, feature_version=FEATURE_VERSION)
        found = requests.next_sessions(connection, 9, feature_version=FEATURE_VERSION)
        assert [row.recording_session_id for row in found] == [keys[2], keys[1]]  # the newest first
        assert all(row.stale for row in found)
    for key in keys[1:3]:
        assert extract_session(engine, key, settings, stale=True).computed
    with transaction(engine) as connection:
        requests.settle(connection, feature_version=FEATURE_VERSION)
    assert ask(9) == 1
