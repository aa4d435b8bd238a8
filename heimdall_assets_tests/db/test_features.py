"""Rows of measurement_features: what is stored, what is kept of what was there, and what other columns keep."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import tables
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.features import failure_metadata, replace_features, replace_with_failure, stored_features
from heimdall_assets.errors import DatabaseError, TruncatedRecording
from heimdall_assets.records import (
    Aggregate,
    InputIdentity,
    KnownSource,
    ReceiverFailure,
    ReceiverFeatures,
    Session,
    SessionFeatures,
    SessionFigures,
    Station,
)
from heimdall_assets_tests.db.rows import add_features, add_session
from heimdall_assets_tests.factory import FIRST_START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets_tests.factory import SessionFactory

AGGREGATE: Aggregate = {"mean": 12.5, "std": 0.5, "min": 12.0, "max": 13.0}
UNDEFINED: Aggregate = {"mean": None, "std": None, "min": None, "max": None}
SOURCE = KnownSource("beacon", 45.1, 7.9, 145_500_000, power_dbm=30.0)


def session(engine: Engine, source: KnownSource | None = None) -> Session:
    """A session that is in the database."""
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START)
    return Session(key, "a name", "completed", FIRST_START, (), source, "session" if source else None)


def receiver(name: str, failure: ReceiverFailure | None = None) -> ReceiverFeatures:
    """A receiver with features, or with a failure."""
    identity = InputIdentity(
        measurement_id=uuid.UUID(int=5),
        iq_data_location=f"{name}.npy",
        size_bytes=80_128,
        etag='"abc"',
        format="npy",
        sample_rate_hz=200_000.0,
        center_frequency_hz=145.5e6,
        start_time=FIRST_START,
        num_samples=10_000,
        num_chunks=5,
        chunk_duration_ms=200.0,
    )
    station = Station(name, 45.0, 8.0, 200.0)
    if failure is not None:
        return ReceiverFeatures(station, InputIdentity(uuid.UUID(int=6), "gone.npy"), failure=failure)
    return ReceiverFeatures(station, identity, {"snr_db": AGGREGATE, "bandwidth_hz": UNDEFINED}, {"clipped": 0.25})


def result(
    of: Session, receivers: Sequence[ReceiverFeatures] | None = None, feature_version: int = 3
) -> SessionFeatures:
    """What an extraction may have found."""
    figures = SessionFigures(num_receivers_detected=1, mean_snr_db=12.5, overall_confidence=0.75, gdop=1.5)
    kept = (receiver("RX1"),) if receivers is None else tuple(receivers)
    return SessionFeatures(of, kept, figures, feature_version, 0.123456, "run-1")


def row_of(connection: Connection, key: uuid.UUID) -> dict[str, Any]:
    """The session's row, every column of the table, also those that are not ours."""
    query = "SELECT * FROM heimdall.measurement_features WHERE recording_session_id = :id"
    return dict(connection.execute(sa.text(query), {"id": key}).one()._mapping)


def history_of(connection: Connection, key: uuid.UUID) -> list[tuple[int, dict[str, Any]]]:
    """(attempt, row) of what was replaced, in order."""
    table = tables.measurement_features_history
    query = sa.select(table.c.replaced_by_attempt, table.c.feature_row).where(table.c.recording_session_id == key)
    return [(row[0], row[1]) for row in connection.execute(query.order_by(table.c.id))]


def fail(connection: Connection, of: Session, *, attempt: int = 1) -> bool:
    """Store that extraction failed."""
    metadata = failure_metadata(run_id="run-2", feature_version=3, seconds=1.23456)
    return replace_with_failure(connection, of, TruncatedRecording("cut\n  off"), attempt=attempt, metadata=metadata)


def test_a_session_without_a_row_has_nothing_stored(engine: Engine) -> None:
    with transaction(engine) as connection:
        assert stored_features(connection, uuid.uuid4()) is None
        assert stored_features(connection, uuid.uuid4(), for_update=True) is None


