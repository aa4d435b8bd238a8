"""Values that others wrote and that cannot be worked with: each fails its own session, by name, and stops nothing."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.db import ledger, tables, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.reconciliation import disagreements
from heimdall_assets.defs.checks import evaluations
from heimdall_assets.defs.reports import report_events
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.db.rows import add_features
from heimdall_assets_tests.defs.test_schedules import requests_of as requests_of_schedule
from heimdall_assets_tests.defs.test_schedules import tick as schedule_tick
from heimdall_assets_tests.defs.test_sensors import launch, requests_of, tick
from heimdall_assets_tests.factory import FIRST_START, GOOD
from heimdall_assets_tests.web.client import Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

OTHERS = ("recording_sessions", "measurements", "websdr_stations", "known_sources", "measurement_features")
TIMES = (
    "infinity",
    "-infinity",
    "56880-01-01 00:00:00+00",
    "294276-12-31 23:59:59.999999+00",
    "4714-11-24 00:00:00+00 BC",
)
NUMBERS = ("NaN", "Infinity", "-Infinity", "1.7e308", "-1.7e308")
HUGE = "9" * 5000
DEEP = "[" * 3000 + "]" * 3000
DOCUMENTS = (
    "[]",
    '"text"',
    "null",
    f'{{"receivers": {DEEP}, "feature_version": {HUGE}}}',
    '{"receivers": {"RX1": {"calibration_db": 1e400, "passband_hz": [1e-400, -1e400]}}, "seconds": {}}',
    f'{{"receivers": [{HUGE}], "seconds": {HUGE}, "feature_version": 1e400}}',
    '{"receivers": {"RX1": 1}, "feature_version": -1, "ground_truth": {}, "seconds": []}',
)
RECEIVERS = (
    "{}",
    "{NULL}",
    f'{{"{HUGE}"}}',
    f'{{"{DEEP}"}}',
    "{{1,2},{3,4}}",
    '{"{\\"rx_id\\": {\\"a\\": 1}, \\"snr_db\\": {\\"mean\\": 1e400}}"}',
    '{"{\\"rx_id\\": \\"RX1\\", \\"snr_db\\": {\\"mean\\": 1e400}, \\"signal_present\\": {\\"mean\\": 1e-400}}"}',
    '{"{\\"rx_id\\": \\"RX1\\", \\"error\\": {\\"reason\\": [1]}, \\"rx_lat\\": 1e400}"}',
)
VALUES: dict[str, Sequence[str]] = {
    "timestamp with time zone": TIMES,
    "double precision": NUMBERS,
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "integer": ("-2147483648", "2147483647"),
    "jsonb": DOCUMENTS,
    "ARRAY": RECEIVERS,
}
FAIL_THE_SESSION = {
    ("recording_sessions", name)
    for name in ("session_start", "session_end", "duration_seconds", "created_at", "updated_at")
} | {
    *(("measurements", name) for name in ("timestamp", "created_at", "duration_seconds")),
    *(("websdr_stations", name) for name in ("latitude", "longitude")),
    *(("known_sources", name) for name in ("latitude", "longitude", "power_dbm")),
}
"""What of Heimdall's rows matters for the features of a session, and may hold what cannot be worked with."""


def drop_checks(engine: Engine) -> None:
    """Make the tables those of a database that checks nothing, as Heimdall's own are."""
    query = """
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
        WHERE contype = 'c' AND conrelid = ANY (CAST(:tables AS regclass[]))"""
    with transaction(engine) as connection:
        statements = connection.scalars(sa.text(query), {"tables": [f"heimdall.{table}" for table in OTHERS]}).all()
        for statement in statements:
            connection.execute(sa.text(statement))


def columns_of(engine: Engine) -> list[tuple[str, str, str]]:
    """(table, column, type) of every column of others that may hold such a value."""
    query = """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'heimdall' AND table_name = ANY (:tables) AND data_type = ANY (:types)
        ORDER BY table_name, ordinal_position"""
    with transaction(engine) as connection:
        rows = connection.execute(sa.text(query), {"tables": list(OTHERS), "types": list(VALUES)})
        return [tuple(row) for row in rows]


