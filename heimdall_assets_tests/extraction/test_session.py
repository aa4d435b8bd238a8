"""One session at a time against real PostgreSQL: what is stored, what is kept, and what happens to two at once."""

from __future__ import annotations

import json
import math
import threading
import time
import tracemalloc
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db import attempts, discovery, tables
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.locks import session_lock
from heimdall_assets.dsp import FEATURES, analyze
from heimdall_assets.errors import DatabaseError, ExtractionFailed, SessionBusy, UnknownSession
from heimdall_assets.extraction import Outcome, compute_session, extract_session, retry_rule
from heimdall_assets.ingest import ingest
from heimdall_assets.records import FEATURE_VERSION, Measurement, Session, Station
from heimdall_assets_tests.factory import FIRST_START, GOOD, MISSING, NUM_SAMPLES, PLACES, SAMPLE_RATE_HZ, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

REAL = Path(__file__).parents[3] / "shared" / "real_iq" / "dcf77_20171127"

AGGREGATES = {"mean", "std", "min", "max"}
RECEIVER_METADATA = {
    "measurement_id",
    "measurement_ids",
    "iq_data_location",
    "format",
    "sample_rate_hz",
    "center_frequency_hz",
    "start_time",
    "num_samples",
    "num_chunks",
    "chunk_duration_ms",
    "size",
    "etag",
    "calibration_db",
    "passband_hz",
    "remove_dc",
    "station_id",
    "response",
}


def row_of(factory: SessionFactory, session_id: uuid.UUID) -> dict[str, Any]:
    """The session's row of measurement_features."""
    with transaction(factory.engine) as connection:
        query = sa.text("SELECT * FROM heimdall.measurement_features WHERE recording_session_id = :id")
        return dict(connection.execute(query, {"id": session_id}).mappings().one())


def state_row(factory: SessionFactory, session_id: uuid.UUID) -> dict[str, Any]:
    """The session's row of feature_states."""
    with transaction(factory.engine) as connection:
        query = sa.text("SELECT * FROM heimdall.feature_states WHERE recording_session_id = :id")
        return dict(connection.execute(query, {"id": session_id}).mappings().one())


def attempts_of(factory: SessionFactory, session_id: uuid.UUID) -> list[tuple[Any, ...]]:
    """(number, outcome, reason, has ended) of every attempt."""
    return factory.rows(
        "SELECT number, outcome, reason, finished_at IS NOT NULL FROM heimdall.feature_attempts "
        "WHERE recording_session_id = :id ORDER BY number",
        id=session_id,
    )


def history(factory: SessionFactory, session_id: uuid.UUID) -> list[tuple[Any, ...]]:
    """(replacing attempt, row) of everything that was replaced."""
    return factory.rows(
        "SELECT replaced_by_attempt, feature_row FROM heimdall.measurement_features_history "
        "WHERE recording_session_id = :id ORDER BY id",
        id=session_id,
    )


def measurement_ids(factory: SessionFactory, session_id: uuid.UUID) -> dict[str, uuid.UUID]:
    """Station name -> its measurement."""
    rows = factory.rows(
        "SELECT st.name, m.id FROM heimdall.measurements m JOIN heimdall.websdr_stations st "
        "ON st.id = m.websdr_station_id WHERE m.recording_session_id = :id",
        id=session_id,
    )
    return dict(rows)


def add_measurement(factory: SessionFactory, session_id: uuid.UUID, station: str, location: str, later_s: int) -> None:
    """One more measurement of a station in a session."""
    factory.rows(
        'INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, recording_session_id, frequency_hz, '
        "iq_data_location, iq_data_format, iq_sample_rate) "
        "SELECT :at, id, :session, 145500000, :location, 'npy', :rate FROM heimdall.websdr_stations "
        "WHERE name = :station RETURNING 1",
        at=FIRST_START + timedelta(seconds=later_s),
        session=session_id,
        location=location,
        rate=SAMPLE_RATE_HZ,
        station=station,
    )


def point_at(factory: SessionFactory, session_id: uuid.UUID, station: str, location: str) -> None:
    """Give one receiver's measurement another location."""
    factory.rows(
        "UPDATE heimdall.measurements m SET iq_data_location = :location FROM heimdall.websdr_stations st "
        "WHERE st.id = m.websdr_station_id AND st.name = :station AND m.recording_session_id = :id RETURNING 1",
        id=session_id,
        station=station,
        location=location,
    )


def add_foreign_row(factory: SessionFactory, session_id: uuid.UUID, **values: Any) -> None:
    """A row as other code writes it."""
    row = {
        "recording_session_id": session_id,
        "timestamp": FIRST_START,
        "receiver_features": [{"rx_id": "RX1", "rx_lat": 45.0, "rx_lon": 7.0, "snr_db": {"mean": 8.3}}],
        "extraction_metadata": {"extraction_method": "recorded"},
        "overall_confidence": 0.5,
        **values,
    }
    with transaction(factory.engine) as connection:
        connection.execute(insert(tables.measurement_features).values(row))