def test_a_result_is_stored_with_the_keys_that_readers_know(engine: Engine) -> None:
    of = session(engine, SOURCE)
    failure = ReceiverFailure("truncated", "cut off", transient=False, traceback="not for the row")
    with transaction(engine) as connection:
        replace_features(
            connection, result(of, [receiver("RX1"), receiver("RX2", failure)]), attempt=1, only_failed=False
        )
        row = row_of(connection, of.id)
        assert history_of(connection, of.id) == []
    assert row.pop("created_at") is not None
    assert row == {
        "recording_session_id": of.id,
        "timestamp": FIRST_START,
        "receiver_features": [
            {
                "rx_id": "RX1",
                "rx_lat": 45.0,
                "rx_lon": 8.0,
                "snr_db": AGGREGATE,
                "bandwidth_hz": UNDEFINED,
                "notes": {"clipped": 0.25},
            },
            {
                "rx_id": "RX2",
                "rx_lat": 45.0,
                "rx_lon": 8.0,
                "error": {"reason": "truncated", "message": "cut off"},
                "signal_present": False,
            },
        ],
        "tx_latitude": 45.1,
        "tx_longitude": 7.9,
        "tx_altitude_m": None,
        "tx_power_dbm": 30.0,
        "tx_known": True,
        "extraction_metadata": {
            "extraction_method": "recorded",
            "feature_version": 3,
            "package_version": version("heimdall-assets"),
            "run_id": "run-1",
            "seconds": 0.1235,
            "iq_duration_ms": 50.0,
            "sample_rate_hz": 200_000.0,
            "num_chunks": 5,
            "chunk_duration_ms": 200.0,
            "frequency_hz": 145.5e6,
            "ground_truth": "session",
            "receivers": {
                "RX1": {
                    "measurement_id": str(uuid.UUID(int=5)),
                    "measurement_ids": [],
                    "station_id": None,
                    "iq_data_location": "RX1.npy",
                    "format": "npy",
                    "sample_rate_hz": 200_000.0,
                    "center_frequency_hz": 145.5e6,
                    "start_time": "2025-06-01T00:00:00+00:00",
                    "num_samples": 10_000,
                    "num_chunks": 5,
                    "chunk_duration_ms": 200.0,
                    "size": 80_128,
                    "etag": '"abc"',
                    "calibration_db": 30.0,
                    "passband_hz": None,
                    "remove_dc": False,
                    "response": None,
                },
                "RX2": {
                    "measurement_id": str(uuid.UUID(int=6)),
                    "measurement_ids": [],
                    "station_id": None,
                    "iq_data_location": "gone.npy",
                    **dict.fromkeys(
                        (
                            "format",
                            "sample_rate_hz",
                            "center_frequency_hz",
                            "start_time",
                            "num_samples",
                            "num_chunks",
                            "chunk_duration_ms",
                            "size",
                            "etag",
                            "passband_hz",
                        )
                    ),
                    "calibration_db": 30.0,
                    "remove_dc": False,
                    "response": None,
                },
            },
        },
        "overall_confidence": 0.75,
        "mean_snr_db": 12.5,
        "num_receivers_detected": 1,
        "gdop": 1.5,
        "extraction_failed": False,
        "error_message": None,
    }


def test_figures_that_are_undefined_are_null_and_an_unknown_source_has_no_place(engine: Engine) -> None:
    of = session(engine)
    nothing = replace(result(of), figures=SessionFigures(0, None, 0.0, None))
    with transaction(engine) as connection:
        replace_features(connection, nothing, attempt=1, only_failed=False)
        row = row_of(connection, of.id)
    assert [row[name] for name in ("mean_snr_db", "gdop", "tx_latitude", "tx_longitude", "tx_power_dbm")] == [None] * 5
    assert (row["num_receivers_detected"], row["overall_confidence"], row["tx_known"]) == (0, 0.0, False)
    assert row["extraction_metadata"]["ground_truth"] is None


def test_a_session_may_have_twelve_receivers(engine: Engine) -> None:
    of = session(engine)
    many = result(of, [receiver(f"RX{index}") for index in range(12)])
    with transaction(engine) as connection:
        figures = replace(many.figures, num_receivers_detected=12)
        replace_features(connection, replace(many, figures=figures), attempt=1, only_failed=False)
        stored = stored_features(connection, of.id)
    assert stored is not None
    assert (stored.num_usable, stored.num_receivers, stored.row["num_receivers_detected"]) == (12, 12, 12)