def poison(factory: SessionFactory, table: str, column: str, value: str) -> uuid.UUID:
    """A session of its own with a receiver and a source of its own, and the value in one of their columns."""
    source_id, station_id = uuid.uuid4(), uuid.uuid4()
    with transaction(factory.engine) as connection:
        source = {"id": source_id, "name": f"TX {source_id}", "latitude": 45.0, "longitude": 7.0, "power_dbm": 30.0}
        connection.execute(sa.insert(tables.known_sources).values(frequency_hz=145_500_000, **source))
        station = {"id": station_id, "name": f"RX {station_id}", "latitude": 45.0, "longitude": 7.0}
        connection.execute(sa.insert(tables.websdr_stations).values(**station))
    session_id = factory.add([GOOD], known_source_id=source_id)
    with transaction(factory.engine) as connection:
        link = sa.update(tables.measurements).where(tables.measurements.c.recording_session_id == session_id)
        connection.execute(link.values(websdr_station_id=station_id))
        if table == "measurement_features":
            add_features(connection, session_id)
        key = {
            "recording_sessions": ("id", session_id),
            "measurements": ("recording_session_id", session_id),
            "websdr_stations": ("id", station_id),
            "known_sources": ("id", source_id),
            "measurement_features": ("recording_session_id", session_id),
        }[table]
        kind = connection.scalar(
            sa.text("""
                SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                WHERE a.attrelid = CAST(:table AS regclass) AND a.attname = :column"""),
            {"table": f"heimdall.{table}", "column": column},
        )
        connection.execute(
            sa.text(f'UPDATE heimdall.{table} SET "{column}" = CAST(:value AS {kind}) WHERE {key[0]} = :id'),
            {"value": value, "id": key[1]},
        )
    return session_id


def healthy(factory: SessionFactory, **columns: Any) -> uuid.UUID:
    """A session that was completed just now."""
    start = datetime.now(UTC) - timedelta(seconds=5)
    return factory.add([GOOD] * 2, minutes=(start - FIRST_START) / timedelta(minutes=1), **columns)


def tick_and_run(dagster: Dagster, cursor: str | None = None) -> str | None:
    """One tick, and the runs that it asks for; its cursor."""
    answer = tick(dagster, cursor)
    for request in requests_of(answer):
        launch(dagster, request)
    return answer.cursor


def state_of(factory: SessionFactory, session_id: uuid.UUID) -> tuple[str, str | None, str | None]:
    """State, reason and message."""
    query = "SELECT state, reason, message FROM heimdall.feature_states WHERE recording_session_id = :id"
    [row] = factory.rows(query, id=session_id)
    return row[0], row[1], row[2]


def require_answers(dagster: Dagster, factory: SessionFactory, settings: Settings, ids: Sequence[uuid.UUID]) -> None:
    """Everything that people and programs ask for is answered."""
    heimdall = Heimdall()
    assert len(report_events(heimdall)) == 3
    assert evaluations(heimdall, dagster.instance)
    with transaction(factory.engine) as connection:
        assert disagreements(connection) == []
    for command in (
        ["stats", "--json"],
        ["failures", "--json"],
        ["reconcile", "--check"],
        ["backfill", "--stale", "--dry-run", "--json"],
        *(["show", str(session_id), "--json"] for session_id in ids),
    ):
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0, (command, answer.output, answer.exception)
        if "--json" in command:
            json.loads(answer.stdout, parse_constant=pytest.fail)
    for session_id in ids[:20]:
        answer = CliRunner().invoke(app, ["show", str(session_id)])
        assert answer.exit_code == 0, (answer.output, answer.exception)
    with serving(settings.model_copy(update={"admin_token": SecretStr(TOKEN)})) as address:
        client = Client(address, TOKEN)
        paths = ["/", "/sessions", "/sessions?state=trouble", "/metrics", "/api/v1/admin/features/stats"]
        for path in [*paths, *(f"/sessions/{session_id}" for session_id in ids)]:
            assert client.get(path).status == 200, path


