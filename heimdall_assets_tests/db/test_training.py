"""The view training_samples: whose rows it has, what its columns are, and reading all of it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import training
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.training import SampleCount
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import extract_session
from heimdall_assets.extraction.stored import AGGREGATES
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.db.rows import add_features, add_session, add_station
from heimdall_assets_tests.factory import GOOD, TRUNCATED

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

STATISTICS = ("mean", "std", "min", "max")


def rows_of(connection: Connection) -> list[dict[str, Any]]:
    """The whole view."""
    query = f"SELECT * FROM {training.VIEW} ORDER BY recording_session_id, station_name"
    return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


def test_the_view_has_four_columns_a_feature_of_the_registry_with_its_unit(engine: Engine) -> None:
    with transaction(engine) as connection:
        columns = training.sample_columns(connection)
    figures = [(f"{feature.name}_{stat}", feature.unit) for feature in FEATURES for stat in STATISTICS]
    assert len(figures) == 72
    assert [(column.name, column.unit) for column in columns if column.sql_type == "double precision"][-72:] == figures
    assert all(column.meaning for column in columns)


def test_columns_that_are_quantities_name_their_unit_twice(engine: Engine) -> None:
    suffixes = {"_hz": "Hz", "_m": "m", "_ms": "ms", "_db": "dB", "_dbm": "dBm"}
    with transaction(engine) as connection:
        columns = training.sample_columns(connection)
    for column in columns:
        for suffix, unit in suffixes.items():
            if column.name.endswith(suffix):
                assert column.unit == unit, column.name


def test_a_sample_is_what_was_stored_of_a_receiver_with_the_sessions_ground_truth(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    with transaction(engine) as connection:
        source = connection.scalar(
            sa.text(
                "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude, power_dbm) "
                "VALUES ('beacon', 145500000, 45.1, 7.9, 37) RETURNING id"
            )
        )
    key = factory.add((GOOD, TRUNCATED, GOOD), known_source_id=source)
    extract_session(engine, key, settings)
    with transaction(engine) as connection:
        first, second = rows_of(connection)
        stored = connection.scalar(sa.text("SELECT receiver_features[1] FROM heimdall.measurement_features"))
    assert [first["station_name"], second["station_name"]] == ["RX1", "RX3"]
    for feature in FEATURES:
        for stat in STATISTICS:
            assert first[f"{feature.name}_{stat}"] == stored[feature.name][stat]
    assert first["snr_db_mean"] == pytest.approx(17, abs=0.5)
    assert first["multipath_delay_spread_us_mean"] is None
    said = {
        "recording_session_id": key,
        "session_start": datetime(2025, 6, 1, tzinfo=UTC),
        "rx_latitude": 45.04,
        "rx_longitude": 7.35,
        "frequency_hz": 145_500_000.0,
        "sample_rate_hz": 10_000.0,
        "num_chunks": 5,
        "chunk_duration_ms": 200.0,
        "calibration_db": 30.0,
        "tx_known": True,
        "tx_latitude": 45.1,
        "tx_longitude": 7.9,
        "tx_altitude_m": None,
        "tx_power_dbm": 37.0,
        "ground_truth": "session",
        "num_receivers_detected": 2,
        "feature_version": FEATURE_VERSION,
        "stale_reason": None,
    }
    assert {name: first[name] for name in said} == said
    ids = factory.rows("SELECT id FROM heimdall.websdr_stations WHERE name IN ('RX1', 'RX3') ORDER BY name")
    assert [(first["station_id"],), (second["station_id"],)] == ids
    assert factory.scalar(
        "SELECT count(*) FROM heimdall.measurements WHERE id = CAST(:id AS uuid)", id=first["measurement_id"]
    )


def test_rows_of_other_code_rows_without_a_session_and_failed_ones_are_no_samples(engine: Engine) -> None:
    ours = {"feature_version": FEATURE_VERSION}
    with transaction(engine) as connection:
        connection.execute(
            sa.text(
                "ALTER TABLE heimdall.measurement_features "
                "DROP CONSTRAINT measurement_features_recording_session_id_fkey"
            )
        )
        good = add_session(connection)
        add_features(connection, good, [{"rx_id": "A", "snr_db": {"mean": 3, "std": None}}], metadata=ours)
        add_features(connection, add_session(connection), [{"rx_id": "B", "snr_db": "high"}])
        add_features(connection, add_session(connection), [{"rx_id": "C"}], metadata=ours, failed=True)
        synthetic = connection.scalar(sa.text("SELECT gen_random_uuid()"))
        add_features(connection, synthetic, [{"rx_id": "D"}], metadata=ours)
        (sample,) = rows_of(connection)
    assert (sample["recording_session_id"], sample["station_name"], sample["station_id"]) == (good, "A", None)
    assert (sample["snr_db_mean"], sample["snr_db_std"], sample["frequency_hz"]) == (3.0, None, None)


def test_what_other_code_may_have_put_in_place_of_numbers_and_objects_is_null_or_left_out(engine: Engine) -> None:
    odd = [
        {"rx_id": "A", "rx_lat": "north", "snr_db": {"mean": "high", "max": 10**400}, "rssi_dbm": 7},
        "text",
        5,
        {"error": "x"},
    ]
    with transaction(engine) as connection:
        key = add_session(connection)
        add_features(connection, key, odd, metadata={"feature_version": 1, "receivers": []})  # type: ignore[arg-type]
        add_features(connection, add_session(connection), ["text"], metadata={})  # type: ignore[list-item]
        (sample,) = rows_of(connection)
        loud = connection.scalar(sa.text(f"SELECT count(*) FROM {training.VIEW} WHERE snr_db_mean > 0"))
    figures = ("rx_latitude", "snr_db_mean", "snr_db_max", "rssi_dbm_mean")
    assert [sample[name] for name in figures] == [None] * 4
    assert loud == 0


def test_stale_samples_say_so(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    for key in factory.add_many(2, (GOOD,)):
        extract_session(engine, key, settings)
    factory.rows(
        "UPDATE heimdall.feature_states SET stale_reason = 'receiver_settings' "
        "WHERE recording_session_id = (SELECT min(recording_session_id::text)::uuid FROM heimdall.feature_states) "
        "RETURNING 1"
    )
    with transaction(engine) as connection:
        assert [row["stale_reason"] for row in rows_of(connection)] == ["receiver_settings", None]
        assert training.sample_counts(connection) == [SampleCount(FEATURE_VERSION, 2, 2, 1)]


def test_samples_of_one_version_come_in_pages_in_the_order_of_session_and_receiver_and_are_of_one_moment(
    engine: Engine,
) -> None:
    names = [{"rx_id": name} for name in "CAB"]
    with transaction(engine) as connection:
        keys = [add_session(connection, id=uuid.UUID(int=number)) for number in (0, 1, 2, 3, 4, 5, 2**128 - 1)]
        for key in keys:
            add_features(connection, key, names, metadata={"feature_version": 1 + (key in keys[2:4])})
    with transaction(engine) as reader:
        training.take_snapshot(reader)
        pages = training.samples(reader, feature_version=1, page_sessions=2)
        rows = [(row.recording_session_id, row.station_name) for row in next(pages)]
        with transaction(engine) as writer:
            writer.execute(sa.text("DELETE FROM heimdall.measurement_features"))
        sizes = [len(rows)]
        for page in pages:
            rows += [(row.recording_session_id, row.station_name) for row in page]
            sizes.append(len(page))
    assert sizes == [6, 6, 3]  # the second pair of sessions is of the other version
    assert rows == [(key, name) for key in (*keys[:2], *keys[4:]) for name in "ABC"]


def test_heimdalls_services_may_go_on_changing_columns_that_the_view_does_not_read(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "A")
        connection.execute(sa.text("ALTER TABLE heimdall.websdr_stations ALTER COLUMN url TYPE varchar(500)"))
        connection.execute(sa.text("ALTER TABLE heimdall.recording_sessions ALTER COLUMN status TYPE varchar(60)"))
        connection.execute(sa.text("ALTER TABLE heimdall.measurement_features ADD COLUMN reviewed_by text"))
        connection.execute(sa.text("ALTER TABLE heimdall.measurements DROP COLUMN recording_session_id"))
        assert rows_of(connection) == []


def test_the_documentation_lists_the_columns_as_the_database_describes_them(engine: Engine) -> None:
    text = (Path(__file__).parents[2] / "docs" / "training_samples.md").read_text(encoding="utf-8")
    with transaction(engine) as connection:
        columns = [
            column
            for column in training.sample_columns(connection)
            if column.name not in {f"{feature.name}_{stat}" for feature in FEATURES for stat in AGGREGATES}
        ]
    documented = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| column")]
    assert documented == [f"| {column.name} | {column.unit} | {column.meaning} |" for column in columns]


def test_a_session_that_leaves_completed_takes_its_samples_out(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add()
    extract_session(engine, key, settings)
    for status, count in (("completed", 3), ("recording", 0), ("completed", 3)):
        factory.rows("UPDATE heimdall.recording_sessions SET status = :status RETURNING 1", status=status)
        with transaction(engine) as connection:
            assert len(rows_of(connection)) == count


def test_the_approval_is_a_column_whatever_the_database_has(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    extract_session(engine, factory.add((GOOD,)), settings)
    with transaction(engine) as connection:
        assert [row["approval_status"] for row in rows_of(connection)] == [None]
        connection.execute(
            sa.text("ALTER TABLE heimdall.recording_sessions ADD approval_status varchar(20) DEFAULT 'approved'")
        )
        assert [row["approval_status"] for row in rows_of(connection)] == ["approved"]
