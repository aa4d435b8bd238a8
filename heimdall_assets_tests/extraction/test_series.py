"""Several recordings of one receiver: which are read, what is made of them, and what never changes a done session."""

from __future__ import annotations

import tempfile
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from heimdall_assets.db import ledger, receivers, reconciliation, sources, states, tables
from heimdall_assets.db.engine import transaction
from heimdall_assets.dsp import analyze
from heimdall_assets.extraction import check_inputs, compute_session, extract_session
from heimdall_assets.records import Measurement, Session, Station
from heimdall_assets.settings import Settings, load_settings
from heimdall_assets_tests.db.rows import loosen_stations
from heimdall_assets_tests.factory import FIRST_START, GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.records import SessionFeatures
    from heimdall_assets_tests.factory import SessionFactory

RATE_HZ = 10_000
CHUNK = 2000
NUM_CHUNKS = 5


def noise(length: int, seed: int) -> Any:
    """White noise with a tone."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(length, 2)) @ (1, 1j) + 3 * np.exp(0.2j * np.arange(length))
    return samples.astype(np.complex64)


def session_of(root: Path, files: list[Any], **columns: list[Any]) -> Session:
    """A session of one receiver with a measurement per file; an array is written, None is missing, bytes are broken."""
    measurements = []
    for index, content in enumerate(files):
        name = f"{index}.npy"
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        elif content is not None:
            np.save(root / name, content)
        values: dict[str, Any] = {"frequency_hz": 7_000_000, "iq_sample_rate_hz": RATE_HZ}
        values |= {key: given[index] for key, given in columns.items()}
        measurements.append(
            Measurement(
                uuid.UUID(int=index + 1),
                FIRST_START + timedelta(seconds=index),
                Station("RX", 45.0, 8.0),
                iq_data_location=name,
                iq_data_format="npy",
                **values,
            )
        )
    return Session(uuid.uuid4(), None, "completed", FIRST_START, tuple(measurements))


def compute(root: Path, files: list[Any], **columns: list[Any]) -> SessionFeatures:
    """The session's features, five chunks of 200 ms."""
    settings = load_settings(iq_root=str(root), home=root / "home", num_chunks=NUM_CHUNKS)
    return compute_session(session_of(root, files, **columns), settings)


def used(result: SessionFeatures) -> list[int]:
    """Indices of the files that were used."""
    return [key.int - 1 for key in result.receivers[0].identity.measurement_ids]


@hypothesis_settings(max_examples=40)
@given(st.lists(st.integers(0, 6 * CHUNK).filter(lambda n: n >= 1100 or n == 0), min_size=1, max_size=6))
def test_chunks_come_from_as_few_recordings_as_the_rule_says_and_straddle_none(lengths: list[int]) -> None:
    """A length of nothing stands for an object that is missing."""
    expected, recorded = [], 0
    for index, length in enumerate(lengths):
        if length >= CHUNK and recorded <= (NUM_CHUNKS - 1) * CHUNK:
            expected.append(index)
            recorded += length
    if not expected:
        expected = [index for index, length in enumerate(lengths) if length][:1]
    if not expected:
        return
    files: list[Any] = [noise(length, index) if length else None for index, length in enumerate(lengths)]
    with tempfile.TemporaryDirectory() as folder:
        result = compute(Path(folder), files)
    assert used(result) == expected
    pieces = [files[index][: max(len(files[index]) // CHUNK * CHUNK, 1100)] for index in expected]
    whole = files[expected[0]] if lengths[expected[0]] < CHUNK else np.concatenate(pieces)[: NUM_CHUNKS * CHUNK]
    figures = analyze(whole, RATE_HZ)
    assert result.receivers[0].features == figures.features
    identity = result.receivers[0].identity
    assert identity.measurement_id == uuid.UUID(int=expected[0] + 1)
    assert identity.num_chunks == figures.notes["num_chunks"]
    assert identity.num_samples == sum(lengths[index] for index in expected)
    remarks = "\n".join(result.receivers[0].notes["remarks"])
    for index in range(expected[0]):
        assert f"Measurement {uuid.UUID(int=index + 1)} was passed over" in remarks
    assert all(f"{uuid.UUID(int=index + 1)}" not in remarks for index in expected)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"iq_sample_rate_hz": [RATE_HZ, 2 * RATE_HZ, RATE_HZ]}, [0, 2]),
        ({"frequency_hz": [7_000_000, 7_000_001, 7_000_000]}, [0, 2]),
        ({}, [0, 1]),
    ],
)
def test_recordings_of_another_rate_or_frequency_are_not_joined(
    tmp_path: Path, columns: dict[str, list[Any]], expected: list[int]
) -> None:
    result = compute(tmp_path, [noise(3 * CHUNK, seed) for seed in range(3)], **columns)
    assert used(result) == expected


