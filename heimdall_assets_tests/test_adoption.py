"""An existing Heimdall database, years old, with rows by other code that goes on writing while we run."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from heimdall_assets.db import coverage, migrate, requests, work
from heimdall_assets.db.discovery import discover
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.requests import Selection
from heimdall_assets.defs.planner import plan_tick
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.conftest import drop_database, environment_of, make_database, settings_for
from heimdall_assets_tests.factory import GOOD, SAMPLE_RATE_HZ, SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL, Engine

    from heimdall_assets.settings import Settings

# The columns of Heimdall's tables as they were before measurements named their session, with some of others'.
OLD_TABLES = """
    CREATE SCHEMA heimdall;
    CREATE TABLE heimdall.websdr_stations (
        id uuid PRIMARY KEY, name varchar(255) NOT NULL UNIQUE, url varchar(255) NOT NULL, country text,
        latitude double precision NOT NULL, longitude double precision NOT NULL, altitude_asl int, is_active boolean);
    CREATE TABLE heimdall.known_sources (
        id uuid PRIMARY KEY, name varchar(255) NOT NULL, frequency_hz bigint NOT NULL,
        latitude double precision NOT NULL, longitude double precision NOT NULL, power_dbm double precision,
        source_type varchar(50), is_validated boolean, error_margin_meters double precision);
    CREATE TABLE heimdall.recording_sessions (
        id uuid PRIMARY KEY, known_source_id uuid REFERENCES heimdall.known_sources (id), session_name varchar(255),
        session_start timestamptz, session_end timestamptz, duration_seconds double precision,
        status varchar(20) NOT NULL, notes text, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
    CREATE TABLE heimdall.measurements (
        "timestamp" timestamptz NOT NULL, id uuid NOT NULL, websdr_station_id uuid NOT NULL,
        frequency_hz bigint NOT NULL,
        signal_strength_db double precision, iq_data_location varchar(512), iq_data_format varchar(50),
        iq_sample_rate int, iq_samples_count bigint, duration_seconds double precision, operator_note text,
        created_at timestamptz NOT NULL, PRIMARY KEY ("timestamp", id));
    CREATE TABLE heimdall.measurement_features (
        recording_session_id uuid PRIMARY KEY, "timestamp" timestamptz NOT NULL, receiver_features jsonb[] NOT NULL,
        tx_latitude double precision, tx_longitude double precision, tx_altitude_m double precision,
        tx_power_dbm double precision, tx_known boolean, extraction_metadata jsonb NOT NULL,
        overall_confidence double precision NOT NULL CHECK (overall_confidence >= 0 AND overall_confidence <= 1),
        mean_snr_db double precision,
        num_receivers_detected int CHECK (num_receivers_detected >= 0 AND num_receivers_detected <= 7),
        gdop double precision, extraction_failed boolean DEFAULT false, error_message text,
        created_at timestamptz DEFAULT now(), reviewed_by text);
"""
START = datetime(2024, 3, 1, tzinfo=UTC)
NUM_SESSIONS, NUM_WITHOUT_IQ, NUM_RECEIVERS = 1000, 100, 7
NUM_FOREIGN, NUM_FOREIGN_FAILED, NUM_SYNTHETIC = 400, 10, 20
UPSERT = """
    INSERT INTO heimdall.measurement_features
        (recording_session_id, timestamp, receiver_features, extraction_metadata, overall_confidence,
         num_receivers_detected, extraction_failed)
    VALUES (:id, :start, ARRAY[CAST(:receiver AS jsonb)], '{"extraction_method": "recorded"}', 0.4, 1, :failed)
    ON CONFLICT (recording_session_id) DO UPDATE
    SET receiver_features = excluded.receiver_features, extraction_metadata = excluded.extraction_metadata,
        overall_confidence = excluded.overall_confidence, extraction_failed = excluded.extraction_failed"""


@pytest.fixture
def old_database(server_url: URL) -> Iterator[URL]:
    """A database that has never seen us."""
    url = make_database(server_url, template="template0")
    engine = open_engine(url)
    with transaction(engine) as connection:
        connection.execute(sa.text(OLD_TABLES))
    engine.dispose()
    yield url
    drop_database(url)


@pytest.fixture
def old_settings(old_database: URL, tmp_path: Path) -> Settings:
    """Settings of the old database."""
    return settings_for(old_database, tmp_path)


@pytest.fixture
def old(old_database: URL) -> Iterator[Engine]:
    """Engine of the old database."""
    engine = open_engine(old_database)
    yield engine
    engine.dispose()


def fill(engine: Engine, sessions: int) -> list[uuid.UUID]:
    """Completed sessions a minute apart; a tenth without IQ data; receivers linked by time alone."""
    keys = [uuid.UUID(int=index + 1) for index in range(sessions)]
    stations = [uuid.UUID(int=10**6 + index) for index in range(NUM_RECEIVERS)]
    with transaction(engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO heimdall.websdr_stations (id, name, url, latitude, longitude) "
                "VALUES (:id, :name, 'http://x', 45, 8 + :i)"
            ),
            [{"id": key, "name": f"RX{i + 1}", "i": i} for i, key in enumerate(stations)],
        )
        connection.execute(
            sa.text(
                "INSERT INTO heimdall.recording_sessions (id, session_start, duration_seconds, status, notes, "
                "created_at, updated_at) VALUES (:id, :start, 5, 'completed', 'by hand', :start, :start)"
            ),
            [{"id": key, "start": START + timedelta(minutes=i)} for i, key in enumerate(keys)],
        )
        connection.execute(
            sa.text(
                'INSERT INTO heimdall.measurements ("timestamp", id, websdr_station_id, frequency_hz, '
                "iq_data_location, iq_sample_rate, created_at) "
                "VALUES (:at, gen_random_uuid(), :station, 145500000, :location, :rate, :at)"
            ),
            [
                {
                    "at": START + timedelta(minutes=i, seconds=1),
                    "station": station,
                    "location": None if i % 10 == 9 else GOOD,
                    "rate": SAMPLE_RATE_HZ,
                }
                for i in range(sessions)
                for station in stations
            ],
        )
    return keys


def foreign_row(key: uuid.UUID, *, failed: bool = False) -> dict[str, object]:
    """Parameters of UPSERT: one receiver object, as the old extractor wrote it."""
    return {
        "id": key,
        "start": START,
        "failed": failed,
        "receiver": json.dumps({"rx_id": "RX1", "snr_db": {"mean": 8}}),
    }


def fingerprint(engine: Engine) -> dict[str, str]:
    """A digest of every row of every table that is not ours."""
    tables = ("websdr_stations", "known_sources", "recording_sessions", "measurements", "measurement_features")
    digests = {}
    with transaction(engine) as connection:
        for table in tables:
            rows = connection.scalars(sa.text(f"SELECT t::text FROM heimdall.{table} t ORDER BY 1")).all()
            digests[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return digests


def test_an_upgrade_changes_no_row_and_the_figures_are_exact(old: Engine, old_settings: Settings) -> None:
    keys = fill(old, NUM_SESSIONS)
    with_iq = [key for i, key in enumerate(keys) if i % 10 != 9]
    with transaction(old) as connection:
        rows = [foreign_row(key, failed=i < NUM_FOREIGN_FAILED) for i, key in enumerate(with_iq[:NUM_FOREIGN])]
        rows += [foreign_row(uuid.uuid4()) for _ in range(NUM_SYNTHETIC)]
        connection.execute(sa.text(UPSERT), rows)
    before = fingerprint(old)
    migrate.upgrade(old)
    assert fingerprint(old) == before
    migrate.upgrade(old)
    with transaction(old) as connection:
        figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
        everything = Selection(pending=True)
        assert requests.count(connection, everything, feature_version=FEATURE_VERSION) == 510
    assert fingerprint(old) == before
    expected = {
        "total_recordings": 1000,
        "recordings_with_features": 390,
        "recordings_without_features": 610,
        "recordings_pending": 510,
        "recordings_without_iq": 100,
        "recordings_stale": 390,
        "total_measurements": 6300,
        "measurements_with_features": 390,
        "measurements_without_features": 5910,
        "coverage_percent": 39.0,
        "computable_coverage_percent": 43.33,
    }
    assert {name: figures[name] for name in expected} == expected


def test_a_session_of_twelve_receivers_is_stored_where_the_old_limit_was_seven(
    old: Engine, old_settings: Settings
) -> None:
    [key] = fill(old, 1)
    SessionFactory(old, old_settings).write_files()
    migrate.upgrade(old)
    with transaction(old) as connection:
        for i in range(5):
            station = uuid.uuid4()
            connection.execute(
                sa.text(
                    "INSERT INTO heimdall.websdr_stations (id, name, url, latitude, longitude) "
                    "VALUES (:id, :name, 'http://x', 46, 8)"
                ),
                {"id": station, "name": f"MORE{i}"},
            )
            connection.execute(
                sa.text(
                    'INSERT INTO heimdall.measurements ("timestamp", id, websdr_station_id, frequency_hz, '
                    "iq_data_location, iq_sample_rate, created_at) "
                    "VALUES (:at, gen_random_uuid(), :station, 1, :location, :rate, :at)"
                ),
                {"at": START, "station": station, "location": GOOD, "rate": SAMPLE_RATE_HZ},
            )
    assert extract_session(old, key, old_settings).computed
    with transaction(old) as connection:
        assert connection.scalar(sa.text("SELECT num_receivers_detected FROM heimdall.measurement_features")) == 12


def test_other_writers_go_on_and_what_they_did_is_noticed_and_not_done_again(
    old: Engine, old_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = fill(old, 8)
    SessionFactory(old, old_settings).write_files()
    migrate.upgrade(old)
    for name, value in environment_of(old_settings, tmp_path).items():
        monkeypatch.setenv(name, value)
    current_settings.cache_clear()
    with DagsterInstance.get() as instance:
        first = plan_tick(instance, old, old_settings, since=None, is_schedule=False)
        assert first.num_sessions == 8
        with transaction(old) as connection:
            connection.execute(sa.text(UPSERT), [foreign_row(keys[0])])
            connection.execute(sa.text("UPDATE heimdall.feature_states SET reserved_by = NULL"))
        second = plan_tick(instance, old, old_settings, since=None, is_schedule=False)
        assert {key for batch in second.batches for key in batch.session_ids} == set(keys[1:])
    assert not extract_session(old, keys[0], old_settings).computed
    assert extract_session(old, keys[1], old_settings).computed
    with transaction(old) as connection:  # an upsert over our row works as it always did
        connection.execute(sa.text(UPSERT), [foreign_row(keys[1])])
        figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
    assert figures["recordings_with_features"] == 2


def test_rows_of_other_code_are_replaced_only_when_asked_and_kept_in_the_history(
    old: Engine, old_settings: Settings
) -> None:
    [key] = fill(old, 1)
    SessionFactory(old, old_settings).write_files()
    with transaction(old) as connection:
        connection.execute(sa.text(UPSERT), [foreign_row(key)])
        connection.execute(sa.text("UPDATE heimdall.measurement_features SET reviewed_by = 'somebody'"))
    migrate.upgrade(old)
    assert not extract_session(old, key, old_settings).computed
    assert extract_session(old, key, old_settings, stale=True).computed
    assert not extract_session(old, key, old_settings, stale=True).computed
    with transaction(old) as connection:
        assert connection.scalar(sa.text("SELECT reviewed_by FROM heimdall.measurement_features")) == "somebody"
        history = connection.scalars(sa.text("SELECT feature_row FROM heimdall.measurement_features_history")).all()
    assert [row["overall_confidence"] for row in history] == [0.4]


def test_a_failure_by_other_code_is_one_fresh_attempt_and_a_second_one_does_not_start_our_count_anew(
    old: Engine, old_settings: Settings
) -> None:
    good, lost = fill(old, 2)
    SessionFactory(old, old_settings).write_files()
    migrate.upgrade(old)
    with transaction(old) as connection:
        connection.execute(
            sa.text("UPDATE heimdall.measurements SET iq_data_location = 'lost.npy' WHERE created_at > :at"),
            {"at": START + timedelta(seconds=30)},
        )

    def states_after(*rows: dict[str, object]) -> dict[uuid.UUID, str]:
        with transaction(old) as connection:
            connection.execute(sa.text(UPSERT), list(rows))
            work.absorb(connection)
            states = connection.execute(sa.text("SELECT recording_session_id, state FROM heimdall.feature_states"))
            return {row[0]: row[1] for row in states}

    with transaction(old) as connection:
        discover(connection)
    both_failed = [foreign_row(key, failed=True) for key in (good, lost)]
    assert states_after(*both_failed) == {good: "pending", lost: "pending"}
    assert extract_session(old, good, old_settings).computed
    assert not extract_session(old, lost, old_settings).has_features
    # Now it fails over our features too, and once more where we failed: only the first is news.
    assert states_after(*both_failed) == {good: "pending", lost: "failed"}
    assert extract_session(old, good, old_settings).computed
    assert states_after(foreign_row(lost)) == {good: "done", lost: "done"}
