"""The planner's statements: in what order, reserved or not, and by which index at a hundred thousand sessions."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, inputs, ledger, requests, states, suspects, work
from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.engine import autocommit, transaction
from heimdall_assets.db.states import RetryRule
from heimdall_assets.errors import RecordingNotFound, TruncatedRecording
from heimdall_assets_tests.db.rows import add_features, add_session, statements_of
from heimdall_assets_tests.factory import FIRST_START

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets_tests.factory import SessionFactory

RULE = RetryRule(max_attempts=4, base_seconds=10.0, max_seconds=25.0)


@pytest.fixture
def keys(factory: SessionFactory, engine: Engine) -> list[UUID]:
    """Six pending sessions, completed a minute apart."""
    found = factory.add_many(6)
    with transaction(engine) as connection:
        discovery.discover(connection)
    return found


def ids(rows: list[tuple[UUID, bool, bool]]) -> list[UUID]:
    """The sessions alone."""
    return [session_id for session_id, *_ in rows]


def begin(connection: Connection, *session_ids: UUID) -> None:
    """Begin an attempt at each."""
    for session_id in session_ids:
        attempts.begin_attempt(connection, session_id, run_id="run", feature_version=1)


def fail(connection: Connection, *session_ids: UUID) -> None:
    """An attempt at each that fails and may be repeated."""
    begin(connection, *session_ids)
    for session_id in session_ids:
        states.set_failed(connection, session_id, RecordingNotFound("gone"), RULE)


def make_due(connection: Connection, session_id: UUID, seconds: float) -> None:
    """Move a retry to so many seconds ago."""
    query = """
        UPDATE heimdall.feature_states SET next_attempt_at = clock_timestamp() - make_interval(secs => :seconds)
        WHERE recording_session_id = :id"""
    connection.execute(sa.text(query), {"seconds": seconds, "id": session_id})


def test_pending_sessions_are_seen_from_either_end(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        assert ids(work.newest_pending(connection, 2)) == keys[:3:-1]
        assert ids(work.oldest_pending(connection, 2)) == keys[:2]
        assert ids(work.newest_pending(connection, 99)) == keys[::-1]
        assert work.newest_pending(connection, 0) == work.oldest_pending(connection, 0) == []


def test_the_order_of_sessions_completed_in_the_same_moment_is_by_id_from_both_ends(engine: Engine) -> None:
    with transaction(engine) as connection:
        same = sorted(add_session(connection, updated_at=FIRST_START) for _ in range(5))
        connection.execute(
            sa.text(
                "INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, measurements_total) "
                "SELECT id, 'pending', updated_at, 1 FROM heimdall.recording_sessions"
            )
        )
        assert ids(work.oldest_pending(connection, 9)) == same
        assert ids(work.newest_pending(connection, 9)) == same[::-1]


def test_only_pending_sessions_are_pending(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        begin(connection, keys[0])
        fail(connection, keys[1])
        begin(connection, keys[2])
        states.set_failed(connection, keys[2], TruncatedRecording("cut"), RULE)
        states.ignore(connection, [keys[3]])
        states.set_back(connection, keys[4], state="done")
        assert ids(work.oldest_pending(connection, 9)) == keys[5:]


def test_a_session_says_whether_dagster_knows_its_key(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        work.set_registered(connection, keys[1:3])
        waiting = work.oldest_pending(connection, 4)
        assert [row[:2] for row in waiting] == list(zip(keys, (False, True, True, False), strict=False))
        work.set_registered(connection, [])


def test_a_session_is_fresh_for_some_minutes_by_both_clocks(engine: Engine, factory: SessionFactory) -> None:
    with transaction(engine) as connection:
        now = states.database_time(connection)
    minutes = {factory.add(updated_at=now - timedelta(minutes=ago)): ago for ago in (0, 8, 12, -600)}
    with transaction(engine) as connection:
        discovery.discover(connection)
        fresh = {minutes[key] for key, _, is_fresh in work.newest_pending(connection, 9) if is_fresh}
        assert fresh == {0, 8, -600}
        connection.execute(
            sa.text("UPDATE heimdall.feature_states SET first_seen_completed_at = now() - interval '12 minutes'")
        )
        assert not any(is_fresh for _, _, is_fresh in work.newest_pending(connection, 9))


def test_a_reserved_session_is_not_planned_again_and_stays_with_its_first_batch(
    engine: Engine, keys: list[UUID]
) -> None:
    with transaction(engine) as connection:
        moment = states.database_time(connection)
        work.reserve(connection, "fresh-1", keys[:4])
        work.reserve(connection, "backlog-1", keys[3:5])
        work.reserve(connection, "backlog-2", [])
        assert ids(work.oldest_pending(connection, 9)) == keys[5:]
        batches = {name: (since, count) for name, since, count in work.open_batches(connection)}
    assert {name: count for name, (_, count) in batches.items()} == {"fresh-1": 4, "backlog-1": 1}
    assert all(since >= moment for since, _ in batches.values())


def test_what_a_run_did_not_come_to_is_given_back_but_not_what_is_running(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        work.reserve(connection, "fresh-1", keys[:3])
        work.reserve(connection, "fresh-2", keys[3:5])
        begin(connection, keys[0], keys[1])
        states.set_back(connection, keys[1], state="done")  # it ended: its reservation with it
        assert [count for _, _, count in sorted(work.open_batches(connection))] == [2, 2]
        assert work.release(connection, ["fresh-1", "no-such-batch"]) == 1
        assert ids(work.oldest_pending(connection, 9)) == [keys[2], keys[5]]
        assert [(name, count) for name, _, count in sorted(work.open_batches(connection))] == [
            ("fresh-1", 1),
            ("fresh-2", 2),
        ]
        assert work.release(connection, []) == 0


def test_retries_are_due_when_their_time_has_come_the_longest_due_first(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        fail(connection, *keys[:4])
        for key, seconds in zip(keys, (5, 50, -50, 20), strict=False):
            make_due(connection, key, seconds)
        assert work.due_retries(connection, 9) == [keys[1], keys[3], keys[0]]
        assert work.due_retries(connection, 1) == [keys[1]]
        work.reserve(connection, "retry-1", keys[:2])
        assert work.due_retries(connection, 9) == [keys[3]]
        begin(connection, keys[3])
        assert work.due_retries(connection, 9) == []


def test_features_of_other_code_end_the_wait_for_ours(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        fail(connection, keys[0])
        begin(connection, keys[1])
        states.set_failed(connection, keys[1], TruncatedRecording("cut"), RULE)
        begin(connection, keys[2])
        work.reserve(connection, "fresh-1", [keys[3]])
        for key in keys[:5]:
            add_features(connection, key, [{"rx_id": "RX1"}, {"rx_id": "RX2"}])
        add_features(connection, keys[5], (), failed=True)
        assert work.absorb(connection, [keys[4]]) == {keys[4]}
        assert work.absorb(connection) == {keys[0], keys[1]}
        assert work.absorb(connection) == set()
        rows = [states.state_of(connection, key) for key in keys]
    found = [(row.state, row.measurements_with_features) for row in rows if row]
    assert found == [("done", 2), ("done", 2), ("running", 0), ("pending", 0), ("done", 2), ("pending", 0)]
    first = rows[0]
    assert first is not None
    assert (first.attempts, first.reason, first.next_attempt_at, first.feature_version) == (0, None, None, None)


def test_features_that_other_code_took_away_or_replaced_and_recordings_that_came_late_are_noticed(
    engine: Engine, factory: SessionFactory
) -> None:
    gone, failed, replaced, untouched, running = factory.add_many(5)
    late, empty = factory.add_many(2, (None,), minutes=60)
    ours = {"feature_version": 2}
    with transaction(engine) as connection:
        for key in (gone, failed, replaced, untouched, running):
            add_features(connection, key, [{"rx_id": "RX1"}, {"rx_id": "RX2"}], metadata=ours)
        discovery.discover(connection)
        begin(connection, running)
        assert work.absorb(connection) == set()
        features = "heimdall.measurement_features"
        changes = {
            f"DELETE FROM {features}": [gone, running],
            f"UPDATE {features} SET extraction_failed = true, receiver_features = '{{}}'": [failed],
            f"UPDATE {features} SET extraction_metadata = '{{}}', receiver_features = receiver_features[1:1]": [
                replaced
            ],
            "UPDATE heimdall.measurements SET iq_data_location = 'a.npy'": [late],
        }
        for statement, session_ids in changes.items():
            query = f"{statement} WHERE recording_session_id = ANY (:ids)"
            connection.execute(sa.text(query), {"ids": session_ids})
        before = coverage_figures(connection, feature_version=2)
        assert work.absorb(connection) == {replaced}
        assert work.absorb(connection) == set()
        after = coverage_figures(connection, feature_version=2)
        waiting = ids(work.oldest_pending(connection, 9))
        row = states.state_of(connection, replaced)
    keys = (gone, failed, replaced, untouched, running, late, empty)
    expected = ["pending", "pending", "done", "done", "running", "pending", "empty"]
    assert [factory.state(key) for key in keys] == expected
    assert waiting == [gone, failed, late]
    assert row is not None
    assert (row.feature_version, row.measurements_with_features) == (None, 1)
    names = ("pending", "running", "stale", "without_iq", "with_features")
    for figures in (before, after):  # the figures do not wait for the planner to notice
        assert [figures[f"recordings_{name}"] for name in names] == [3, 1, 1, 1, 2]


def test_what_a_worker_began_meanwhile_is_left_to_it(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        add_features(connection, keys[0])
    with ThreadPoolExecutor(1) as pool, transaction(engine) as planner:
        with transaction(engine) as worker:
            begin(worker, keys[0])
            absorbing = pool.submit(work.absorb, planner)
            while not worker.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                assert not absorbing.done()  # it waits for the row that the worker has changed
        assert absorbing.result(timeout=10) == set()
        row = states.state_of(planner, keys[0])
    assert row is not None
    assert row.state == "running"


def test_a_session_waits_for_its_grace_by_the_earlier_of_two_clocks(engine: Engine, factory: SessionFactory) -> None:
    old = factory.add()
    with transaction(engine) as connection:
        now = states.database_time(connection)
    fresh = factory.add(updated_at=now)
    ahead = factory.add(updated_at=now + timedelta(days=365))
    with transaction(engine) as connection:
        discovery.discover(connection)
        for ask in (work.newest_pending, work.oldest_pending):
            assert set(ids(ask(connection, 9))) == {old, fresh, ahead}
            assert ids(ask(connection, 9, grace_seconds=3600)) == [old]
            assert ids(ask(connection, 1, grace_seconds=3600)) == [old]  # those that wait take no place
        connection.execute(
            sa.text("UPDATE heimdall.feature_states SET first_seen_completed_at = now() - interval '2 hours'")
        )
        assert set(ids(work.newest_pending(connection, 9, grace_seconds=3600))) == {old, fresh, ahead}


NUM_SESSIONS = 100_000
NOW = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture
def large(engine: Engine) -> Engine:
    """100,000 sessions, nearly all done, and 300,000 measurements; some without the link."""
    statements = (
        "SET LOCAL session_replication_role = replica",  # no foreign key is checked: that would take most of the time
        "INSERT INTO heimdall.websdr_stations (id, name) VALUES (gen_random_uuid(), 'RX1')",
        # one a minute, the last just now; a hundred of the newest are not known yet
        f"""INSERT INTO heimdall.recording_sessions
                (status, session_start, created_at, updated_at, duration_seconds)
            SELECT CASE WHEN i % 100 = 0 THEN 'failed' ELSE 'completed' END, t, t, t, 10
            FROM generate_series(0, {NUM_SESSIONS - 1}) i,
                 LATERAL (SELECT timestamptz '{NOW.isoformat()}' - i * interval '1 minute' AS t) x""",
        """INSERT INTO heimdall.measurements
               ("timestamp", websdr_station_id, recording_session_id, iq_data_location, created_at)
           SELECT s.created_at, w.id, CASE WHEN i < 3 OR random() < 0.9 THEN s.id END, 'a.npy', s.created_at
           FROM heimdall.recording_sessions s, heimdall.websdr_stations w, generate_series(1, 3) i""",
        f"""INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, measurements_total,
                                                 next_attempt_at)
            SELECT id, state, updated_at, 3, CASE state WHEN 'failed' THEN updated_at END
            FROM (SELECT id, updated_at, CASE WHEN r < 0.005 THEN 'pending' WHEN r < 0.01 THEN 'failed'
                                              WHEN r < 0.011 THEN 'quarantined' ELSE 'done' END AS state
                  FROM (SELECT *, random() AS r FROM heimdall.recording_sessions) s
                  WHERE status = 'completed' AND updated_at < '{(NOW - timedelta(minutes=100)).isoformat()}') x""",
        """INSERT INTO heimdall.measurement_features (recording_session_id, "timestamp", receiver_features,
                                                      extraction_metadata, overall_confidence)
           SELECT recording_session_id, completed_at, '{}', '{}', 0 FROM heimdall.feature_states
           WHERE state = 'done'""",
    )
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    with autocommit(engine) as connection:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
        connection.execute(sa.text("ANALYZE"))
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    return engine


def plan_of(connection: Connection, ask: Callable[[], object]) -> tuple[set[str], dict[str, str]]:
    """How PostgreSQL carries out the statements that a function sends.

    Returns
    -------
    tuple
        The indexes that are used, and the tables that are read from end to end.
    """
    with statements_of(connection.engine) as sent:
        ask()
    explained = [
        connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()[0]["Plan"]
        for statement, parameters in sent
    ]
    indexes: set[str] = set()
    scanned: dict[str, str] = {}

    def walk(node: dict[str, Any]) -> None:
        if "Index Name" in node:
            indexes.add(node["Index Name"])
        if node["Node Type"] in {"Seq Scan", "Parallel Seq Scan"}:
            scanned[node["Relation Name"]] = node["Node Type"]
        for child in node.get("Plans", ()):
            walk(child)

    for plan in explained:
        walk(plan)
    # the one row of the one station is read as it is; of its settings, strays and sources there are none
    small = {
        "websdr_stations",
        "receiver_settings",
        "known_sources",
        "feature_strays",
        "feature_heartbeats",
        "pg_namespace",
    }
    return indexes, {name: how for name, how in scanned.items() if name not in small}


def test_at_100_000_sessions_no_statement_of_a_tick_reads_what_is_done(large: Engine) -> None:
    """By the nodes of the plans, for times depend on the machine."""
    since = NOW - timedelta(minutes=30)
    some = [uuid.uuid4() for _ in range(50)]
    with transaction(large) as connection:
        plans = {
            "newest": plan_of(connection, lambda: work.newest_pending(connection, 250)),
            "oldest": plan_of(connection, lambda: work.oldest_pending(connection, 250)),
            "due": plan_of(connection, lambda: work.due_retries(connection, 250)),
            "open": plan_of(connection, lambda: work.open_batches(connection)),
            "reserve": plan_of(connection, lambda: work.reserve(connection, "fresh-1", some)),
            "release": plan_of(connection, lambda: work.release(connection, ["fresh-1", "fresh-2"])),
            "lost": plan_of(connection, lambda: attempts.recover_lost(connection, RULE)),
        }
        with connection.begin_nested() as attempt:
            assert discovery.discover(connection, since=since) == 30  # of 31 minutes one is not completed
            attempt.rollback()
        plans["discover"] = plan_of(connection, lambda: discovery.discover(connection, since=since))
        waiting = ids(work.newest_pending(connection, 250))
        assert len(waiting) == 250
        plans["absorb"] = plan_of(connection, lambda: work.absorb(connection, waiting))
        # Compared once, a large database is asked for what changed since; the statistics say that it is large.
        ledger.catch_up(connection, since=None, is_full=True)
        assert not suspects.is_small(connection)
        pending = requests.Selection(pending=True)
        plans["stats"] = plan_of(connection, lambda: coverage_figures(connection, feature_version=1))
        plans["count"] = plan_of(connection, lambda: requests.count(connection, pending, feature_version=1))
        plans["late"] = plan_of(connection, lambda: inputs.absorb_late(connection))
    # Sums and queue are small; whether some hundred sessions are looked up or all are read is a matter of their number.
    allowed = {"stats": {"feature_totals", "feature_changes"}}
    allowed["count"] = allowed["late"] = {*allowed["stats"], "recording_sessions"}
    read = {name: set(scanned) - allowed.get(name, set()) for name, (_, scanned) in plans.items()}
    assert {name: tables for name, tables in read.items() if tables} == {}
    used = {name: indexes for name, (indexes, _) in plans.items()}
    assert used["stats"] >= {"feature_states_waiting", "feature_states_pkey"}
    # both hold nothing but pending sessions: which is cheaper depends on how many are asked for
    assert used["newest"] | used["oldest"] <= {"feature_states_pending", "feature_states_waiting"}
    assert used["due"] == {"feature_states_retry"}
    assert used["open"] == {"feature_states_reserved"}
    assert used["discover"] >= {
        "feature_sessions_completed",
        "feature_sessions_completed_new",
        "feature_states_pkey",
        "feature_measurements_session",
        "feature_measurements_iq_created",
        "feature_sessions_window",
    }