def test_a_recording_that_is_broken_fails_its_receiver_only_where_it_is_needed(tmp_path: Path) -> None:
    enough, half = noise(5 * CHUNK, 1), noise(2 * CHUNK, 2)
    assert used(compute(tmp_path, [enough, b"broken"])) == [0]
    np.save(tmp_path / "whole.npy", half)
    truncated = (tmp_path / "whole.npy").read_bytes()[:-800]
    for files in ([half, truncated, enough], [truncated, enough]):
        with pytest.raises(Exception, match=r"truncated \(1\)"):
            compute(tmp_path, files)


# --- in the database


def add_measurement(factory: SessionFactory, key: uuid.UUID, station: str, location: str, seconds: float) -> uuid.UUID:
    """One more measurement of a receiver of a session."""
    query = (
        'INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, recording_session_id, frequency_hz, '
        "iq_data_location, iq_data_format, iq_sample_rate) "
        "SELECT :at, id, :session, 145500000, :location, 'npy', 10000 FROM heimdall.websdr_stations "
        "WHERE name = :station RETURNING id"
    )
    at = FIRST_START + timedelta(seconds=seconds)
    found: uuid.UUID = factory.scalar(query, at=at, session=key, location=location, station=station)
    return found


def look(engine: Engine) -> None:
    """The planner's look at everything."""
    with transaction(engine) as connection:
        ledger.catch_up(connection, since=None, is_full=True)


def row(engine: Engine, key: uuid.UUID) -> Any:
    """A session's row of states."""
    with transaction(engine) as connection:
        return states.state_of(connection, key)


@pytest.fixture
def done(factory: SessionFactory, engine: Engine, settings: Settings) -> uuid.UUID:
    """A session with features, of a receiver whose first object is missing."""
    key = factory.add((MISSING, GOOD))
    add_measurement(factory, key, "RX1", GOOD, 1)
    add_measurement(factory, key, "RX1", "third.npy", 2)
    look(engine)
    assert extract_session(engine, key, settings).computed
    look(engine)
    assert row(engine, key).state == "done"
    return key


def test_an_object_that_comes_later_does_not_change_a_done_row(
    factory: SessionFactory, engine: Engine, settings: Settings, done: uuid.UUID
) -> None:
    for name in (MISSING, "third.npy"):
        (factory.root / name).write_bytes((factory.root / GOOD).read_bytes())
    assert check_inputs(engine, settings) == []
    add_measurement(factory, done, "RX1", GOOD, 3)
    add_measurement(factory, done, "RX2", "other.npy", 3)
    look(engine)
    assert check_inputs(engine, settings) == []
    after = row(engine, done)
    assert (after.state, after.new_inputs, after.stale_reason) == ("done", None, None)
    assert (after.measurements_total, after.measurements_with_features) == (6, 6)


def test_an_object_that_was_used_and_is_replaced_does(
    factory: SessionFactory, engine: Engine, settings: Settings, done: uuid.UUID
) -> None:
    np.save(factory.root / GOOD, noise(9000, 3))
    assert check_inputs(engine, settings) == [done]
    assert row(engine, done).new_inputs == "replaced_iq"


def test_a_measurement_of_a_further_receiver_does(
    factory: SessionFactory, engine: Engine, settings: Settings, done: uuid.UUID
) -> None:
    factory.rows("INSERT INTO heimdall.websdr_stations (name) VALUES ('RX9') RETURNING 1")
    add_measurement(factory, done, "RX9", GOOD, 4)
    look(engine)
    assert row(engine, done).new_inputs == "late_iq"


