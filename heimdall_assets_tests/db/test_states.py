"""States and attempts: what a session may become, and when it is tried again."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, sessions, states, suspects, work
from heimdall_assets.db.engine import autocommit, transaction
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.states import RetryRule
from heimdall_assets.errors import RecordingNotFound, TruncatedRecording, UnexpectedError
from heimdall_assets_tests.db.rows import add_features, add_session
from heimdall_assets_tests.factory import FIRST_START, GOOD

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.errors import HeimdallError
    from heimdall_assets_tests.factory import SessionFactory

RULE = RetryRule(max_attempts=4, base_seconds=10.0, max_seconds=25.0)


def begin(engine: Engine, key: UUID) -> int:
    """Begin an attempt."""
    with transaction(engine) as connection:
        return attempts.begin_attempt(connection, key, run_id="run", feature_version=1)


def fail(engine: Engine, key: UUID, error: HeimdallError) -> str:
    """An attempt that fails; the state that it leaves."""
    number = begin(engine, key)
    with transaction(engine) as connection:
        state = states.set_failed(connection, key, error, RULE)
        attempts.finish_attempt(connection, key, number, outcome="failed", seconds=0.1, error=error)
    return state


def test_discovery_finds_completed_sessions_once_by_time_by_id_or_all(factory: SessionFactory, engine: Engine) -> None:
    keys = factory.add_many(5)
    factory.add(status="recording")
    with transaction(engine) as connection:
        assert discovery.discover(connection, since=FIRST_START + timedelta(minutes=3)) == 2
        assert discovery.discover(connection, session_ids=keys[:1]) == 1
        assert discovery.discover(connection) == 2
        assert discovery.discover(connection) == 0
    assert {factory.state(key) for key in keys} == {"pending"}


def test_a_look_at_all_finds_many_new_sessions_as_it_finds_few(
    factory: SessionFactory, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "FEW", 2)
    factory.add_many(3)
    with transaction(engine) as connection:
        assert discovery.discover(connection) == 3
    factory.add_many(2, minutes=10)
    with transaction(engine) as connection:
        assert discovery.discover(connection) == 2
        assert discovery.discover(connection) == 0


def test_that_a_session_has_gone_is_seen_by_counting(factory: SessionFactory, engine: Engine) -> None:
    deleted, reopened, _ = factory.add_many(3)
    with transaction(engine) as connection:
        discovery.discover(connection)
        assert not discovery.has_gone(connection)
        connection.execute(sa.text("DELETE FROM heimdall.recording_sessions WHERE id = :id"), {"id": deleted})
        assert discovery.has_gone(connection)
        assert discovery.forget_gone(connection) == 1
        assert not discovery.has_gone(connection)
        reopen = "UPDATE heimdall.recording_sessions SET status = 'recording' WHERE id = :id"
        connection.execute(sa.text(reopen), {"id": reopened})
        assert discovery.has_gone(connection)


def test_a_session_without_iq_data_is_empty(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add((None, None))
    with transaction(engine) as connection:
        discovery.discover(connection)
    assert factory.state(key) == "empty"


def test_a_permanent_failure_is_quarantined_at_once(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        discovery.discover(connection)
    assert fail(engine, key, TruncatedRecording("cut")) == "quarantined"
    with transaction(engine) as connection:
        assert work.due_retries(connection, 10) == []


@pytest.mark.parametrize(("attempt", "wait_seconds"), [(1, 10.0), (2, 20.0), (3, 25.0)])
def test_a_transient_failure_waits_twice_as_long_each_time_up_to_a_limit(
    factory: SessionFactory, engine: Engine, attempt: int, wait_seconds: float
) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        discovery.discover(connection)
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
        discovery.discover(connection)
    outcomes = [fail(engine, key, RecordingNotFound("gone")) for _ in range(RULE.max_attempts)]
    assert outcomes == ["failed", "failed", "failed", "quarantined"]
    numbers = factory.rows("SELECT number, outcome, reason FROM heimdall.feature_attempts ORDER BY number")
    assert numbers == [(n, "failed", "not_found") for n in range(1, 5)]


def test_a_success_starts_the_count_of_attempts_anew_but_not_their_numbers(
    factory: SessionFactory, engine: Engine
) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        discovery.discover(connection)
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
        discovery.discover(connection)
    for key in (alive, dead):
        begin(engine, key)
    with session_lock(engine, alive, timeout_seconds=1), transaction(engine) as connection:
        assert attempts.recover_lost(connection, RULE) == [dead]
    assert (factory.state(alive), factory.state(dead)) == ("running", "pending")
    lost = factory.rows(
        "SELECT outcome, reason FROM heimdall.feature_attempts WHERE recording_session_id = :id", id=dead
    )
    assert lost == [("lost", "worker_lost")]
    with transaction(engine) as connection:
        assert attempts.recover_lost(connection, RULE) == [alive]


def test_a_session_that_kills_its_workers_is_quarantined_in_the_end(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        discovery.discover(connection)
    for _ in range(RULE.max_attempts):
        begin(engine, key)
        with transaction(engine) as connection:
            assert attempts.recover_lost(connection, RULE) == [key]
    assert factory.state(key) == "quarantined"


def discover(engine: Engine, **among: Any) -> int:
    """Discover in a transaction of its own."""
    with transaction(engine) as connection:
        return discovery.discover(connection, **among)


def row_of(engine: Engine, key: UUID) -> Any:
    """A session's row of feature_states."""
    with transaction(engine) as connection:
        return states.state_of(connection, key)


