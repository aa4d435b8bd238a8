"""Registering recordings: whole sessions or nothing, once, beside what is there already."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import discovery
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.registration import NewMeasurement, NewSession, register_session
from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import DatabaseError
from heimdall_assets.records import KnownSource, Station
from heimdall_assets_tests.db.rows import drop_session_link
from heimdall_assets_tests.factory import FIRST_START

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.factory import SessionFactory

BEACON = KnownSource("beacon", 45.1, 7.9, 145_500_000, 30.0, "beacon")


def measurement(name: str, **columns: Any) -> NewMeasurement:
    """One receiver's file."""
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "station": Station(name, 45.0, 8.0, 199.6),
        "iq_data_location": f"{name}.npy",
        "iq_data_format": "npy",
        "sample_rate_hz": 11_999.6,
        "num_samples": 12_000,
        "duration_seconds": 1.0,
    }
    return NewMeasurement(**{**values, **columns})


def new_session(**columns: Any) -> NewSession:
    """Three receivers that heard a beacon."""
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "name": "a recording",
        "started_at": FIRST_START,
        "duration_seconds": 1.0,
        "frequency_hz": 145_500_000,
        "known_source": BEACON,
        "measurements": [measurement(name) for name in ("A", "B", "C")],
    }
    return NewSession(**{**values, **columns})


def register(engine: Engine, session: NewSession) -> bool:
    """Register in a transaction of its own."""
    with transaction(engine) as connection:
        return register_session(connection, session)


def count(factory: SessionFactory, *tables: str) -> list[int]:
    """Rows of each table."""
    return [factory.scalar(f"SELECT count(*) FROM heimdall.{table}") for table in tables]


ALL = ("recording_sessions", "measurements", "websdr_stations", "known_sources")


@pytest.mark.parametrize("has_link", [True, False], ids=["with the link", "without the column"])
def test_a_session_is_loaded_as_it_was_registered(engine: Engine, has_link: bool) -> None:
    if not has_link:
        with transaction(engine) as connection:
            drop_session_link(connection)
    new = new_session()
    assert register(engine, new)
    with transaction(engine) as connection:
        session = load_session(connection, new.id, source_tolerance_hz=0.0)
        assert discovery.discover(connection) == 1
    assert (session.name, session.status, session.started_at) == ("a recording", "completed", FIRST_START)
    assert (session.known_source, session.ground_truth) == (BEACON, "session")
    assert [m.id for m in session.measurements] == [m.id for m in new.measurements]
    first = session.measurements[0]
    assert first.station == Station("A", 45.0, 8.0, 200)  # altitude_asl is an integer
    assert (first.iq_data_location, first.iq_data_format) == ("A.npy", "npy")
    assert first.iq_sample_rate_hz == 12_000  # iq_sample_rate is an integer; the file's header knows better
    assert (first.frequency_hz, first.timestamp) == (145_500_000, FIRST_START)


def test_registering_again_changes_nothing(engine: Engine, factory: SessionFactory) -> None:
    new = new_session()
    register(engine, new)
    assert not register(engine, replace(new, name="another", measurements=[measurement("D")]))
    assert count(factory, *ALL) == [1, 3, 3, 1]
    assert factory.scalar("SELECT session_name FROM heimdall.recording_sessions") == "a recording"


def test_two_that_register_the_same_at_once_register_it_once(engine: Engine, factory: SessionFactory) -> None:
    new = new_session()
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(register, [engine] * 2, [new] * 2)) == [False, True]
    assert count(factory, "recording_sessions", "measurements", "websdr_stations") == [1, 3, 3]


def test_a_station_that_is_there_keeps_its_place(engine: Engine, factory: SessionFactory) -> None:
    register(engine, new_session())
    moved = measurement("A", station=Station("A", -1.0, -2.0, None))
    register(engine, new_session(measurements=[moved]))
    assert factory.rows("SELECT latitude, longitude, altitude_asl FROM heimdall.websdr_stations WHERE name = 'A'") == [
        (45.0, 8.0, 200)
    ]


def test_a_source_is_the_same_only_if_name_and_frequency_are(engine: Engine, factory: SessionFactory) -> None:
    sources = [BEACON, BEACON, replace(BEACON, frequency_hz=None), replace(BEACON, frequency_hz=None)]
    for source in (*sources, replace(BEACON, name="other"), None):
        register(engine, new_session(known_source=source))
    found = factory.rows("SELECT name, frequency_hz FROM heimdall.known_sources ORDER BY name, frequency_hz")
    assert found == [("beacon", 145_500_000), ("beacon", None), ("other", 145_500_000)]
    used = factory.scalar("SELECT count(known_source_id) FROM heimdall.recording_sessions")
    assert used == 5


def test_what_is_unknown_is_null_and_a_long_name_is_cut(engine: Engine, factory: SessionFactory) -> None:
    unknown = measurement("A", station=Station("A", None, None), sample_rate_hz=None, num_samples=None)
    register(engine, new_session(name="n" * 300, duration_seconds=None, known_source=None, measurements=[unknown]))
    assert factory.rows(
        "SELECT length(session_name), s.duration_seconds, known_source_id, iq_sample_rate, iq_samples_count, latitude "
        "FROM heimdall.recording_sessions s, heimdall.measurements, heimdall.websdr_stations"
    ) == [(255, None, None, None, None, None)]


def test_a_session_appears_whole_or_not_at_all(engine: Engine, factory: SessionFactory) -> None:
    twice = measurement("A")
    with pytest.raises(DatabaseError, match="duplicate key value"):
        register(engine, new_session(measurements=[twice, twice]))
    assert count(factory, *ALL) == [0, 0, 0, 0]


def test_tables_without_defaults_get_ids_and_times_all_the_same(engine: Engine, factory: SessionFactory) -> None:
    with transaction(engine) as connection:
        for table in ("websdr_stations", "known_sources", "recording_sessions", "measurements"):
            connection.execute(sa.text(f"ALTER TABLE heimdall.{table} ALTER COLUMN id DROP DEFAULT"))
        for column in ("created_at", "updated_at"):
            connection.execute(sa.text(f"ALTER TABLE heimdall.recording_sessions ALTER COLUMN {column} DROP DEFAULT"))
    assert register(engine, new_session())
    assert count(factory, *ALL) == [1, 3, 3, 1]
    assert factory.scalar("SELECT now() - created_at < interval '1 minute' FROM heimdall.recording_sessions")
