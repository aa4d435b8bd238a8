"""Which measurements belong to a session, and whose transmitter it heard."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import UnknownSession
from heimdall_assets_tests.factory import FIRST_START, GOOD, SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.engine import Engine

    from heimdall_assets.records import Session
    from heimdall_assets.settings import Settings

TOLERANCE_HZ = 1000.0


def load(engine: Engine, key: uuid.UUID) -> Session:
    """A session as extraction sees it."""
    with transaction(engine) as connection:
        return load_session(connection, key, source_tolerance_hz=TOLERANCE_HZ)


def add_unlinked(factory: SessionFactory, at: datetime, location: str | None = GOOD) -> uuid.UUID:
    """A measurement that names no session."""
    station = factory.scalar("SELECT id FROM heimdall.websdr_stations ORDER BY name LIMIT 1")
    key: uuid.UUID = factory.scalar(
        'INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, iq_data_location, created_at) '
        "VALUES (:at, :station, :location, :at) RETURNING id",
        at=at,
        station=station,
        location=location,
    )
    return key


@pytest.fixture(params=[True, False], ids=["with the link", "without the column"])
def linkless(request: pytest.FixtureRequest, engine: Engine, settings: Settings) -> Iterator[SessionFactory]:
    """A database where no measurement names its session, with and without the column for it."""
    factory = SessionFactory(engine, settings)
    factory.add(("x",), status="recording", minutes=10_000)  # makes a station
    factory.rows("DELETE FROM heimdall.measurements RETURNING 1")
    if request.param:
        yield factory
        return
    with transaction(engine) as connection:
        connection.execute(sa.text("ALTER TABLE heimdall.measurements DROP COLUMN recording_session_id"))
    fresh = open_engine(engine.url)  # whether the column is there is asked once an engine
    yield SessionFactory(fresh, settings)
    fresh.dispose()


def test_a_measurement_belongs_to_the_session_that_it_names_whatever_its_time(
    factory: SessionFactory, engine: Engine
) -> None:
    first, second = factory.add((GOOD, GOOD)), factory.add((GOOD,), minutes=0.001)
    assert len(load(engine, first).measurements) == 2
    assert len(load(engine, second).measurements) == 1


def test_unlinked_ones_belong_to_the_window_bounds_included_and_without_iq_to_none(linkless: SessionFactory) -> None:
    key = linkless.add((), minutes=0)  # lasts one second
    inside = [add_unlinked(linkless, FIRST_START + timedelta(seconds=s)) for s in (0, 0.5, 1)]
    add_unlinked(linkless, FIRST_START + timedelta(seconds=1.001))
    add_unlinked(linkless, FIRST_START - timedelta(seconds=0.001))
    add_unlinked(linkless, FIRST_START + timedelta(seconds=0.6), location=None)
    assert {m.id for m in load(linkless.engine, key).measurements} == set(inside)


def test_the_end_of_the_session_wins_over_its_duration_and_created_at_stands_in_for_the_start(
    linkless: SessionFactory,
) -> None:
    key = linkless.add((), session_end=FIRST_START + timedelta(seconds=9), session_start=None)
    measurement = add_unlinked(linkless, FIRST_START + timedelta(seconds=8))
    assert [m.id for m in load(linkless.engine, key).measurements] == [measurement]


def test_of_several_windows_the_one_that_opened_last_has_it_then_the_smallest_id(linkless: SessionFactory) -> None:
    early = linkless.add((), duration_seconds=60.0)
    late = sorted(linkless.add((), minutes=0.5, duration_seconds=60.0) for _ in range(2))
    measurement = add_unlinked(linkless, FIRST_START + timedelta(seconds=45))
    owners = [key for key in (early, *late) if load(linkless.engine, key).measurements]
    assert owners == late[:1]
    assert [m.id for m in load(linkless.engine, late[0]).measurements] == [measurement]


def add_source(factory: SessionFactory, name: str, frequency_hz: int | None) -> uuid.UUID:
    """A known transmitter."""
    key: uuid.UUID = factory.scalar(
        "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude) "
        "VALUES (:n, :f, 45, 8) RETURNING id",
        n=name,
        f=frequency_hz,
    )
    return key


def test_the_sessions_own_source_is_the_truth_whatever_is_nearer_in_frequency(
    factory: SessionFactory, engine: Engine
) -> None:
    add_source(factory, "near", 145_500_000)
    key = factory.add(known_source_id=add_source(factory, "own", None))
    session = load(engine, key)
    assert session.known_source is not None
    assert (session.known_source.name, session.ground_truth) == ("own", "session")


@pytest.mark.parametrize(
    ("offsets_hz", "expected"),
    [((200, -900), "0"), ((200, -200), None), ((200, 200), None), ((1001,), None), ((-1000,), "0"), ((), None)],
)
def test_without_one_the_nearest_within_the_tolerance_is_taken_but_never_one_of_several(
    factory: SessionFactory, engine: Engine, offsets_hz: tuple[int, ...], expected: str | None
) -> None:
    key = factory.add()
    for index, offset_hz in enumerate(offsets_hz):
        add_source(factory, str(index), 145_500_000 + offset_hz)
    session = load(engine, key)
    assert (session.known_source.name if session.known_source else None) == expected
    assert session.ground_truth == ("frequency" if expected else None)


def test_an_unknown_session_is_named(engine: Engine) -> None:
    key = uuid.uuid4()
    with pytest.raises(UnknownSession, match=str(key)):
        load(engine, key)


def test_the_plans_for_new_and_waiting_sessions_do_not_scan_what_is_done(
    factory: SessionFactory, engine: Engine
) -> None:
    """At 100,000 sessions; which nodes the plans have, not how long they take."""
    factory.rows(
        "INSERT INTO heimdall.recording_sessions (status, session_start, created_at, updated_at, duration_seconds) "
        "SELECT 'completed', t, t, t, 1 FROM (SELECT now() - make_interval(secs => 60 * i) AS t "
        "FROM generate_series(1, 100000) i) x RETURNING 1"
    )
    factory.rows(
        "INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, measurements_total) "
        "SELECT id, CASE WHEN random() < 0.002 THEN 'pending' ELSE 'done' END, updated_at, 3 "
        "FROM heimdall.recording_sessions RETURNING 1"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE heimdall.recording_sessions, heimdall.feature_states"))
    plans = {
        "newest": "SELECT recording_session_id FROM heimdall.feature_states WHERE state = 'pending' "
        "AND reserved_by IS NULL ORDER BY completed_at DESC, recording_session_id DESC LIMIT 250",
        "discovery": "SELECT s.* FROM heimdall.recording_sessions s WHERE s.status = 'completed' "
        "AND (s.updated_at >= now() - interval '10 minutes' OR s.created_at >= now() - interval '10 minutes') "
        "AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs WHERE fs.recording_session_id = s.id)",
    }
    for name, query in plans.items():
        plan = "\n".join(row[0] for row in factory.rows(f"EXPLAIN {query}"))
        assert "Seq Scan" not in plan, f"{name}: {plan}"