def test_what_is_stored_says_whose_it_is_and_how_good(engine: Engine) -> None:
    ours, foreign, failed = (session(engine) for _ in range(3))
    gone = ReceiverFailure("not_found", "gone", transient=True)
    with transaction(engine) as connection:
        replace_features(
            connection, result(ours, [receiver("RX1"), receiver("RX2", gone)]), attempt=1, only_failed=False
        )
        add_features(connection, foreign.id, [{"rx_id": "RX1"}, {"rx_id": "RX2"}], failed=None)
        fail(connection, failed)
        found = [stored_features(connection, of.id) for of in (ours, foreign, failed)]
    assert [(s.failed, s.feature_version, s.num_usable, s.num_receivers) for s in found if s] == [
        (False, 3, 1, 2),
        (False, None, 2, 2),
        (True, 3, 0, 0),
    ]


@pytest.mark.parametrize("number", ["3", 3.5, True, None, [3]])
def test_a_version_that_is_no_integer_is_none(engine: Engine, number: object) -> None:
    of = session(engine)
    with transaction(engine) as connection:
        add_features(connection, of.id, metadata={"feature_version": number})
        stored = stored_features(connection, of.id)
    assert stored is not None
    assert stored.feature_version is None


def test_a_failure_has_no_receivers_no_confidence_and_its_reason(engine: Engine) -> None:
    of = session(engine, SOURCE)
    with transaction(engine) as connection:
        assert fail(connection, of)
        row = row_of(connection, of.id)
    assert row["receiver_features"] == []
    assert (row["extraction_failed"], row["overall_confidence"]) == (True, 0.0)
    assert row["error_message"] == "truncated: cut off"
    assert row["timestamp"] == FIRST_START
    assert row["extraction_metadata"] == {
        "extraction_method": "recorded",
        "feature_version": 3,
        "package_version": version("heimdall-assets"),
        "run_id": "run-2",
        "seconds": 1.2346,
        "iq_duration_ms": None,
        "sample_rate_hz": None,
        "num_chunks": None,
        "chunk_duration_ms": None,
        "frequency_hz": None,
        "receivers": {},
    }


def test_a_row_that_is_replaced_is_first_copied_whole_and_columns_of_others_keep_their_values(engine: Engine) -> None:
    of = session(engine)
    with transaction(engine) as connection:
        connection.execute(sa.text("ALTER TABLE heimdall.measurement_features ADD COLUMN dataset text DEFAULT 'none'"))
        add_features(connection, of.id, [{"rx_id": "old"}])
        connection.execute(sa.text("UPDATE heimdall.measurement_features SET dataset = 'training', gdop = 9"))
        before = connection.scalar(sa.text("SELECT to_jsonb(mf) FROM heimdall.measurement_features mf"))
        replace_features(connection, result(of), attempt=7, only_failed=False)
        replace_features(connection, result(of, feature_version=4), attempt=8, only_failed=False)
        row = row_of(connection, of.id)
        history = history_of(connection, of.id)
    assert row["dataset"] == "training"
    assert (row["gdop"], row["extraction_metadata"]["feature_version"]) == (1.5, 4)
    assert [attempt for attempt, _ in history] == [7, 8]
    assert history[0][1] == before
    assert history[1][1]["extraction_metadata"]["feature_version"] == 3
    assert history[1][1]["dataset"] == "training"


def test_a_success_after_a_failure_clears_what_the_failure_said(engine: Engine) -> None:
    of = session(engine)
    with transaction(engine) as connection:
        fail(connection, of, attempt=1)
        fail(connection, of, attempt=2)
        replace_features(connection, result(of), attempt=3, only_failed=False)
        row = row_of(connection, of.id)
        history = history_of(connection, of.id)
    assert (row["extraction_failed"], row["error_message"], row["overall_confidence"]) == (False, None, 0.75)
    assert [(attempt, old["extraction_failed"]) for attempt, old in history] == [(2, True), (3, True)]


def test_the_time_of_a_row_is_that_of_its_last_replacement(engine: Engine) -> None:
    of = session(engine)
    times = []
    for attempt in (1, 2):
        with transaction(engine) as connection:
            replace_features(connection, result(of), attempt=attempt, only_failed=False)
            times.append(row_of(connection, of.id)["created_at"])
    assert times[0] < times[1]