def test_receivers_that_are_not_known_fail_by_name_and_are_never_read(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    key, lost = factory.add((GOOD, GOOD, GOOD)), factory.add((TRUNCATED, GOOD), minutes=5)
    gone = uuid.uuid4()
    table = tables.measurements
    with transaction(engine) as connection:
        loosen_stations(connection)
        ids = connection.scalars(
            table.select().with_only_columns(table.c.id).where(table.c.recording_session_id == key)
        )
        first, second, _ = ids.all()
        for measurement, station in ((first, gone), (second, None)):
            connection.execute(table.update().where(table.c.id == measurement).values(websdr_station_id=station))
        connection.execute(table.update().where(table.c.recording_session_id == lost).values(websdr_station_id=gone))
    look(engine)
    assert extract_session(engine, key, settings).computed
    [(objects,)] = factory.rows(
        "SELECT receiver_features FROM heimdall.measurement_features WHERE recording_session_id = :id", id=key
    )
    failed = {item["rx_id"]: item for item in objects if "error" in item}
    assert set(failed) == {str(gone), f"unknown:{second}"}
    assert {item["error"]["reason"] for item in failed.values()} == {"unknown_receiver"}
    assert {(item["rx_lat"], item["rx_lon"]) for item in failed.values()} == {(None, None)}
    after = row(engine, key)
    assert (after.state, after.measurements_total, after.measurements_with_features) == ("partial", 3, 1)
    assert (after.reason, after.next_attempt_at) == ("unknown_receiver", None)
    outcome = extract_session(engine, lost, settings)
    assert (outcome.has_features, outcome.reason, row(engine, lost).state) == (False, "unknown_receiver", "quarantined")
    look(engine)
    assert check_inputs(engine, settings) == []
    assert row(engine, key).state == "partial"


def test_a_receiver_that_becomes_known_makes_its_sessions_stale(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    key, station = factory.add((GOOD, GOOD)), uuid.uuid4()
    with transaction(engine) as connection:
        loosen_stations(connection)
    factory.rows(
        "UPDATE heimdall.measurements SET websdr_station_id = :station WHERE id = "
        "(SELECT id FROM heimdall.measurements LIMIT 1) RETURNING 1",
        station=station,
    )
    look(engine)
    assert extract_session(engine, key, settings).computed
    factory.rows("INSERT INTO heimdall.websdr_stations (id, name) VALUES (:id, 'RX9') RETURNING 1", id=station)
    with transaction(engine) as connection:
        connection.execute(tables.feature_rechecks.insert().values(recording_session_id=key))
        sources.work_off(connection)
    assert row(engine, key).stale_reason == "other_inputs"
    assert extract_session(engine, key, settings, stale=True).computed
    assert row(engine, key).state == "done"


def test_a_receiver_that_is_renamed_keeps_its_features_and_settings_and_one_that_is_deleted_its_features(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    add_measurement(factory, key, "RX1", "more.npy", 1)
    with transaction(engine) as connection:
        loosen_stations(connection)
        receivers.set_settings(connection, "RX1", FIRST_START, calibration_db=7.0)
    look(engine)
    assert extract_session(engine, key, settings).computed

    def agrees() -> None:
        look(engine)
        with transaction(engine) as connection:
            connection.execute(tables.feature_rechecks.insert().values(recording_session_id=key))
            sources.work_off(connection)
            assert reconciliation.disagreements(connection) == []
        after = row(engine, key)
        assert (after.state, after.stale_reason, after.measurements_used) == ("done", None, 2)
        assert (after.measurements_total, after.measurements_with_features) == (3, 3)

    agrees()
    factory.rows("UPDATE heimdall.websdr_stations SET name = 'other' WHERE name = 'RX1' RETURNING 1")
    agrees()
    with transaction(engine) as connection:
        assert receivers.set_settings(connection, "other", FIRST_START, calibration_db=8.0).sessions_stale == 1
        assert receivers.set_settings(connection, "other", FIRST_START, calibration_db=7.0).sessions_current == 1
    factory.rows("DELETE FROM heimdall.websdr_stations RETURNING 1")
    agrees()