# --- what is stored


def test_a_good_session_is_stored_column_by_column_as_documented(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    source_id = factory.scalar(
        "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude, power_dbm, source_type) "
        "VALUES ('beacon', 145500000, 45.1, 7.6, 40, 'beacon') RETURNING id"
    )
    session_id = factory.add(known_source_id=source_id)
    before = datetime.now(UTC)
    outcome = extract_session(engine, session_id, settings, run_id="run-1")

    row = row_of(factory, session_id)
    assert row["timestamp"] == FIRST_START
    assert (row["tx_latitude"], row["tx_longitude"], row["tx_power_dbm"], row["tx_known"]) == (45.1, 7.6, 40.0, True)
    assert row["tx_altitude_m"] is None
    assert row["extraction_failed"] is False
    assert row["error_message"] is None
    assert before - timedelta(seconds=5) < row["created_at"] < before + timedelta(seconds=60)
    assert row["num_receivers_detected"] == 3
    assert row["mean_snr_db"] == pytest.approx(16.99, abs=0.5)  # 1e-12 W over 2e-14 W
    assert 0.5 < row["overall_confidence"] <= 1.0
    assert row["gdop"] > 0

    names = [feature.name for feature in FEATURES]
    assert len(names) == 18
    assert [receiver["rx_id"] for receiver in row["receiver_features"]] == ["RX1", "RX2", "RX3"]
    for receiver, (latitude, longitude) in zip(row["receiver_features"], PLACES[:3], strict=True):
        assert set(receiver) == {"rx_id", "rx_lat", "rx_lon", "notes", *names}
        assert (receiver["rx_lat"], receiver["rx_lon"]) == (latitude, longitude)
        assert isinstance(receiver["notes"], dict)
        for name in names:
            assert set(receiver[name]) == AGGREGATES
            assert all(value is None or math.isfinite(value) for value in receiver[name].values())
        assert receiver["rssi_dbm"]["mean"] == pytest.approx(-89.9, abs=0.1)
        assert receiver["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)
        assert receiver["signal_present"] == {"mean": 1.0, "std": 0.0, "min": 1.0, "max": 1.0}
        assert receiver["multipath_delay_spread_us"] == dict.fromkeys(AGGREGATES)
        assert receiver["delay_spread_confidence"]["max"] == 0.0

    metadata = row["extraction_metadata"]
    assert set(metadata) == {
        "extraction_method",
        "feature_version",
        "package_version",
        "run_id",
        "seconds",
        "iq_duration_ms",
        "sample_rate_hz",
        "num_chunks",
        "chunk_duration_ms",
        "frequency_hz",
        "ground_truth",
        "receivers",
    }
    assert metadata["extraction_method"] == "recorded"
    assert metadata["feature_version"] == FEATURE_VERSION
    assert metadata["package_version"] == version("heimdall-assets")
    assert metadata["run_id"] == "run-1"
    assert metadata["seconds"] > 0
    assert metadata["ground_truth"] == "session"
    common = ("iq_duration_ms", "sample_rate_hz", "num_chunks", "chunk_duration_ms", "frequency_hz")
    assert [metadata[name] for name in common] == [1000.0, SAMPLE_RATE_HZ, 5, 200.0, 145_500_000]
    file = factory.root / GOOD
    for name, measurement_id in measurement_ids(factory, session_id).items():
        assert metadata["receivers"][name] == {
            "measurement_id": str(measurement_id),
            "measurement_ids": [str(measurement_id)],
            "iq_data_location": GOOD,
            "format": "npy",
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "center_frequency_hz": 145_500_000,
            "start_time": None,
            "num_samples": NUM_SAMPLES,
            "num_chunks": 5,
            "chunk_duration_ms": 200.0,
            "size": file.stat().st_size,
            "etag": f"{file.stat().st_mtime_ns}-{file.stat().st_size}",
            "calibration_db": 30.0,
            "passband_hz": None,
            "remove_dc": False,
            "station_id": str(factory.scalar("SELECT id FROM heimdall.websdr_stations WHERE name = :n", n=name)),
            "response": None,
        }
        assert set(metadata["receivers"][name]) == RECEIVER_METADATA

    state = state_row(factory, session_id)
    assert state["state"] == "done"
    assert (state["measurements_total"], state["measurements_with_features"]) == (3, 3)
    assert (state["attempts"], state["feature_version"], state["run_id"]) == (0, FEATURE_VERSION, "run-1")
    assert (state["reason"], state["running_since"], state["reserved_by"]) == (None, None, None)
    assert attempts_of(factory, session_id) == [(1, "done", None, True)]
    assert history(factory, session_id) == []
    assert outcome == Outcome(session_id, True, True, outcome.summary)
    assert outcome.summary["receivers"] == "3 of 3"
    assert outcome.summary["gdop"] == row["gdop"]
    assert outcome.summary["feature_version"] == FEATURE_VERSION


def test_a_session_without_a_known_source_takes_the_only_one_near_its_frequency(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.rows(
        "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude) "
        "VALUES ('near', 145500400, 45.2, 7.7) RETURNING 1"
    )
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    assert (row["tx_known"], row["tx_latitude"], row["tx_longitude"]) == (True, 45.2, 7.7)
    assert row["extraction_metadata"]["ground_truth"] == "frequency"


def test_a_session_of_no_known_source_has_no_place_but_a_gdop_about_its_receivers(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    assert (row["tx_known"], row["tx_latitude"], row["tx_longitude"], row["tx_power_dbm"]) == (False, None, None, None)
    assert row["extraction_metadata"]["ground_truth"] is None
    assert row["gdop"] > 0


def test_one_truncated_receiver_makes_the_session_partial_and_leaves_its_error_in_its_object(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((GOOD, TRUNCATED, GOOD))
    outcome = extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    broken = row["receiver_features"][1]
    assert set(broken) == {"rx_id", "rx_lat", "rx_lon", "error", "signal_present"}
    assert broken["signal_present"] is False
    assert broken["rx_id"] == "RX2"
    assert broken["error"]["reason"] == "truncated"
    assert "truncated.npy has" in broken["error"]["message"]
    assert row["extraction_failed"] is False
    assert row["num_receivers_detected"] == 2
    assert row["gdop"] is None  # of two receivers
    assert row["extraction_metadata"]["receivers"]["RX2"]["iq_data_location"] == TRUNCATED
    state = state_row(factory, session_id)
    assert (state["state"], state["measurements_total"], state["measurements_with_features"]) == ("partial", 3, 2)
    assert state["reason"] == "truncated"
    assert state["message"].startswith("RX2: truncated.npy has")
    assert attempts_of(factory, session_id) == [(1, "partial", None, True)]
    assert (outcome.has_features, outcome.computed, outcome.reason) == (True, True, None)
    assert outcome.summary["receivers"] == "2 of 3"
    assert outcome.summary["reasons"] == "truncated"


def test_a_session_whose_receivers_are_all_broken_for_good_is_quarantined_with_a_failed_row(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((TRUNCATED,) * 3)
    outcome = extract_session(engine, session_id, settings, run_id="run-2")
    row = row_of(factory, session_id)
    assert row["extraction_failed"] is True
    assert row["receiver_features"] == []
    assert row["overall_confidence"] == 0.0
    assert row["error_message"].startswith("truncated: all 3 receivers failed: truncated (3)")
    assert (row["mean_snr_db"], row["num_receivers_detected"], row["gdop"]) == (None, None, None)
    assert row["extraction_metadata"]["run_id"] == "run-2"
    state = state_row(factory, session_id)
    assert (state["state"], state["reason"], state["next_attempt_at"]) == ("quarantined", "truncated", None)
    assert (state["attempts"], state["measurements_with_features"]) == (1, 0)
    assert attempts_of(factory, session_id) == [(1, "failed", "truncated", True)]
    assert (outcome.has_features, outcome.computed, outcome.reason) == (False, False, "truncated")
    assert outcome.message is not None
    assert outcome.message.startswith("all 3 receivers failed")


def test_missing_files_are_tried_again_after_a_growing_wait_until_the_session_is_given_up(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    patient = settings.model_copy(
        update={"retry_base_seconds": 100.0, "retry_max_seconds": 10_000.0, "max_attempts": 3}
    )
    session_id = factory.add((MISSING,) * 2)
    for number in range(1, 3):
        outcome = extract_session(engine, session_id, patient)
        assert outcome.reason == "not_found"
        state = state_row(factory, session_id)
        assert (state["state"], state["attempts"]) == ("failed", number)
        wait_s = (state["next_attempt_at"] - state["updated_at"]).total_seconds()
        assert 0.7 * 100 * 2 ** (number - 1) < wait_s < 1.3 * 100 * 2 ** (number - 1)
    extract_session(engine, session_id, patient)
    state = state_row(factory, session_id)
    assert (state["state"], state["attempts"], state["next_attempt_at"]) == ("quarantined", 3, None)
    assert [row[1] for row in attempts_of(factory, session_id)] == ["failed"] * 3


def test_a_session_whose_files_came_late_is_done_at_the_next_attempt(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add(("late.npy",) * 2)
    assert extract_session(engine, session_id, settings).reason == "not_found"
    (factory.root / "late.npy").write_bytes((factory.root / GOOD).read_bytes())
    assert extract_session(engine, session_id, settings).has_features
    row = row_of(factory, session_id)
    assert (row["extraction_failed"], row["error_message"]) == (False, None)
    state = state_row(factory, session_id)
    assert (state["state"], state["attempts"], state["reason"]) == ("done", 0, None)


def test_a_failed_receiver_counts_once_however_many_measurements_it_left(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((MISSING, TRUNCATED))
    add_measurement(factory, session_id, "RX1", MISSING, later_s=5)
    outcome = extract_session(engine, session_id, settings)
    assert outcome.message is not None
    assert outcome.message.startswith("all 2 receivers failed")
    assert state_row(factory, session_id)["state"] == "failed"  # the missing ones may still come


def test_of_several_measurements_of_one_station_the_first_that_can_be_used_counts(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((MISSING, GOOD))
    (factory.root / "second.npy").write_bytes((factory.root / GOOD).read_bytes())
    add_measurement(factory, session_id, "RX1", "second.npy", later_s=5)
    add_measurement(factory, session_id, "RX1", MISSING, later_s=9)
    extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    assert [receiver["rx_id"] for receiver in row["receiver_features"]] == ["RX1", "RX2"]
    assert all("error" not in receiver for receiver in row["receiver_features"])
    assert row["extraction_metadata"]["receivers"]["RX1"]["iq_data_location"] == "second.npy"
    assert factory.state(session_id) == "done"


def test_a_defect_in_one_receiver_is_stored_with_its_traceback_and_takes_nothing_else_with_it(
    engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def broken_once(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("a defect")
        return analyze(*arguments, **keywords)

    monkeypatch.setattr("heimdall_assets.extraction.compute.analyze", broken_once)
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    error = row_of(factory, session_id)["receiver_features"][0]["error"]
    assert error == {"reason": "unexpected", "message": "ZeroDivisionError: a defect"}
    assert factory.state(session_id) == "partial"
    trace = factory.scalar(
        "SELECT traceback FROM heimdall.feature_attempts WHERE recording_session_id = :id", id=session_id
    )
    assert "broken_once" in trace


# --- what is not worked on


def test_a_session_without_iq_is_reported_and_gets_neither_attempt_nor_row(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((None, None))
    outcome = extract_session(engine, session_id, settings)
    assert (outcome.has_features, outcome.computed, outcome.reason) == (False, False, "no_iq")
    assert outcome.message == f"no measurement of session {session_id} has IQ data"
    assert factory.state(session_id) == "empty"
    assert attempts_of(factory, session_id) == []


def test_a_waiting_session_that_lost_its_measurements_waits_no_longer(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    with transaction(engine) as connection:
        discovery.discover(connection)
    factory.rows("DELETE FROM heimdall.measurements WHERE recording_session_id = :id RETURNING 1", id=session_id)
    assert extract_session(engine, session_id, settings).reason == "no_iq"
    state = state_row(factory, session_id)
    assert (state["state"], state["measurements_total"]) == ("empty", 0)


@pytest.mark.parametrize("recompute", [False, True])
def test_features_stay_and_are_reported_where_the_measurements_are_gone(
    engine: Engine, factory: SessionFactory, settings: Settings, *, recompute: bool
) -> None:
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    factory.rows("DELETE FROM heimdall.measurements WHERE recording_session_id = :id RETURNING 1", id=session_id)
    outcome = extract_session(engine, session_id, settings, recompute=recompute)
    assert (outcome.has_features, outcome.computed) == (True, False)
    assert row_of(factory, session_id) == row
    assert factory.state(session_id) == "done"


@pytest.mark.parametrize("status", ["pending", "recording", "source_assigned", "in_progress", "failed"])
def test_a_session_that_is_not_completed_is_left_alone(
    engine: Engine, factory: SessionFactory, settings: Settings, status: str
) -> None:
    session_id = factory.add(status=status)
    outcome = extract_session(engine, session_id, settings)
    assert (outcome.has_features, outcome.reason) == (False, "not_completed")
    assert outcome.message == f"session {session_id} is {status}, not completed"
    assert attempts_of(factory, session_id) == []


def test_an_unknown_session_raises(engine: Engine, settings: Settings) -> None:
    nobody = uuid.uuid4()
    with pytest.raises(UnknownSession, match=f"there is no recording session {nobody}"):
        extract_session(engine, nobody, settings)


def test_an_ignored_session_is_not_computed_and_its_message_says_how_to_bring_it_back(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    with transaction(engine) as connection:
        discovery.discover(connection)
    factory.rows("UPDATE heimdall.feature_states SET state = 'ignored' RETURNING 1")
    outcome = extract_session(engine, session_id, settings, recompute=True)
    assert (outcome.has_features, outcome.reason) == (False, "ignored")
    assert outcome.message is not None
    assert f"`heimdall ignore --undo {session_id}`" in outcome.message
    assert factory.state(session_id) == "ignored"
    assert attempts_of(factory, session_id) == []


# --- again, better, worse


def test_a_second_call_computes_nothing_and_reports_the_same(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    first = extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    second = extract_session(engine, session_id, settings)
    assert second == Outcome(session_id, True, False, first.summary)
    assert row_of(factory, session_id) == row
    assert len(attempts_of(factory, session_id)) == 1


def test_a_recompute_stores_again_and_copies_what_was_there_to_the_history(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    extract_session(engine, session_id, settings, run_id="first")
    query = "SELECT to_jsonb(mf) FROM heimdall.measurement_features mf WHERE recording_session_id = :id"
    before = factory.scalar(query, id=session_id)
    outcome = extract_session(engine, session_id, settings, run_id="second", recompute=True)
    assert outcome.computed
    assert row_of(factory, session_id)["extraction_metadata"]["run_id"] == "second"
    assert history(factory, session_id) == [(2, before)]
    assert attempts_of(factory, session_id) == [(1, "done", None, True), (2, "done", None, True)]


def test_a_recompute_whose_files_are_gone_keeps_the_row_and_the_state(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    row, state = row_of(factory, session_id), state_row(factory, session_id)
    factory.replace_file(session_id, MISSING)
    outcome = extract_session(engine, session_id, settings, recompute=True)
    assert row_of(factory, session_id) == row
    after = state_row(factory, session_id)
    changing = {"updated_at", "run_id"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in state.items() if k not in changing
    }
    assert attempts_of(factory, session_id)[1:] == [(2, "failed", "not_found", True)]
    assert history(factory, session_id) == []
    assert (outcome.has_features, outcome.computed) == (True, False)
    assert "all 3 receivers failed" in outcome.summary["recompute_failed"]


def test_a_recompute_of_a_partial_session_that_fails_leaves_it_partial(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((GOOD, TRUNCATED))
    extract_session(engine, session_id, settings)
    factory.replace_file(session_id, MISSING)
    extract_session(engine, session_id, settings, recompute=True)
    assert factory.state(session_id) == "partial"


def test_a_poorer_recompute_is_kept_out_and_a_better_one_replaces(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((GOOD, GOOD, TRUNCATED))
    extract_session(engine, session_id, settings)
    row = row_of(factory, session_id)
    point_at(factory, session_id, "RX2", MISSING)
    poorer = extract_session(engine, session_id, settings, recompute=True)
    assert (poorer.has_features, poorer.computed) == (True, False)
    assert row_of(factory, session_id) == row
    assert history(factory, session_id) == []
    assert factory.state(session_id) == "partial"

    point_at(factory, session_id, "RX2", GOOD)
    point_at(factory, session_id, "RX3", GOOD)
    better = extract_session(engine, session_id, settings, recompute=True)
    assert (better.has_features, better.computed) == (True, True)
    assert better.summary["receivers"] == "3 of 3"
    assert [row[1] for row in attempts_of(factory, session_id)] == ["partial", "kept", "done"]
    assert [number for number, _ in history(factory, session_id)] == [3]
    state = state_row(factory, session_id)
    assert (state["state"], state["measurements_with_features"], state["reason"]) == ("done", 3, None)


def test_a_row_of_other_code_is_left_alone_unless_somebody_asks(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    add_foreign_row(factory, session_id)
    row = row_of(factory, session_id)
    outcome = extract_session(engine, session_id, settings)
    assert (outcome.has_features, outcome.computed, outcome.summary["feature_version"]) == (True, False, None)
    assert row_of(factory, session_id) == row
    assert attempts_of(factory, session_id) == []
    state = state_row(factory, session_id)
    assert (state["state"], state["measurements_total"], state["measurements_with_features"]) == ("done", 3, 1)


@pytest.mark.parametrize("asked", [{"stale": True}, {"recompute": True}], ids=["stale", "recompute"])
def test_a_row_of_other_code_is_replaced_where_asked_for_and_kept_in_the_history(
    engine: Engine, factory: SessionFactory, settings: Settings, asked: dict[str, Any]
) -> None:
    session_id = factory.add()
    add_foreign_row(factory, session_id)
    outcome = extract_session(engine, session_id, settings, **asked)
    assert outcome.computed
    assert row_of(factory, session_id)["extraction_metadata"]["feature_version"] == FEATURE_VERSION
    ((attempt, replaced),) = history(factory, session_id)
    assert attempt == 1
    assert replaced["receiver_features"][0]["snr_db"] == {"mean": 8.3}
    assert state_row(factory, session_id)["feature_version"] == FEATURE_VERSION
    assert not extract_session(engine, session_id, settings, stale=True).computed  # it is not stale any more


def test_a_row_of_an_older_version_is_stale(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    factory.rows(
        "UPDATE heimdall.measurement_features "
        "SET extraction_metadata = jsonb_set(extraction_metadata, '{feature_version}', '0') RETURNING 1"
    )
    assert not extract_session(engine, session_id, settings).computed
    assert extract_session(engine, session_id, settings, stale=True).computed
    assert row_of(factory, session_id)["extraction_metadata"]["feature_version"] == FEATURE_VERSION


def test_a_row_of_other_code_stays_done_where_the_files_are_gone(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((MISSING,))
    add_foreign_row(factory, session_id)
    outcome = extract_session(engine, session_id, settings, stale=True)
    assert (outcome.has_features, outcome.computed) == (True, False)
    assert row_of(factory, session_id)["receiver_features"][0]["snr_db"] == {"mean": 8.3}
    state = state_row(factory, session_id)
    assert (state["state"], state["feature_version"]) == ("done", None)


def test_a_failed_row_of_other_code_gets_a_fresh_attempt(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    add_foreign_row(
        factory,
        session_id,
        receiver_features=[],
        overall_confidence=0.0,
        extraction_failed=True,
        error_message="timeout",
    )
    assert extract_session(engine, session_id, settings).computed
    row = row_of(factory, session_id)
    assert (row["extraction_failed"], row["error_message"]) == (False, None)
    assert history(factory, session_id)[0][1]["error_message"] == "timeout"


def test_columns_that_other_services_added_keep_their_values(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("ALTER TABLE heimdall.measurement_features ADD COLUMN reviewed_by text"))
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    factory.rows("UPDATE heimdall.measurement_features SET reviewed_by = 'somebody' RETURNING 1")
    extract_session(engine, session_id, settings, recompute=True)
    assert row_of(factory, session_id)["reviewed_by"] == "somebody"


@pytest.mark.parametrize("location", [GOOD, TRUNCATED], ids=["computed", "failed"])
@pytest.mark.parametrize("had_failed", [False, True], ids=["no row before", "a failed row before"])
def test_features_that_other_code_stores_while_we_compute_stay_and_are_counted(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    location: str,
    had_failed: bool,
) -> None:
    session_id = factory.add((location,) * 2)
    if had_failed:
        add_foreign_row(factory, session_id, receiver_features=[], extraction_failed=True, overall_confidence=0.0)

    def write() -> None:
        factory.rows("DELETE FROM heimdall.measurement_features RETURNING 1")  # as an upsert over it
        add_foreign_row(factory, session_id)

    interrupted(monkeypatch, write)
    outcome = extract_session(engine, session_id, settings)
    assert (outcome.has_features, outcome.computed) == (True, False)
    assert row_of(factory, session_id)["extraction_metadata"] == {"extraction_method": "recorded"}
    assert history(factory, session_id) == []
    ended = "kept" if location == GOOD else "failed"
    assert [(number, how) for number, how, *_ in attempts_of(factory, session_id)] == [(1, ended)]
    state = state_row(factory, session_id)
    assert (state["state"], state["feature_version"], state["running_since"]) == ("done", None, None)
    assert (state["measurements_total"], state["measurements_with_features"]) == (2, 1)
    assert (state["reason"], state["attempts"]) == (None, 0)


def test_features_that_other_code_stores_while_we_recompute_are_replaced_since_somebody_asked(
    engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = factory.add()
    interrupted(monkeypatch, lambda: add_foreign_row(factory, session_id))
    assert extract_session(engine, session_id, settings, stale=True).computed
    assert row_of(factory, session_id)["extraction_metadata"]["feature_version"] == FEATURE_VERSION
    assert [row["overall_confidence"] for _, row in history(factory, session_id)] == [0.5]


# --- two at once, and connections that die


def waiting_for_locks(engine: Engine) -> int:
    """Backends of this database that wait for an advisory lock."""
    with transaction(engine) as connection:
        query = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        return int(connection.scalar(sa.text(query)) or 0)


def test_two_workers_on_one_session_at_once_make_one_attempt_and_report_the_same(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    with ThreadPoolExecutor(2) as pool:
        # Both are made to wait for the lock, so that both are surely at work when it becomes free.
        with session_lock(engine, session_id, timeout_seconds=5):
            work = [pool.submit(extract_session, engine, session_id, settings, run_id=f"run-{i}") for i in range(2)]
            deadline = time.monotonic() + 20
            while waiting_for_locks(engine) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        first, second = (future.result() for future in work)
    assert first.has_features
    assert second.has_features
    assert {first.computed, second.computed} == {True, False}
    assert first.summary == second.summary
    assert attempts_of(factory, session_id) == [(1, "done", None, True)]
    assert history(factory, session_id) == []


def test_a_session_that_is_worked_on_elsewhere_for_too_long_is_busy(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    impatient = settings.model_copy(update={"lock_timeout_seconds": 0.05})
    with (
        session_lock(engine, session_id, timeout_seconds=5),
        pytest.raises(SessionBusy, match=f"session {session_id} is being worked on elsewhere, for more than 0.05 s"),
    ):
        extract_session(engine, session_id, impatient)
    assert attempts_of(factory, session_id) == []


def kill_lock_holders(settings: Settings) -> None:
    """End every connection of the test's database that holds an advisory lock."""
    assert settings.database_url is not None
    other = open_engine(sa.make_url(settings.database_url))
    with transaction(other) as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    other.dispose()


def interrupted(monkeypatch: pytest.MonkeyPatch, event: Callable[[], None]) -> None:
    """Let something happen, once, while a session is being computed."""
    pending = [event]

    def interrupting(*arguments: Any, **keywords: Any) -> Any:
        if pending:
            pending.pop()()
        return compute_session(*arguments, **keywords)

    monkeypatch.setattr("heimdall_assets.extraction.session.compute_session", interrupting)


def test_a_connection_lost_during_the_computation_stores_nothing_and_the_planner_finds_the_session(
    engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = factory.add()
    interrupted(monkeypatch, lambda: kill_lock_holders(settings))
    with pytest.raises(DatabaseError, match="PostgreSQL is not available: terminating connection"):
        extract_session(engine, session_id, settings)
    assert factory.scalar("SELECT count(*) FROM heimdall.measurement_features") == 0
    assert factory.state(session_id) == "running"
    assert attempts_of(factory, session_id) == [(1, None, None, False)]

    with transaction(engine) as connection:
        assert attempts.recover_lost(connection, retry_rule(settings)) == [session_id]
    assert factory.state(session_id) == "pending"
    assert attempts_of(factory, session_id) == [(1, "lost", "worker_lost", True)]
    assert extract_session(engine, session_id, settings).computed
    assert factory.scalar("SELECT count(*) FROM heimdall.measurement_features") == 1
    assert [row[1] for row in attempts_of(factory, session_id)] == ["lost", "done"]


def test_a_worker_that_lost_its_lock_does_not_store_beside_the_one_that_has_it_now(
    engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = factory.add()

    def usurp() -> None:
        kill_lock_holders(settings)
        worker = threading.Thread(target=extract_session, args=(engine, session_id, settings), kwargs={"run_id": "new"})
        worker.start()
        worker.join()

    interrupted(monkeypatch, usurp)
    with pytest.raises(DatabaseError, match="terminating connection"):
        extract_session(engine, session_id, settings, run_id="old")
    assert row_of(factory, session_id)["extraction_metadata"]["run_id"] == "new"
    assert history(factory, session_id) == []
    assert factory.state(session_id) == "done"
    assert attempts_of(factory, session_id) == [(1, "lost", "worker_lost", True), (2, "done", None, True)]


# --- locations and files


@pytest.mark.parametrize(
    "location",
    [
        "../outside.npy",
        "sub/../../outside.npy",
        "{outside}",
        "link.npy",
        "file://{outside}",
        "s3://bucket/a.npy",
        "/etc/passwd",
    ],
)
def test_a_location_outside_the_root_is_refused_whatever_is_there(
    engine: Engine, factory: SessionFactory, settings: Settings, location: str
) -> None:
    factory.write_files()
    outside = factory.root.parent / "outside.npy"
    outside.write_bytes((factory.root / GOOD).read_bytes())
    (factory.root / "link.npy").symlink_to(outside)
    session_id = factory.add((location.format(outside=outside),))
    outcome = extract_session(engine, session_id, settings)
    assert outcome.reason == "location_refused"
    assert "refused" in (outcome.message or "")
    assert factory.state(session_id) == "quarantined"


def test_an_absolute_location_inside_an_extra_root_is_read(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.write_files()
    extra = factory.root.parent / "archive"
    extra.mkdir()
    (extra / "rx.npy").write_bytes((factory.root / GOOD).read_bytes())
    session_id = factory.add((str(extra / "rx.npy"),))
    assert extract_session(engine, session_id, settings).reason == "location_refused"
    allowed = settings.model_copy(update={"iq_extra_roots": (str(extra),)})
    assert extract_session(engine, session_id, allowed).has_features


def test_a_file_above_the_limit_is_refused_unread(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    session_id = factory.add((GOOD,))
    outcome = extract_session(engine, session_id, settings.model_copy(update={"max_object_bytes": 2048}))
    assert outcome.reason == "too_large"
    assert "at most 2,048 are allowed" in (outcome.message or "")


def write_npy(path: Path, samples: Any) -> None:
    np.save(path, np.asarray(samples, np.complex64))


NOISE = np.random.default_rng(5).standard_normal((2000, 2)) @ (1, 1j)


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("empty_recording", b""),
        ("empty_recording", np.empty(0)),
        ("too_short", NOISE[:1023]),
        ("all_zero", np.zeros(5000)),
        ("not_finite", np.where(np.arange(2000) == 77, np.nan, NOISE)),
        ("unknown_format", b"hello, world" * 100),
        ("malformed", b"\x93NUMPY\x09\x00" + b"x" * 100),
    ],
)
def test_a_file_that_cannot_be_measured_is_stored_with_its_reason(
    engine: Engine, factory: SessionFactory, settings: Settings, reason: str, content: Any
) -> None:
    session_id = factory.add(("odd.npy",))
    if isinstance(content, bytes):
        (factory.root / "odd.npy").write_bytes(content)
    else:
        write_npy(factory.root / "odd.npy", content)
    assert extract_session(engine, session_id, settings).reason == reason
    assert factory.state(session_id) == "quarantined"
    assert row_of(factory, session_id)["error_message"].startswith(f"{reason}: ")


def test_of_a_huge_file_only_the_chunks_are_read(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    session_id = factory.add(("huge.npy",))
    num_samples = 2**28  # 2 GiB of complex64, of which the disk holds the first 20,000 samples only
    with (factory.root / "huge.npy").open("wb") as handle:
        shape = {"descr": "<c8", "fortran_order": False, "shape": (num_samples,)}
        np.lib.format.write_array_header_1_0(handle, shape)
        begin = handle.tell()
        handle.write(np.tile(NOISE, 10).astype(np.complex64).tobytes())
        handle.truncate(begin + 8 * num_samples)
    tracemalloc.start()
    try:
        outcome = extract_session(engine, session_id, settings)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.has_features
    assert peak_bytes < 20e6
    metadata = row_of(factory, session_id)["extraction_metadata"]["receivers"]["RX1"]
    assert (metadata["num_samples"], metadata["num_chunks"]) == (num_samples, 5)


def test_a_measurement_without_rate_takes_the_default_and_a_short_recording_is_one_chunk(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add(("short.npy",))
    write_npy(factory.root / "short.npy", NOISE)
    factory.rows("UPDATE heimdall.measurements SET iq_sample_rate = NULL RETURNING 1")
    extract_session(engine, session_id, settings)
    metadata = row_of(factory, session_id)["extraction_metadata"]["receivers"]["RX1"]
    assert (metadata["sample_rate_hz"], metadata["num_chunks"]) == (200_000.0, 1)


def test_chunk_settings_reach_the_computation_and_the_metadata(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((GOOD,))
    extract_session(engine, session_id, settings.model_copy(update={"chunk_ms": 150.0, "num_chunks": 3}))
    row = row_of(factory, session_id)
    metadata = row["extraction_metadata"]["receivers"]["RX1"]
    assert (metadata["chunk_duration_ms"], metadata["num_chunks"]) == (150.0, 3)
    assert row["receiver_features"][0]["notes"]["chunk_length"] == 1500


def test_computing_alone_touches_no_database(settings: Settings) -> None:
    station = Station("RX", 45.0, 7.0)
    measurement = Measurement(uuid.uuid4(), FIRST_START, station, None, MISSING, None, None)
    session = Session(uuid.uuid4(), None, "completed", FIRST_START, (measurement,))
    nowhere = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with pytest.raises(ExtractionFailed, match="all 1 receivers failed: not_found"):
        compute_session(session, nowhere)


# --- real recordings


@pytest.mark.skipif(not REAL.is_dir(), reason="the recordings are not on this machine")
def test_the_real_dcf77_session_has_the_figures_that_were_measured_elsewhere(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    (registered,) = ingest([REAL], engine, settings)
    assert registered.session_id is not None
    assert registered.num_measurements == 3
    assert extract_session(engine, registered.session_id, settings).summary["receivers"] == "3 of 3"
    row = row_of(factory, registered.session_id)
    assert row["timestamp"] == datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    assert (row["tx_known"], row["tx_latitude"], row["tx_longitude"]) == (True, 50.0152, 9.0112)
    assert row["tx_power_dbm"] == 77.0
    assert row["num_receivers_detected"] == 3
    assert row["gdop"] == pytest.approx(2.28, rel=0.03)
    receivers = {receiver["rx_id"]: receiver for receiver in row["receiver_features"]}
    inputs = row["extraction_metadata"]["receivers"]
    # rates: slope of the GNSS stamps; levels: mean of the first five chunks of 2400 samples in dB, plus 30
    for name, rate_hz, level_dbfs in (
        ("DF0KL", 12001.145, -31.595),
        ("F1JEK", 12001.202, -13.727),
        ("HB9RYZ", 12001.132, -14.528),
    ):
        assert inputs[name]["sample_rate_hz"] == pytest.approx(rate_hz, abs=0.01)
        assert inputs[name]["format"] == "kiwi"
        assert inputs[name]["center_frequency_hz"] == 77_500
        assert inputs[name]["start_time"].startswith("2017-11-27T10:41:5")
        assert receivers[name]["rssi_dbm"]["mean"] - 30 == pytest.approx(level_dbfs, abs=0.02)
        assert (receivers[name]["snr_db"]["mean"] or 0) < 60  # not the quantisation noise beyond the passband
    assert json.dumps(row["receiver_features"], allow_nan=False)


def test_a_sample_rate_beyond_reason_is_an_error_and_reads_nothing(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    key = factory.add((GOOD,))
    factory.rows("UPDATE heimdall.measurements SET iq_sample_rate = 2000000000 RETURNING 1")
    outcome = extract_session(engine, key, settings)
    assert outcome.reason == "bad_parameter"
    assert "at most 50000000 are read" in (outcome.message or "")