def test_a_value_in_any_column_fails_its_own_session_by_name_and_all_others_go_on(
    dagster: Dagster, factory: SessionFactory, engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    drop_checks(engine)
    poisoned = {
        poison(factory, table, column, value): (table, column, kind, value)
        for table, column, kind in columns_of(engine)
        for value in VALUES[kind]
    }
    assert len(poisoned) > 100
    first = healthy(factory)
    for request in requests_of_schedule(dagster):  # it finds measurements far outside their session's window
        launch(dagster, request)
    cursor = None
    for _ in range(len(poisoned) // 250 + 2):
        cursor = tick_and_run(dagster, cursor)
    second = healthy(factory)
    tick_and_run(dagster, cursor)
    assert {factory.state(first), factory.state(second)} == {"done"}
    for session_id, (table, column, kind, value) in poisoned.items():
        state, reason, message = state_of(factory, session_id)
        if (table, column) not in FAIL_THE_SESSION:
            # the least integer is a frequency or a rate that is refused, as another negative one is
            ended = {"done"} if kind not in ("bigint", "integer") else {"done", "quarantined"}
            assert state in ended, (table, column, value, state, reason, message)
            continue
        assert (state, reason) == ("quarantined", "bad_row"), (table, column, value, state, reason, message)
        assert f"{table}.{column} = " in (message or ""), (table, column, value)
    require_answers(dagster, factory, settings, list(poisoned))
    answer = CliRunner().invoke(app, ["export", "-o", str(tmp_path / "all.parquet"), "--json"])
    assert answer.exit_code == 0, answer.output
    schedule_tick(dagster)
    assert {factory.state(first), factory.state(second)} == {"done"}


MOMENTS = st.one_of(
    st.sampled_from(TIMES),
    st.integers(10_000, 294_276).map(lambda year: f"{year}-06-01 12:00:00+00"),
    st.integers(1, 4713).map(lambda year: f"{year:04}-06-01 12:00:00+00 BC"),
)
SECONDS = st.sampled_from(NUMBERS) | st.floats(1e12, exclude_min=True).map(str) | st.floats(max_value=-1e13).map(str)
BAD_SESSIONS = st.one_of(
    st.tuples(st.sampled_from(["session_start", "session_end", "created_at", "updated_at"]), MOMENTS),
    st.tuples(st.just("duration_seconds"), SECONDS),
)


@hypothesis_settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BAD_SESSIONS, min_size=1, max_size=8))
def test_sessions_that_are_found_by_their_window_fail_by_name_and_take_no_other_ones_measurements(
    engine: Engine, factory: SessionFactory, bad: list[tuple[str, str]]
) -> None:
    with transaction(engine) as connection:
        for table in ("measurements", "recording_sessions", "feature_states"):
            connection.execute(sa.text(f"DELETE FROM heimdall.{table}"))
    now = datetime.now(UTC)
    times: dict[str, Any] = {
        "session_start": now - timedelta(seconds=2),
        "created_at": now - timedelta(seconds=2),
        "updated_at": now,
    }
    good = factory.add([], **times, session_end=now + timedelta(seconds=2))
    ids = [factory.add([], **{**times, column: value}) for column, value in bad]
    with transaction(engine) as connection:
        station = connection.scalar(sa.select(tables.websdr_stations.c.id).limit(1)) or uuid.uuid4()
        insert = postgresql_insert(tables.websdr_stations)
        connection.execute(insert.values(id=station, name="RX1", latitude=45.0, longitude=7.0).on_conflict_do_nothing())
        connection.execute(
            sa.insert(tables.measurements).values(
                timestamp=now,
                websdr_station_id=station,
                iq_data_location=GOOD,
                created_at=now,
                frequency_hz=145_500_000,
                iq_sample_rate=10_000,
            )
        )
        assert ledger.catch_up(connection, since=None, is_full=True) == len(ids) + 1
    assert extract_session(engine, good, factory.settings).has_features
    for session_id, (column, _) in zip(ids, bad, strict=True):
        assert factory.state(session_id) == "pending"
        outcome = extract_session(engine, session_id, factory.settings)
        assert (outcome.has_features, outcome.reason) == (False, "bad_row")
        assert f"recording_sessions.{column} = " in (outcome.message or "")
    with transaction(engine) as connection:
        assert disagreements(connection) == []
        work.refresh(connection)
    assert {factory.state(session_id) for session_id in ids} == {"quarantined"}


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800", "\\udfff\\ud83d"])
def test_what_no_database_holds_in_the_metadata_of_recordings_is_stored_as_a_replacement(
    engine: Engine, factory: SessionFactory, settings: Settings, escape: str
) -> None:
    factory.write_files()
    whole = np.load(factory.root / GOOD).astype(np.complex64)
    for name, datatype in (("good", "cf32_le"), ("bad", f"cf32{escape}")):
        text = (
            f'{{"global": {{"core:datatype": "{datatype}", "core:sample_rate": 10000, "core:version": "1.0.0", '
            f'"core:description": "a{escape}b", "core:author": "{escape}"}}, "captures": [], "annotations": []}}'
        )
        (factory.root / f"{name}.sigmf-meta").write_text(text)
        whole.tofile(factory.root / f"{name}.sigmf-data")
    good, bad = (factory.add([f"{name}.sigmf-meta"]) for name in ("good", "bad"))
    with transaction(engine) as connection:
        connection.execute(sa.update(tables.measurements).values(iq_data_format="sigmf"))
    assert extract_session(engine, good, settings).has_features
    outcome = extract_session(engine, bad, settings)
    assert not outcome.has_features
    state, reason, message = state_of(factory, bad)
    assert (state, reason) == ("quarantined", outcome.reason)
    assert reason != "unexpected"
    (message or "").encode()
