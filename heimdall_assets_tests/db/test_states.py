"""States and attempts: what a session may become, and when it is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.db import states, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.states import RetryRule
from heimdall_assets.errors import RecordingNotFound, TruncatedRecording
from heimdall_assets_tests.factory import FIRST_START

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.errors import HeimdallError
    from heimdall_assets_tests.factory import SessionFactory

RULE = RetryRule(max_attempts=4, base_seconds=10.0, max_seconds=25.0)


def begin(engine: Engine, key: UUID) -> int:
    """Begin an attempt."""
    with transaction(engine) as connection:
        return states.begin_attempt(connection, key, run_id="run", feature_version=1)


def fail(engine: Engine, key: UUID, error: HeimdallError) -> str:
    """An attempt that fails; the state that it leaves."""
    number = begin(engine, key)
    with transaction(engine) as connection:
        state = states.set_failed(connection, key, error, RULE)
        states.finish_attempt(connection, key, number, outcome="failed", seconds=0.1, error=error)
    return state


def test_discovery_finds_completed_sessions_once_by_time_by_id_or_all(factory: SessionFactory, engine: Engine) -> None:
    keys = factory.add_many(5)
    factory.add(status="recording")
    with transaction(engine) as connection:
        assert states.discover(connection, since=FIRST_START + timedelta(minutes=3)) == 2
        assert states.discover(connection, session_ids=keys[:1]) == 1
        assert states.discover(connection) == 2
        assert states.discover(connection) == 0
    assert {factory.state(key) for key in keys} == {"pending"}


def test_a_session_without_iq_data_is_empty(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add((None, None))
    with transaction(engine) as connection:
        states.discover(connection)
    assert factory.state(key) == "empty"


def test_a_permanent_failure_is_quarantined_at_once(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        states.discover(connection)
    assert fail(engine, key, TruncatedRecording("cut")) == "quarantined"
    with transaction(engine) as connection:
        assert work.due_retries(connection, 10) == []


@pytest.mark.parametrize(("attempt", "wait_seconds"), [(1, 10.0), (2, 20.0), (3, 25.0)])
def test_a_transient_failure_waits_twice_as_long_each_time_up_to_a_limit(
    factory: SessionFactory, engine: Engine, attempt: int, wait_seconds: float
) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        states.discover(connection)
    for _ in range(attempt):
        assert fail(engine, key, RecordingNotFound("gone")) == "failed"
    left = factory.scalar(
        "SELECT extract(epoch FROM next_attempt_at - updated_at) FROM heimdall.feature_states "
        "WHERE recording_session_id = :id",
        id=key,
    )
    assert 0.75 * wait_seconds - 0.1 <= float(left) <= 1.25 * wait_seconds + 0.1  # the random factor


def test_after_the_last_attempt_a_session_is_quarantined(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        states.discover(connection)
    outcomes = [fail(engine, key, RecordingNotFound("gone")) for _ in range(RULE.max_attempts)]
    assert outcomes == ["failed", "failed", "failed", "quarantined"]
    numbers = factory.rows("SELECT number, outcome, reason FROM heimdall.feature_attempts ORDER BY number")
    assert numbers == [(n, "failed", "not_found") for n in range(1, 5)]


def test_a_success_starts_the_count_of_attempts_anew_but_not_their_numbers(
    factory: SessionFactory, engine: Engine
) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        states.discover(connection)
    fail(engine, key, RecordingNotFound("gone"))
    number = begin(engine, key)
    assert number == 2
    with transaction(engine) as connection:
        states.set_featured(
            connection,
            key,
            state="done",
            feature_version=1,
            measurements_total=3,
            measurements_with_features=3,
            reason=None,
            message=None,
        )
        row = states.state_of(connection, key)
    assert row is not None
    assert (row.state, row.attempts, row.reason, row.next_attempt_at) == ("done", 0, None, None)


def test_a_running_session_is_lost_only_when_nobody_holds_its_lock(factory: SessionFactory, engine: Engine) -> None:
    alive, dead = factory.add_many(2)
    with transaction(engine) as connection:
        states.discover(connection)
    for key in (alive, dead):
        begin(engine, key)
    with session_lock(engine, alive, timeout_seconds=1), transaction(engine) as connection:
        assert states.recover_lost(connection, RULE) == [dead]
    assert (factory.state(alive), factory.state(dead)) == ("running", "pending")
    lost = factory.rows(
        "SELECT outcome, reason FROM heimdall.feature_attempts WHERE recording_session_id = :id", id=dead
    )
    assert lost == [("lost", "worker_lost")]
    with transaction(engine) as connection:
        assert states.recover_lost(connection, RULE) == [alive]


def test_a_session_that_kills_its_workers_is_quarantined_in_the_end(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        states.discover(connection)
    for _ in range(RULE.max_attempts):
        begin(engine, key)
        with transaction(engine) as connection:
            assert states.recover_lost(connection, RULE) == [key]
    assert factory.state(key) == "quarantined"


def test_work_is_ordered_reserved_and_given_back(factory: SessionFactory, engine: Engine) -> None:
    keys = factory.add_many(6)
    with transaction(engine) as connection:
        states.discover(connection)
        assert [row[0] for row in work.newest_pending(connection, 2)] == keys[:3:-1]
        assert [row[0] for row in work.oldest_pending(connection, 2)] == keys[:2]
        work.reserve(connection, "fresh-1", keys[:4])
        assert [row[0] for row in work.oldest_pending(connection, 9)] == keys[4:]
        assert [(row[0], row[2]) for row in work.open_batches(connection)] == [("fresh-1", 4)]
    begin(engine, keys[0])
    with transaction(engine) as connection:
        assert work.release(connection, ["fresh-1"]) == 3  # one of them is running
        work.set_registered(connection, keys[:1])
        assert [row[0] for row in work.oldest_pending(connection, 9)] == keys[1:]


def test_retries_are_due_when_their_time_has_come_the_longest_due_first(
    factory: SessionFactory, engine: Engine
) -> None:
    keys = factory.add_many(3)
    with transaction(engine) as connection:
        states.discover(connection)
    for key in keys:
        fail(engine, key, RecordingNotFound("gone"))
    for key, seconds in zip(keys, (5, 50, -50), strict=True):
        factory.rows(
            "UPDATE heimdall.feature_states SET next_attempt_at = now() - make_interval(secs => :s) "
            "WHERE recording_session_id = :id RETURNING 1",
            s=seconds,
            id=key,
        )
    with transaction(engine) as connection:
        assert work.due_retries(connection, 9) == [keys[1], keys[0]]
