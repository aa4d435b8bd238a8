"""Which measurements belong to a session, and whose transmitter it heard."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import discovery, tables
from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.sessions import classified, has_session_link, linked_measurements, load_session
from heimdall_assets.errors import UnknownSession
from heimdall_assets.records import Measurement, Station
from heimdall_assets_tests.db.rows import add_features, add_measurement, add_session, drop_session_link, loosen_stations
from heimdall_assets_tests.factory import FIRST_START, GOOD, SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine

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
    [((200, -900), None), ((200, 1001), "0"), ((200, 200), None), ((1001,), None), ((-1000,), "0"), ((), None)],
)
def test_without_one_the_only_one_within_the_tolerance_is_taken_but_never_one_of_several(
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


@dataclass(frozen=True)
class Window:
    """When a session was, in steps of ten seconds; None where the column is null."""

    key: uuid.UUID
    started: int | None
    created: int
    ended: int | None
    duration: int | None
    source_hz: int | None

    def bounds(self) -> tuple[int, int] | None:
        """First and last step of the window; None where it has no end."""
        start = self.created if self.started is None else self.started
        if self.ended is not None:
            return start, self.ended
        return None if self.duration is None else (start, start + self.duration)


def moment(step: int | None) -> datetime | None:
    """The time of a step."""
    return None if step is None else FIRST_START + timedelta(seconds=10 * step)


def owner(windows: list[Window], step: int, frequency_hz: int | None, named: set[uuid.UUID]) -> uuid.UUID | None:
    """Whose window a measurement without a link falls in: the one that opened last, then the smallest id.

    The windows of sessions that measurements name do not count, nor do those of sessions on other frequencies.
    """
    open_then = [
        (-bounds[0], window.key)
        for window in windows
        if (bounds := window.bounds()) is not None
        and bounds[0] <= step <= bounds[1]
        and window.key not in named
        and (
            window.source_hz is None
            or (frequency_hz is not None and abs(frequency_hz - window.source_hz) <= TOLERANCE_HZ)
        )
    ]
    return min(open_then)[1] if open_then else None


SOURCES_HZ = (7_000_000, 14_000_000)


def random_windows(connection: Connection, rng: random.Random) -> list[Window]:
    """Sessions of all kinds on so coarse a grid that bounds and starts often coincide."""
    windows = []
    sources = {
        frequency_hz: connection.execute(
            sa.insert(tables.known_sources)
            .values(name="s", frequency_hz=frequency_hz)
            .returning(tables.known_sources.c.id)
        ).scalar_one()
        for frequency_hz in (*SOURCES_HZ, None)
    }
    for _ in range(40):
        started, ended, duration = rng.randrange(30), rng.randrange(30), rng.randrange(6)
        window = Window(
            uuid.UUID(int=rng.getrandbits(128)),
            rng.choice((started, started, None)),
            rng.randrange(30),
            rng.choice((started + duration, ended, None, None)),
            rng.choice((duration, duration, None)),
            rng.choice((None, *SOURCES_HZ)),
        )
        add_session(
            connection,
            id=window.key,
            session_start=moment(window.started),
            created_at=moment(window.created),
            session_end=moment(window.ended),
            duration_seconds=None if window.duration is None else 10.0 * window.duration,
            status=rng.choice(("completed", "recording", "failed")),
            known_source_id=rng.choice((sources[window.source_hz], None))
            if window.source_hz is None
            else sources[window.source_hz],
        )
        windows.append(window)
    return windows


@pytest.mark.parametrize("has_link", [True, False], ids=["with the link", "without the column"])
@pytest.mark.parametrize("seed", range(4))
def test_every_measurement_belongs_to_the_one_session_that_the_rule_names(
    engine: Engine, has_link: bool, seed: int
) -> None:
    """Against the rule in a few lines of Python, over sessions that overlap in every way."""
    rng = random.Random(seed)
    made: dict[uuid.UUID, tuple[uuid.UUID | None, int, int | None]] = {}
    all_named: set[uuid.UUID] = set()
    with transaction(engine) as connection:
        if not has_link:
            drop_session_link(connection)
        windows = random_windows(connection, rng)
        for _ in range(150):
            step = rng.randrange(35)
            named = rng.choice(windows[::3]).key if has_link and rng.random() < 0.3 else None
            link: dict[str, Any] = {"recording_session_id": named} if has_link else {}
            location = rng.choice(("a.npy", "a.npy", None))
            frequency_hz = rng.choice((7_000_000, 7_000_000, 7_001_000, 7_001_001, 14_000_900, None))
            moment = FIRST_START + timedelta(seconds=10 * step)
            key = add_measurement(connection, moment, location=location, frequency_hz=frequency_hz, **link)
            if named is not None:
                all_named.add(named)
            if location is not None:
                made[key] = (named, step, frequency_hz)
        expected = {
            key: named or owner(windows, step, frequency_hz, all_named)
            for key, (named, step, frequency_hz) in made.items()
        }
        assert has_session_link(connection) is has_link
        query = f"""
            WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions)
            SELECT l.id, l.session_id FROM ({linked_measurements(connection, "wanted")}) l"""
        found = [(row.id, row.session_id) for row in connection.execute(sa.text(query))]
    assert len(found) == len({key for key, _ in found})  # none belongs to two
    assert dict(found) == {key: session for key, session in expected.items() if session is not None}
    for window in windows[:5]:
        mine = {key for key, session in expected.items() if session == window.key}
        assert {m.id for m in load(engine, window.key).measurements} == mine


def test_a_session_without_an_end_and_a_duration_has_no_window(linkless: SessionFactory) -> None:
    key = linkless.add((), duration_seconds=None)
    add_unlinked(linkless, FIRST_START)
    assert load(linkless.engine, key).measurements == ()


def test_a_session_is_loaded_with_its_receivers_in_the_order_of_their_time_stamps(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add_session(connection, session_name="n", session_start=None, created_at=FIRST_START, status="recording")
        later = FIRST_START + timedelta(seconds=1)
        last = add_measurement(connection, later, station="A", recording_session_id=key)
        second = add_measurement(connection, FIRST_START, station="C", recording_session_id=key, location="c.wav")
        columns: dict[str, Any] = {"frequency_hz": 7_000_000, "iq_data_format": "npy", "iq_sample_rate": 48_000}
        first = add_measurement(connection, FIRST_START, station="B", recording_session_id=key, **columns)
    session = load(engine, key)
    assert (session.id, session.name, session.status, session.started_at) == (key, "n", "recording", FIRST_START)
    assert [m.id for m in session.measurements] == [first, second, last]
    assert session.measurements[0] == Measurement(
        first, FIRST_START, Station("B", 45.0, 8.0), 7_000_000, "a.npy", "npy", 48_000
    )
    assert (session.measurements[1].iq_data_location, session.measurements[1].iq_data_format) == ("c.wav", None)


def test_receivers_on_several_frequencies_have_no_transmitter_in_common(
    engine: Engine, factory: SessionFactory
) -> None:
    add_source(factory, "beacon", 7_000_000)
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START)
        for frequency_hz in (7_000_000, 7_000_001):
            add_measurement(connection, FIRST_START, recording_session_id=key, frequency_hz=frequency_hz)
    assert load(engine, key).known_source is None


def test_a_source_without_a_place_is_no_ground_truth(factory: SessionFactory, engine: Engine) -> None:
    source = add_source(factory, "somewhere", 145_500_000)
    factory.rows("UPDATE heimdall.known_sources SET latitude = NULL RETURNING 1")
    session = load(engine, factory.add(known_source_id=source))
    assert (session.known_source, session.ground_truth) == (None, None)


def test_a_named_source_without_a_place_is_not_replaced_by_one_on_the_frequency(
    factory: SessionFactory, engine: Engine
) -> None:
    own = add_source(factory, "own", 145_500_000)
    factory.rows("UPDATE heimdall.known_sources SET longitude = NULL RETURNING 1")
    add_source(factory, "near", 145_500_100)
    session = load(engine, factory.add(known_source_id=own))
    assert (session.known_source, session.ground_truth, session.known_source_id) == (None, None, own)


def test_a_source_without_a_place_on_the_frequency_leaves_several_in_question(
    factory: SessionFactory, engine: Engine
) -> None:
    add_source(factory, "placeless", 145_500_500)
    factory.rows("UPDATE heimdall.known_sources SET latitude = NULL, longitude = NULL RETURNING 1")
    key = factory.add()
    assert load(engine, key).ground_truth is None
    add_source(factory, "placed", 145_500_000)
    assert load(engine, key).ground_truth is None


@pytest.mark.parametrize("place", [(91.0, 8.0), (45.0, 190.0), (float("nan"), 8.0), (45.0, float("-inf"))])
def test_a_place_that_is_none_on_earth_is_no_ground_truth(
    factory: SessionFactory, engine: Engine, place: tuple[float, float]
) -> None:
    key = factory.add()
    add_source(factory, "near", 145_500_000)
    query = "UPDATE heimdall.known_sources SET latitude = :lat, longitude = :lon RETURNING 1"
    factory.rows(query, lat=place[0], lon=place[1])
    assert load(engine, key).known_source is None


def test_a_measurement_of_a_receiver_that_is_not_known_belongs_to_its_session(
    factory: SessionFactory, engine: Engine
) -> None:
    key = factory.add((GOOD, GOOD))
    gone = uuid.uuid4()
    with transaction(engine) as connection:
        loosen_stations(connection)
    query = "UPDATE heimdall.measurements SET websdr_station_id = :station WHERE id = :id RETURNING 1"
    first, second = (measurement.id for measurement in load(engine, key).measurements)
    factory.rows(query, station=gone, id=first)
    factory.rows(query, station=None, id=second)
    stations = {measurement.id: measurement.station for measurement in load(engine, key).measurements}
    assert stations == {
        first: Station(str(gone), None, None, is_known=False),
        second: Station(f"unknown:{second}", None, None, is_known=False),
    }


FIGURES = ("state", "measurements_total", "measurements_with_features", "feature_version")


def classify(connection: Connection) -> dict[uuid.UUID, tuple[Any, ...]]:
    """What the tables say of every session: (state, measurements, of them with features, version)."""
    query = f"""
        WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions)
        SELECT c.* FROM ({classified(connection, "wanted")}) c"""
    return {row.id: tuple(getattr(row, name) for name in FIGURES) for row in connection.execute(sa.text(query))}


@pytest.mark.parametrize("has_link", [True, False], ids=["with the link", "without the column"])
def test_the_tables_say_what_a_session_is_whoever_wrote_its_features(engine: Engine, has_link: bool) -> None:
    ours = {"feature_version": 2}
    error = {"rx_id": "B", "error": {"reason": "not_found"}}
    receivers = ({"rx_id": "A"}, {"rx_id": "B"})
    expected: dict[uuid.UUID, tuple[Any, ...]] = {}
    with transaction(engine) as connection:
        if not has_link:
            drop_session_link(connection)

        def add(index: int, stations: Sequence[tuple[str, str | None]], **features: Any) -> uuid.UUID:
            start = FIRST_START + timedelta(hours=index)
            key = add_session(connection, session_start=start, duration_seconds=60.0)
            for station, location in stations:
                link = {"recording_session_id": key} if has_link else {}
                add_measurement(connection, start, station=station, location=location, **link)
            if features:
                add_features(connection, key, **features)
            return key

        two = (("A", "a"), ("B", "b"))
        expected[add(1, two)] = ("pending", 2, 0, None)
        expected[add(2, (("A", None),))] = ("empty", 0, 0, None)
        expected[add(3, ())] = ("empty", 0, 0, None)
        # by other code: done, without a version
        expected[add(4, two, receivers=receivers)] = ("done", 2, 2, None)
        expected[add(5, two, receivers=receivers, failed=None)] = ("done", 2, 2, None)
        expected[add(6, two, receivers=({"rx_id": "A"}, {"rx_id": "elsewhere"}))] = ("done", 2, 1, None)
        expected[add(7, two, receivers=({"rx_id": "A"}, error))] = ("done", 2, 1, None)
        expected[add(8, two, receivers=())] = ("done", 2, 0, None)
        # a station with several recordings, and recordings that are gone
        expected[add(9, (*two, ("A", "a2"), ("B", None)), receivers=receivers)] = ("done", 3, 3, None)
        expected[add(10, (), receivers=receivers)] = ("done", 0, 0, None)
        # one that it marked as failed: a fresh attempt
        expected[add(11, two, receivers=(), failed=True)] = ("pending", 2, 0, None)
        expected[add(12, (), receivers=(), failed=True)] = ("empty", 0, 0, None)
        # ours
        expected[add(13, two, receivers=receivers, metadata=ours)] = ("done", 2, 2, 2)
        expected[add(14, two, receivers=({"rx_id": "A"}, error), metadata=ours)] = ("partial", 2, 1, 2)
        assert classify(connection) == expected


@pytest.mark.parametrize("number", ["2", 2.5, 1e30, -1, True, None, [2]])
def test_a_version_that_is_no_small_number_is_that_of_other_code(engine: Engine, number: object) -> None:
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START)
        add_features(connection, key, metadata={"feature_version": number})
        assert classify(connection)[key] == ("done", 0, 0, None)


def test_synthetic_rows_without_a_session_count_nowhere(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            sa.text(
                "ALTER TABLE heimdall.measurement_features "
                "DROP CONSTRAINT measurement_features_recording_session_id_fkey"
            )
        )
        for _ in range(3):
            add_features(connection, uuid.uuid4())
        key = add_session(connection, session_start=FIRST_START)
        assert set(classify(connection)) == {key}
        assert discovery.discover(connection) == 1
        figures = coverage_figures(connection, feature_version=1)
    assert (figures["total_recordings"], figures["recordings_with_features"]) == (1, 0)


def test_a_session_was_completed_when_heimdall_touched_it_last(engine: Engine) -> None:
    later = FIRST_START + timedelta(hours=1)
    with transaction(engine) as connection:
        add_session(connection, session_start=FIRST_START, created_at=FIRST_START, updated_at=later)
        discovery.discover(connection)
        assert connection.scalar(sa.text("SELECT completed_at FROM heimdall.feature_states")) == later
