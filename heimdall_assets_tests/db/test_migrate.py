"""Migrations: from nothing, from where they were, twice, at once, and as SQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from heimdall_assets.db import discovery, migrate
from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.db.tables import SCHEMA, metadata
from heimdall_assets.errors import WrongDatabase
from heimdall_assets_tests.conftest import drop_database, make_database
from heimdall_assets_tests.db.psql import run_script
from heimdall_assets_tests.db.rows import statements_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Engine


@pytest.fixture
def empty(server_url: URL) -> Iterator[Engine]:
    """Engine of a database without any table."""
    url = make_database(server_url, template="template0")
    engine = open_engine(url)
    yield engine
    engine.dispose()
    drop_database(url)


def differences(engine: Engine) -> list[Any]:
    """Where the database and tables.py disagree; indexes and foreign keys are the migrations' own affair."""
    options = {
        "include_schemas": True,
        "compare_type": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
        "include_object": lambda _o, name, kind, _r, _c: (
            kind not in {"index", "foreign_key_constraint"} and name != "feature_alembic_version"
        ),
    }
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_an_empty_database_gets_the_tables_that_the_code_expects_and_a_repetition_changes_nothing(
    empty: Engine,
) -> None:
    assert migrate.upgrade(empty) == (None, migrate.head_revision())
    assert differences(empty) == []
    assert migrate.upgrade(empty) == (migrate.head_revision(), migrate.head_revision())
    migrate.require_current(empty)


