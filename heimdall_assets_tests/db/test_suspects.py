"""In a large database what may have changed is found by what is left behind, and the figures stay exact."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, heartbeats, ledger, requests, states, suspects
from heimdall_assets.db.coverage import coverage_by_day, coverage_figures
from heimdall_assets.db.engine import transaction
from heimdall_assets_tests.db.rows import add_features, add_measurement

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets_tests.factory import SessionFactory

OURS = {"feature_version": 1}
EVERYONE = [{"rx_id": f"RX{i}"} for i in (1, 2, 3)]


@pytest.fixture
def keys(engine: Engine, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Twelve sessions, done but the last three, in a database that counts as large; compared with all states."""
    monkeypatch.setattr(suspects, "SMALL_TABLE", 0)
    found = factory.add_many(12)
    with transaction(engine) as connection:
        for key in found[:9]:
            add_features(connection, key, EVERYONE, metadata=OURS)
        ledger.catch_up(connection, since=None, is_full=True)
    return found


def figures(connection: Connection) -> dict[str, Any]:
    found = coverage_figures(connection, feature_version=1)
    found.pop("oldest_pending_age_seconds")
    return found


def found_now(connection: Connection) -> set[UUID]:
    query, parameters, _ = suspects.suspects(connection)
    return set(connection.scalars(sa.text(query), parameters))


CHANGES = {
    "features that went": ("DELETE FROM heimdall.measurement_features WHERE recording_session_id = :id", 0),
    "features that failed": (
        (
            "UPDATE heimdall.measurement_features SET extraction_failed = true, receiver_features = '{}' "
            "WHERE recording_session_id = :id"
        ),
        1,
    ),
    "features that were replaced": (
        (
            "UPDATE heimdall.measurement_features SET extraction_metadata = '{}', "
            "receiver_features = receiver_features[1:1] WHERE recording_session_id = :id"
        ),
        2,
    ),
    "a session that went": ("DELETE FROM heimdall.recording_sessions WHERE id = :id", 3),
    "a session that was taken up again": (
        "UPDATE heimdall.recording_sessions SET status = 'in_progress', updated_at = now() WHERE id = :id",
        4,
    ),
    "features that came": (
        (
            "INSERT INTO heimdall.measurement_features (recording_session_id, timestamp, receiver_features, "
            "extraction_metadata, overall_confidence) VALUES (:id, now(), '{}', '{}', 0)"
        ),
        10,
    ),
}


@pytest.mark.parametrize(("change", "index"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_at_once_and_alone_and_then_the_ledger_learns_it(
    engine: Engine, keys: list[UUID], change: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engine) as connection:
        assert found_now(connection) == set()
        connection.execute(sa.text(change), {"id": keys[index]})
        assert found_now(connection) == {keys[index]}
        before = figures(connection)
        pending = requests.select_sessions(connection, requests.Selection(pending=True), feature_version=1)
        days = coverage_by_day(connection)
        with monkeypatch.context() as small:
            small.setattr(suspects, "SMALL_TABLE", 20_000)  # everything is compared
            assert figures(connection) == before
            assert coverage_by_day(connection) == days
        now = states.database_time(connection)
        ledger.catch_up(connection, since=now - timedelta(minutes=1), is_full=False)
        assert found_now(connection) <= {keys[index]}  # by its time stamp
        assert figures(connection) == before
        assert requests.select_sessions(connection, requests.Selection(pending=True), feature_version=1) == pending
        ledger.catch_up(connection, since=None, is_full=True)
        assert figures(connection) == before


def test_new_sessions_and_late_recordings_of_empty_ones_are_seen_by_their_time_stamps(
    engine: Engine, factory: SessionFactory, keys: list[UUID]
) -> None:
    with transaction(engine) as connection:
        start = states.database_time(connection)
    empty = factory.add((None, None), session_start=start)
    with transaction(engine) as connection:
        assert empty not in found_now(connection)  # its time stamps lie in the past: the schedule finds it
        ledger.catch_up(connection, since=None, is_full=True)
        assert figures(connection)["recordings_without_iq"] == 1
        now = states.database_time(connection)
        add_measurement(connection, now, location="late.npy", recording_session_id=empty)
        assert found_now(connection) == {empty}
        assert figures(connection)["recordings_without_iq"] == 0
    new = factory.add(updated_at=now)
    with transaction(engine) as connection:
        assert found_now(connection) == {empty, new}
        assert figures(connection)["total_recordings"] == len(keys) + 2
        ledger.catch_up(connection, since=now - timedelta(minutes=1), is_full=False)
        row = states.state_of(connection, empty)
    assert row is not None
    assert (row.state, row.measurements_total) == ("pending", 1)


def test_what_is_running_or_ignored_is_so_unless_its_session_is_gone(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        attempts.begin_attempt(connection, keys[0], run_id="run", feature_version=1)
        states.ignore(connection, keys[1:3])
        add_features(connection, keys[9], EVERYONE)
        attempts.begin_attempt(connection, keys[9], run_id="run", feature_version=1)
        assert found_now(connection) == set()
        connection.execute(
            sa.text("UPDATE heimdall.recording_sessions SET status = 'failed' WHERE id = ANY (:ids)"),
            {"ids": [keys[0], keys[1]]},
        )
        assert found_now(connection) == {keys[0], keys[1]}
        after = figures(connection)
        assert (after["recordings_running"], after["recordings_ignored"], after["total_recordings"]) == (1, 1, 10)


def test_until_everything_was_compared_once_everything_is_compared(engine: Engine, keys: list[UUID]) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("DELETE FROM heimdall.feature_heartbeats"))
        connection.execute(sa.text("DELETE FROM heimdall.recording_sessions WHERE id = :id"), {"id": keys[11]})
        assert found_now(connection) == {keys[11]}
        assert heartbeats.last_beat(connection, heartbeats.DISCOVERY) is None


def test_a_full_look_forgets_sessions_that_were_deleted_before_anybody_worked_on_them(
    engine: Engine, keys: list[UUID]
) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("DELETE FROM heimdall.recording_sessions WHERE id = :id"), {"id": keys[11]})
        ledger.catch_up(connection, since=None, is_full=True)
        assert figures(connection)["total_recordings"] == 11
        assert states.state_of(connection, keys[11]) is None