def test_a_result_that_may_replace_a_failure_only_leaves_features_as_they_are(engine: Engine) -> None:
    of = session(engine)
    with transaction(engine) as connection:
        fail(connection, of, attempt=1)
        assert replace_features(connection, result(of), attempt=2, only_failed=True)
        before = row_of(connection, of.id)
        assert not replace_features(connection, result(of, feature_version=4), attempt=3, only_failed=True)
        assert row_of(connection, of.id) == before
        assert [attempt for attempt, _ in history_of(connection, of.id)] == [2]


def test_a_failure_never_replaces_features(engine: Engine) -> None:
    of = session(engine)
    with transaction(engine) as connection:
        add_features(connection, of.id)
        assert not fail(connection, of)
        assert not row_of(connection, of.id)["extraction_failed"]
        assert history_of(connection, of.id) == []


@pytest.mark.parametrize("ours", ["result", "failure"])
def test_a_row_that_other_code_inserts_in_the_same_moment_is_not_lost(
    engine: Engine, factory: SessionFactory, ours: str
) -> None:
    of = session(engine)

    def store() -> bool:
        with transaction(engine) as connection:
            if ours == "failure":
                return fail(connection, of)
            replace_features(connection, result(of), attempt=1, only_failed=False)
            return True

    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as other:
            add_features(other, of.id, [{"rx_id": "theirs"}])
            storing = pool.submit(store)
            while not factory.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not storing.done()  # it waits for the other's row, which nobody else can see yet
        assert storing.result(timeout=10) is (ours == "result")
    with transaction(engine) as connection:
        names = [r["rx_id"] for r in row_of(connection, of.id)["receiver_features"]]
        replaced = [old["receiver_features"][0]["rx_id"] for _, old in history_of(connection, of.id)]
    assert (names, replaced) == ((["RX1"], ["theirs"]) if ours == "result" else (["theirs"], []))


def test_a_row_that_is_about_to_be_replaced_is_locked_against_other_writers(engine: Engine) -> None:
    of = session(engine)

    def overwrite() -> None:
        with transaction(engine) as other:
            other.execute(sa.text("SET LOCAL lock_timeout = '20ms'"))
            other.execute(sa.text("UPDATE heimdall.measurement_features SET gdop = 0"))

    with transaction(engine) as connection:
        add_features(connection, of.id)
    with transaction(engine) as connection:
        stored_features(connection, of.id)
        overwrite()
        stored_features(connection, of.id, for_update=True)
        with pytest.raises(DatabaseError, match="another run holds the lock"):
            overwrite()


def test_a_session_that_was_deleted_meanwhile_refuses_its_result(engine: Engine) -> None:
    of = session(engine)
    with transaction(engine) as connection:
        connection.execute(sa.delete(tables.recording_sessions))

    def store() -> None:
        with transaction(engine) as connection:
            replace_features(connection, result(of), attempt=1, only_failed=False)

    with pytest.raises(DatabaseError, match="violates foreign key constraint"):
        store()


@pytest.mark.parametrize(("check", "expected"), [("true", 1), ("{} BETWEEN 2 AND 15", None), ("{} > 0", 1)])
def test_newer_databases_are_told_how_many_receivers_a_row_has_as_far_as_they_allow(
    engine: Engine, check: str, expected: int | None
) -> None:
    name = "num_receivers_in_sample"
    with transaction(engine) as connection:
        connection.execute(sa.text(f"ALTER TABLE heimdall.measurement_features ADD {name} int"))
        connection.execute(
            sa.text(f"ALTER TABLE heimdall.measurement_features ADD CHECK ({name} IS NULL OR {check.format(name)})")
        )
        of = session(engine, SOURCE)
        failure = ReceiverFailure("truncated", "cut off", transient=False)
        for attempt in (1, 2):
            receivers = [receiver("RX1"), receiver("RX2", failure)]
            assert replace_features(connection, result(of, receivers), attempt=attempt, only_failed=False)
            found = connection.scalar(sa.text(f"SELECT {name} FROM heimdall.measurement_features"))
            assert found == expected