def test_two_upgrades_at_once_take_turns(empty: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        afters = [future.result()[1] for future in [pool.submit(migrate.upgrade, empty) for _ in range(2)]]
    assert afters == [migrate.head_revision()] * 2
    assert differences(empty) == []


def test_the_printed_sql_makes_the_same_database(empty: Engine) -> None:
    run_script(empty.url, migrate.upgrade_sql(None))
    migrate.require_current(empty)
    assert differences(empty) == []
    assert migrate.upgrade(empty) == (migrate.head_revision(), migrate.head_revision())


def test_the_printed_sql_of_a_database_in_between_holds_only_what_it_lacks(empty: Engine) -> None:
    upgrade_to(empty, "0001")
    with pytest.raises(
        WrongDatabase, match=f"is at revision 0001, not {migrate.head_revision()}: run `heimdall db upg"
    ):
        migrate.require_current(empty)
    script = migrate.upgrade_sql("0001")
    assert "CREATE TABLE IF NOT EXISTS heimdall.recording_sessions" not in script
    run_script(empty.url, script)
    migrate.require_current(empty)
    assert differences(empty) == []


def test_a_database_in_between_gets_what_it_lacks(empty: Engine) -> None:
    upgrade_to(empty, "0001")
    assert migrate.upgrade(empty) == ("0001", migrate.head_revision())
    assert differences(empty) == []


def upgrade_to(engine: Engine, revision: str) -> None:
    """Bring an empty database to a revision that was the newest once."""
    config = migrate._config()
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def test_a_database_that_was_never_upgraded_says_what_to_do(empty: Engine) -> None:
    with pytest.raises(WrongDatabase, match="was never upgraded: run `heimdall db upgrade`"):
        migrate.require_current(empty)


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE heimdall.feature_alembic_version SET version_num = '9999'"))
    for action in (migrate.require_current, migrate.upgrade):
        with pytest.raises(WrongDatabase, match="revision 9999, which this version does not know"):
            action(engine)


def test_a_role_without_privileges_gets_a_clear_error(empty: Engine) -> None:
    name = f"reader_{empty.url.database}"
    with autocommit(empty) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN"))
    reader = open_engine(empty.url.set(username=name))
    try:
        with pytest.raises(WrongDatabase, match="lacks a privilege"):
            migrate.upgrade(reader)
    finally:
        reader.dispose()
        with autocommit(empty) as connection:
            connection.execute(sa.text(f"DROP ROLE {name}"))


@pytest.fixture
def existing(empty: Engine) -> Engine:
    """A Heimdall database of an older version: other columns, no link to the session, rows of other code."""
    with transaction(empty) as connection:
        for statement in EXISTING.split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    return empty


EXISTING = """
    CREATE SCHEMA heimdall;
    CREATE TABLE heimdall.alembic_version (version_num varchar(32) PRIMARY KEY);
    INSERT INTO heimdall.alembic_version VALUES ('somebody_elses');
    CREATE TABLE heimdall.websdr_stations (
        id uuid PRIMARY KEY, name varchar(255) NOT NULL UNIQUE, url varchar(255) NOT NULL, country varchar(100),
        latitude double precision, longitude double precision, altitude_asl int, is_active boolean DEFAULT true,
        admin_email varchar(255), created_at timestamptz DEFAULT now());
    CREATE TABLE heimdall.known_sources (
        id uuid PRIMARY KEY, name varchar(255) NOT NULL, description text, frequency_hz bigint,
        latitude double precision, longitude double precision, power_dbm double precision,
        source_type varchar(100), is_validated boolean DEFAULT false, error_margin_meters double precision);
    CREATE TABLE heimdall.recording_sessions (
        id uuid PRIMARY KEY, known_source_id uuid REFERENCES heimdall.known_sources (id), session_name varchar(255),
        session_start timestamptz, session_end timestamptz, duration_seconds double precision,
        celery_task_id varchar(255), status varchar(50) NOT NULL, approval_status varchar(20) DEFAULT 'pending',
        created_at timestamptz, updated_at timestamptz);
    CREATE TABLE heimdall.measurements (
        "timestamp" timestamptz NOT NULL, id uuid NOT NULL,
        websdr_station_id uuid NOT NULL REFERENCES heimdall.websdr_stations (id), frequency_hz bigint NOT NULL,
        signal_strength_db double precision, snr_db double precision, iq_data_location varchar(512),
        iq_data_format varchar(50), iq_sample_rate int, iq_samples_count int, duration_seconds double precision,
        created_at timestamptz, PRIMARY KEY ("timestamp", id));
    CREATE TABLE heimdall.measurement_features (
        recording_session_id uuid PRIMARY KEY, "timestamp" timestamptz NOT NULL, receiver_features jsonb[] NOT NULL,
        tx_latitude double precision, tx_longitude double precision, tx_altitude_m double precision,
        tx_power_dbm double precision, tx_known boolean DEFAULT false, extraction_metadata jsonb NOT NULL,
        overall_confidence double precision NOT NULL CHECK (overall_confidence BETWEEN 0 AND 1),
        mean_snr_db double precision,
        num_receivers_detected int CHECK (num_receivers_detected >= 0 AND num_receivers_detected <= 7),
        gdop double precision, extraction_failed boolean DEFAULT false, error_message text,
        created_at timestamptz DEFAULT now(), dataset_id uuid, num_receivers_in_sample int CHECK
        (num_receivers_in_sample <= 15));
    INSERT INTO heimdall.websdr_stations (id, name, url)
        SELECT gen_random_uuid(), 'RX' || i, 'http://rx' || i FROM generate_series(1, 7) i;
    INSERT INTO heimdall.known_sources (id, name, frequency_hz) VALUES (gen_random_uuid(), 'beacon', 145500000);
    INSERT INTO heimdall.recording_sessions
        (id, session_name, session_start, duration_seconds, status, created_at, updated_at)
        SELECT gen_random_uuid(), 'session ' || i, t, 10, 'completed', t, t
        FROM generate_series(1, 50) i, LATERAL (SELECT timestamptz '2025-06-01Z' + i * interval '1 minute' AS t) x;
    INSERT INTO heimdall.measurements
        ("timestamp", id, websdr_station_id, frequency_hz, iq_data_location, created_at)
        SELECT s.created_at, gen_random_uuid(), w.id, 145500000, w.name || '.npy', s.created_at
        FROM heimdall.recording_sessions s, heimdall.websdr_stations w;
    INSERT INTO heimdall.measurement_features (recording_session_id, "timestamp", receiver_features,
        extraction_metadata, overall_confidence, num_receivers_detected)
        SELECT id, created_at, ARRAY['{"rx_id": "RX1"}'::jsonb], '{"extraction_method": "recorded"}', 0.5, 7
        FROM heimdall.recording_sessions ORDER BY created_at LIMIT 10;
    INSERT INTO heimdall.measurement_features (recording_session_id, "timestamp", receiver_features,
        extraction_metadata, overall_confidence, dataset_id)
        SELECT gen_random_uuid(), now(), '{}', '{"extraction_method": "synthetic"}', 0.5, gen_random_uuid()
        FROM generate_series(1, 20)
"""

SHAPE = """
    SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_schema = 'heimdall' AND table_name = ANY (CAST(:tables AS text[]))
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'heimdall'::regnamespace
      AND conrelid::regclass::text = ANY (SELECT 'heimdall.' || t FROM unnest(CAST(:tables AS text[])) t)
    UNION ALL
    SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
    FROM pg_trigger WHERE tgrelid::regclass::text = ANY (SELECT 'heimdall.' || t FROM unnest(CAST(:tables AS text[])) t)
"""
THEIRS = ["websdr_stations", "known_sources", "recording_sessions", "measurements", "measurement_features"]


def rows_of(engine: Engine) -> dict[str, str]:
    """A checksum of every row of the tables that are not ours."""
    with transaction(engine) as connection:
        return {
            table: connection.execute(
                sa.text(f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM heimdall.{table} t")
            ).scalar_one()
            for table in (*THEIRS, "alembic_version")
        }


def shape_of(engine: Engine) -> set[tuple[str, ...]]:
    """Columns, constraints and triggers of the tables that are not ours."""
    with transaction(engine) as connection:
        return {tuple(row) for row in connection.execute(sa.text(SHAPE), {"tables": THEIRS})}


def indexes_of(engine: Engine) -> dict[str, bool]:
    """Our indexes on the tables that are not ours, and whether they can be used."""
    query = """
        SELECT indexrelid::regclass::text AS name, indisvalid FROM pg_index
        WHERE indrelid::regclass::text = ANY (SELECT 'heimdall.' || t FROM unnest(CAST(:tables AS text[])) t)
          AND indexrelid::regclass::text LIKE 'heimdall.feature%'"""
    with transaction(engine) as connection:
        found = connection.execute(sa.text(query), {"tables": THEIRS})
        return {row.name.removeprefix("heimdall."): row.indisvalid for row in found}


def test_an_existing_database_is_upgraded_without_touching_a_row_or_a_column(existing: Engine) -> None:
    rows, shape = rows_of(existing), shape_of(existing)
    assert migrate.upgrade(existing) == (None, migrate.head_revision())
    assert rows_of(existing) == rows
    changed = shape ^ shape_of(existing)
    # CONTRACT's one exception: no more than seven receivers; the limit on another column stays. The table of
    # features, which is ours too, gets triggers that note what other code does to it.
    assert {(kind, name) for kind, _, name, _ in changed} == {
        ("constraint", "measurement_features_num_receivers_detected_check"),
        ("trigger", "feature_changes_note"),
        ("trigger", "feature_changes_note_all"),
    }
    assert indexes_of(existing) == dict.fromkeys(
        (
            "feature_sessions_completed",
            "feature_sessions_completed_new",
            "feature_sessions_window",
            "feature_measurements_iq_created",
            "feature_rows_present",
            "feature_sessions_reopened",
        ),
        True,
    )
    migrate.upgrade(existing)
    assert rows_of(existing) == rows


def test_the_printed_sql_for_an_existing_database_with_the_link_touches_no_row_either(existing: Engine) -> None:
    with autocommit(existing) as connection:
        connection.execute(sa.text("ALTER TABLE heimdall.measurements ADD COLUMN recording_session_id uuid"))
    rows = rows_of(existing)
    run_script(existing.url, migrate.upgrade_sql(None))
    migrate.require_current(existing)
    assert rows_of(existing) == rows
    assert "feature_measurements_session" in indexes_of(existing)


def test_an_existing_database_is_worked_with_as_it_is(existing: Engine) -> None:
    migrate.upgrade(existing)
    with transaction(existing) as connection:
        before = coverage_figures(connection, feature_version=1)
        assert discovery.discover(connection) == 50
        assert coverage_figures(connection, feature_version=1) == {**before, "oldest_pending_age_seconds": ANY}
        connection.execute(sa.text("UPDATE heimdall.measurement_features SET num_receivers_detected = 12"))
    assert (before["total_recordings"], before["recordings_stale"], before["recordings_pending"]) == (50, 10, 40)
    assert (before["total_measurements"], before["measurements_with_features"]) == (350, 10)


def test_an_index_that_an_interrupted_upgrade_left_unusable_is_made_anew(existing: Engine) -> None:
    with autocommit(existing) as connection:
        connection.execute(sa.text("CREATE INDEX feature_sessions_window ON heimdall.recording_sessions (status)"))
        connection.execute(
            sa.text(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'heimdall.feature_sessions_window'::regclass"
            )
        )
    migrate.upgrade(existing)
    assert all(indexes_of(existing).values())
    with transaction(existing) as connection:
        definition = connection.scalar(sa.text("SELECT pg_get_indexdef('heimdall.feature_sessions_window'::regclass)"))
    assert "session_start" in str(definition)


def test_indexes_are_made_concurrently_but_plainly_on_a_hypertable(existing: Engine) -> None:
    add_hypertable_catalog(existing)
    with transaction(existing) as connection:
        printed = migrate.upgrade_sql(None, migrate.catalog_of(connection))
    with statements_of(existing) as sent:
        migrate.upgrade(existing)
    for statements in ([text for text, _ in sent], printed.splitlines()):
        made = [text for text in statements if text.startswith("CREATE INDEX") and "IF NOT EXISTS feature_" in text]
        assert len(made) == 6
        assert all(("CONCURRENTLY" in text) != ("heimdall.measurements" in text) for text in made)


def add_hypertable_catalog(engine: Engine) -> None:
    """TimescaleDB's catalogue, as far as it is asked: measurements is a hypertable."""
    with autocommit(engine) as connection:
        connection.execute(sa.text("CREATE SCHEMA _timescaledb_catalog"))
        connection.execute(sa.text("CREATE TABLE _timescaledb_catalog.hypertable (schema_name name, table_name name)"))
        connection.execute(sa.text("INSERT INTO _timescaledb_catalog.hypertable VALUES ('heimdall', 'measurements')"))


def test_the_printed_sql_for_an_existing_database_fits_it(existing: Engine) -> None:
    rows = rows_of(existing)
    with transaction(existing) as connection:
        printed = migrate.upgrade_sql(None, migrate.catalog_of(connection))
    assert "CREATE INDEX CONCURRENTLY" in printed
    run_script(existing.url, printed)
    migrate.require_current(existing)
    assert rows_of(existing) == rows
    with transaction(existing) as connection:
        connection.execute(sa.text("UPDATE heimdall.measurement_features SET num_receivers_detected = 12"))


def test_sql_that_is_printed_without_a_look_at_the_database_says_what_to_change(existing: Engine) -> None:
    printed = migrate.upgrade_sql(None)
    assert "-- Where a table is a TimescaleDB hypertable, which refuses CONCURRENTLY, leave that word out." in printed
    assert "leave out feature_measurements_session" in printed
    with transaction(existing) as connection:
        fitting = migrate.upgrade_sql(None, migrate.catalog_of(connection))
    assert "hypertable" not in fitting
    assert "feature_measurements_session" not in fitting


def test_a_role_that_owns_the_schema_needs_no_right_to_create_another(existing: Engine) -> None:
    name = f"owner_{existing.url.database}"
    with autocommit(existing) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN"))
        connection.execute(sa.text(f"ALTER SCHEMA heimdall OWNER TO {name}"))
        for table in (*THEIRS, "alembic_version"):
            connection.execute(sa.text(f"ALTER TABLE heimdall.{table} OWNER TO {name}"))
    owner = open_engine(existing.url.set(username=name))
    try:
        assert migrate.upgrade(owner) == (None, migrate.head_revision())
    finally:
        owner.dispose()
        with autocommit(existing) as connection:
            connection.execute(sa.text(f"REASSIGN OWNED BY {name} TO postgres"))
            connection.execute(sa.text(f"DROP ROLE {name}"))


def test_a_role_that_may_not_look_into_the_schema_gets_a_clear_error(engine: Engine) -> None:
    name = f"stranger_{engine.url.database}"
    with autocommit(engine) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN"))
    stranger = open_engine(engine.url.set(username=name))
    try:
        for action in (migrate.require_current, migrate.upgrade):
            with pytest.raises(WrongDatabase, match=r"lacks a privilege.*permission denied"):
                action(stranger)
    finally:
        stranger.dispose()
        with autocommit(engine) as connection:
            connection.execute(sa.text(f"DROP ROLE {name}"))