def attempts_of(factory: SessionFactory, key: UUID, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of all attempts at a session, in order."""
    query = (
        f"SELECT {', '.join(columns)} FROM heimdall.feature_attempts WHERE recording_session_id = :id ORDER BY number"
    )
    return factory.rows(query, id=key)


def test_only_what_heimdall_touched_since_then_is_discovered_the_moment_itself_included(engine: Engine) -> None:
    before, then = FIRST_START, FIRST_START + timedelta(hours=1)
    with transaction(engine) as connection:
        updated = add_session(connection, created_at=before, updated_at=then)
        created = add_session(connection, created_at=then, updated_at=before)
        old = add_session(connection, created_at=before, updated_at=before)
        assert discovery.discover(connection, since=then, session_ids=[old]) == 0
        assert discovery.discover(connection, since=then) == 2
        assert discovery.discover(connection, session_ids=[]) == 0
        assert [states.state_of(connection, key) is None for key in (updated, created, old)] == [False, False, True]


def test_a_session_is_discovered_when_it_is_completed_and_not_before(factory: SessionFactory, engine: Engine) -> None:
    keys = [
        factory.add(status=status) for status in ("pending", "recording", "source_assigned", "in_progress", "failed")
    ]
    assert discover(engine) == discover(engine, session_ids=keys) == 0
    factory.rows("UPDATE heimdall.recording_sessions SET status = 'completed' WHERE id = :id RETURNING 1", id=keys[1])
    assert discover(engine) == 1
    assert row_of(engine, keys[1]).state == "pending"


def test_what_other_code_wrote_is_done_and_what_it_could_not_do_is_pending(
    factory: SessionFactory, engine: Engine
) -> None:
    done, failed = factory.add_many(2)
    with transaction(engine) as connection:
        add_features(connection, done, [{"rx_id": "RX1"}, {"rx_id": "RX3"}])
        add_features(connection, failed, (), failed=True)
    discover(engine)
    row = row_of(engine, done)
    assert (row.state, row.feature_version, row.measurements_total, row.measurements_with_features) == (
        "done",
        None,
        3,
        2,
    )
    row = row_of(engine, failed)
    assert (row.state, row.attempts, row.measurements_with_features) == ("pending", 0, 0)


def test_several_that_discover_at_once_find_each_session_once(factory: SessionFactory, engine: Engine) -> None:
    factory.add_many(200, (GOOD,))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: discover(engine), range(4)))
    assert sum(found) == factory.scalar("SELECT count(*) FROM heimdall.feature_states") == 200


def test_discovery_leaves_states_that_are_known_alone(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    fail(engine, key, RecordingNotFound("gone"))
    before = row_of(engine, key)
    assert discover(engine) == discover(engine, session_ids=[key]) == 0
    assert row_of(engine, key) == before


def test_an_attempt_is_written_down_before_and_after(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    fail(engine, key, RecordingNotFound("gone"))
    with transaction(engine) as connection:
        work.reserve(connection, "retry-1", [key])
    assert begin(engine, key) == 2
    row = row_of(engine, key)
    assert (row.state, row.attempts, row.run_id, row.next_attempt_at) == ("running", 2, "run", None)
    assert row.reserved_by == "retry-1"
    assert attempts_of(factory, key, "outcome", "finished_at IS NULL", "run_id", "feature_version")[1:] == [
        (None, True, "run", 1)
    ]
    with transaction(engine) as connection:
        states.set_featured(
            connection,
            key,
            state="partial",
            feature_version=4,
            measurements_total=3,
            measurements_with_features=2,
            reason="truncated",
            message="RX2: cut",
        )
        attempts.finish_attempt(connection, key, 2, outcome="partial", seconds=1.5)
    row = row_of(engine, key)
    assert (row.state, row.feature_version, row.measurements_with_features) == ("partial", 4, 2)
    assert (row.reason, row.message, row.run_id) == ("truncated", "RX2: cut", "run")
    assert (row.attempts, row.running_since, row.reserved_by, row.reserved_at) == (0, None, None, None)
    assert attempts_of(factory, key, "number", "outcome", "seconds", "reason", "finished_at >= started_at") == [
        (1, "failed", 0.1, "not_found", True),
        (2, "partial", 1.5, None, True),
    ]


def test_an_error_that_nobody_foresaw_leaves_its_traceback(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    number = begin(engine, key)
    error = UnexpectedError.of(ZeroDivisionError("division\n by zero"))
    with transaction(engine) as connection:
        assert states.set_failed(connection, key, error, RULE) == "quarantined"
        attempts.finish_attempt(
            connection, key, number, outcome="failed", seconds=0.1, error=error, traceback="Traceback"
        )
    assert attempts_of(factory, key, "reason", "message", "traceback") == [
        ("unexpected", "ZeroDivisionError: division by zero", "Traceback")
    ]
    row = row_of(engine, key)
    assert (row.reason, row.message) == ("unexpected", "ZeroDivisionError: division by zero")


def test_sessions_that_failed_together_come_back_apart_but_within_a_quarter_of_the_wait(
    factory: SessionFactory, engine: Engine
) -> None:
    keys = factory.add_many(60, (GOOD,))
    discover(engine)
    with transaction(engine) as connection:
        for key in keys:
            attempts.begin_attempt(connection, key, run_id=None, feature_version=1)
            assert states.set_failed(connection, key, RecordingNotFound("gone"), RULE) == "failed"
    waits = [
        float(wait)
        for (wait,) in factory.rows(
            "SELECT extract(epoch FROM next_attempt_at - updated_at) FROM heimdall.feature_states"
        )
    ]
    # the two clocks of a row are read a moment apart; 10 ms is far more than that
    assert 7.5 - 0.01 <= min(waits) < max(waits) <= 12.5 + 0.01
    # of 60 uniform draws, all in the same half: less than one time in 10^17
    assert min(waits) < 10 < max(waits)


def test_a_session_that_failed_a_thousand_times_still_has_a_next_time(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    factory.rows("UPDATE heimdall.feature_states SET attempts = 5000 RETURNING 1")
    with transaction(engine) as connection:
        states.set_failed(connection, key, RecordingNotFound("gone"), RetryRule(10_000, 60.0, 3600.0))
    assert factory.scalar("SELECT next_attempt_at - now() < interval '4501 s' FROM heimdall.feature_states")


def test_the_failure_of_a_session_that_the_planner_does_not_know_leaves_no_state(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add_session(connection, status="recording")
        assert states.set_failed(connection, key, RecordingNotFound("gone"), RULE) == "failed"
        assert states.state_of(connection, key) is None


def test_an_attempt_that_changed_nothing_gives_the_state_back(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    begin(engine, key)
    with transaction(engine) as connection:
        states.set_back(connection, key, state="done")
    row = row_of(engine, key)
    assert (row.state, row.attempts, row.running_since) == ("done", 0, None)


def test_a_lost_session_is_given_back_whole_and_says_why(factory: SessionFactory, engine: Engine) -> None:
    key, other = factory.add_many(2)
    discover(engine)
    with transaction(engine) as connection:
        work.reserve(connection, "fresh-1", [key])
    begin(engine, key)
    with transaction(engine) as connection:
        assert attempts.recover_lost(connection, RULE) == [key]
        assert attempts.recover_lost(connection, RULE) == []
    row = row_of(engine, key)
    assert (row.state, row.reason, row.attempts) == ("pending", "worker_lost", 1)
    assert (row.reserved_by, row.reserved_at, row.running_since) == (None, None, None)
    assert row.message == "the process that worked on it ended during attempt 1"
    assert attempts_of(factory, key, "outcome", "reason", "finished_at IS NULL") == [("lost", "worker_lost", False)]
    assert row_of(engine, other).state == "pending"
    assert attempts_of(factory, other, "1") == []


def test_a_session_whose_worker_was_killed_is_lost_at_once(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    with session_lock(engine, key, timeout_seconds=1) as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.commit()
        begin(engine, key)
        with transaction(engine) as planner:
            assert attempts.recover_lost(planner, RULE) == []
            planner.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            assert attempts.recover_lost(planner, RULE) == [key]


def test_a_worker_that_begins_where_another_died_closes_its_attempt(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    begin(engine, key)
    begin(engine, key)
    assert attempts_of(factory, key, "number", "outcome") == [(1, "lost"), (2, None)]


def test_an_attempt_that_another_closes_has_ended_when_that_one_begins(factory: SessionFactory, engine: Engine) -> None:
    key = factory.add()
    discover(engine)
    for _ in range(20):
        begin(engine, key)
    times = attempts_of(factory, key, "started_at", "finished_at")
    for (begun_at, ended_at), (next_begun_at, _) in itertools.pairwise(times):
        assert begun_at <= ended_at <= next_begun_at


def test_ignored_sessions_are_out_until_they_are_brought_back_as_what_the_tables_say(
    factory: SessionFactory, engine: Engine
) -> None:
    pending, done, running, unknown = factory.add_many(4)
    with transaction(engine) as connection:
        add_features(connection, done)
        discovery.discover(connection, session_ids=[pending, done, running])
    begin(engine, running)
    everything = [pending, done, running, unknown]
    with transaction(engine) as connection:
        work.reserve(connection, "fresh-1", [pending])
        assert set(states.ignore(connection, everything)) == {pending, done, unknown}
        assert states.ignore(connection, everything) == []
        assert work.newest_pending(connection, 9) == []
        assert work.open_batches(connection) == []
    assert [factory.state(key) for key in everything] == ["ignored", "ignored", "running", "ignored"]
    assert discover(engine) == 0
    with transaction(engine) as connection:
        discovery.forget(connection, pending)  # somebody said so: that stays, also for a session that is gone
        assert set(states.ignore(connection, everything, undo=True)) == {pending, done, unknown}
    assert [factory.state(key) for key in everything] == ["pending", "done", "running", "pending"]


def test_a_database_is_small_until_its_statistics_say_otherwise(factory: SessionFactory, engine: Engine) -> None:
    with transaction(engine) as connection:
        assert suspects.is_small(connection)
        connection.execute(
            sa.text(
                "INSERT INTO heimdall.recording_sessions (status) SELECT 'recording' FROM generate_series(1, :count)"
            ),
            {"count": suspects.SMALL_TABLE},
        )
    with transaction(engine) as connection:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    with autocommit(engine) as connection:
        connection.execute(sa.text("ANALYZE heimdall.recording_sessions"))
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    with transaction(engine) as connection:
        assert not suspects.is_small(connection)


def test_time_is_the_servers_and_goes_on_inside_a_transaction(engine: Engine) -> None:
    with transaction(engine) as connection:
        first, second = states.database_time(connection), states.database_time(connection)
    assert first < second
    assert first.utcoffset() is not None
