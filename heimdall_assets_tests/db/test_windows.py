"""Bounds of measurements' "timestamp": nothing in its window is missed, strays are found late, pieces are left out."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.db import coverage, inputs, ledger, migrate, network, reconciliation, sessions, strays, work
from heimdall_assets.db.engine import create_database_if_missing, open_engine, transaction
from heimdall_assets.db.sessions import load_session
from heimdall_assets.db.windows import EVER, MOST_RANGES, Span
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.conftest import drop_database
from heimdall_assets_tests.db.rows import add_measurement, add_session, statements_of
from heimdall_assets_tests.factory import FIRST_START
from heimdall_assets_tests.pieces import create_measurements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL, Connection, Engine

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
_moments = st.integers(0, 10_000).map(lambda minutes: BEGIN + timedelta(minutes=minutes))
_ranges = st.tuples(_moments, st.integers(0, 500)).map(lambda pair: (pair[0], pair[0] + timedelta(minutes=pair[1])))


@given(st.lists(_ranges, max_size=300))
def test_a_span_covers_all_that_it_is_made_of_in_few_ranges_without_overlaps(
    ranges: list[tuple[datetime, datetime]],
) -> None:
    span = Span.over(ranges)
    assert all(any(a <= first and last <= b for a, b in span.ranges) for first, last in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(span.ranges))
    assert len(span.ranges) <= MOST_RANGES
    ends = {moment for each in ranges for moment in each}
    assert {moment for each in span.ranges for moment in each} <= ends


def test_of_too_many_ranges_the_widest_gaps_stay() -> None:
    days = [BEGIN + i * DAY * (2 if i > 2 * MOST_RANGES else 1) for i in range(2 * MOST_RANGES + 20)]
    span = Span.over((day, day + timedelta(hours=1)) for day in days)
    assert len(span.ranges) <= MOST_RANGES
    assert (days[-1], days[-1] + timedelta(hours=1)) in span.ranges
    assert span.ranges[0][0] == days[0]


def total(engine: Engine, key: uuid.UUID) -> tuple[str, int] | None:
    """State and number of measurements that the ledger holds."""
    query = "SELECT state, measurements_total FROM heimdall.feature_states WHERE recording_session_id = :id"
    with transaction(engine) as connection:
        row = connection.execute(sa.text(query), {"id": key}).one_or_none()
    return None if row is None else (row.state, row.measurements_total)


def load(engine: Engine, key: uuid.UUID) -> set[uuid.UUID]:
    """Measurements that extraction sees."""
    with transaction(engine) as connection:
        return {m.id for m in load_session(connection, key, source_tolerance_hz=1000.0).measurements}


def catch_up(engine: Engine, *, is_schedule: bool) -> None:
    """What a tick learns."""
    with transaction(engine) as connection:
        ledger.catch_up(connection, since=None, is_full=is_schedule)


@pytest.mark.parametrize(
    "far", [timedelta(days=30), -timedelta(days=900), timedelta(hours=25), timedelta(days=365_000)]
)
@pytest.mark.parametrize("is_small", [True, False])
def test_a_measurement_far_from_its_session_is_counted_by_the_schedule_and_then_by_all(
    engine: Engine, far: timedelta, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "is_small", lambda _: is_small)
    with transaction(engine) as connection:
        key, whole = (add_session(connection, session_start=FIRST_START, duration_seconds=1.0) for _ in range(2))
        near = add_measurement(connection, FIRST_START + timedelta(hours=24), recording_session_id=key)
        for _ in range(2):
            add_measurement(connection, FIRST_START - timedelta(hours=24), recording_session_id=whole)
    catch_up(engine, is_schedule=True)
    assert (load(engine, key), total(engine, key), total(engine, whole)) == ({near}, ("pending", 1), ("pending", 2))
    with transaction(engine) as connection:
        stray = add_measurement(connection, FIRST_START + far, recording_session_id=key)
        connection.execute(sa.text("UPDATE heimdall.measurements SET created_at = now() WHERE id = :id"), {"id": stray})
    catch_up(engine, is_schedule=False)
    assert total(engine, key) == ("pending", 2 if FIRST_START + far > datetime.now(UTC) else 1)
    catch_up(engine, is_schedule=True)
    assert (load(engine, key), total(engine, key)) == ({near, stray}, ("pending", 2))
    with transaction(engine) as connection:
        assert coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)["total_measurements"] == 4
        assert reconciliation.disagreements(connection) == []
    for is_schedule in (True, False):
        catch_up(engine, is_schedule=is_schedule)
    assert (total(engine, key), total(engine, whole)) == (("pending", 2), ("pending", 2))


def test_a_session_whose_measurements_are_all_far_away_is_empty_until_the_schedule_looks(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START, duration_seconds=1.0)
        strays_of = {
            add_measurement(connection, FIRST_START + days * DAY, recording_session_id=key) for days in (-9, 9)
        }
    catch_up(engine, is_schedule=False)
    assert total(engine, key) == ("empty", 0)
    catch_up(engine, is_schedule=True)
    assert total(engine, key) == ("pending", 2)
    assert load(engine, key) == strays_of


def test_in_a_large_database_one_pass_a_day_looks_at_measurements_that_came_unseen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "is_small", lambda _: False)
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START, duration_seconds=1.0)
        strays.pass_over(connection)
        add_measurement(connection, FIRST_START + 9 * DAY, recording_session_id=key)  # created_at: then
        assert strays.pass_over(connection) == []
        connection.execute(sa.text("UPDATE heimdall.feature_heartbeats SET beat_at = beat_at - interval '25 hours'"))
        assert strays.pass_over(connection) == [key]
        assert strays.pass_over(connection) == []


def test_a_measurement_of_just_now_that_names_an_old_session_is_counted_by_every_tick(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START, duration_seconds=1.0)
    catch_up(engine, is_schedule=True)
    with transaction(engine) as connection:
        late = add_measurement(connection, datetime.now(UTC), recording_session_id=key)
    catch_up(engine, is_schedule=False)
    assert (total(engine, key), load(engine, key)) == (("pending", 1), {late})


@pytest.mark.parametrize("margin_s", ["0", "3600", "31536000"])
def test_the_margin_is_a_setting(engine: Engine, monkeypatch: pytest.MonkeyPatch, margin_s: str) -> None:
    monkeypatch.setenv("HEIMDALL_MEASUREMENT_MARGIN_SECONDS", margin_s)
    current_settings.cache_clear()
    edge = timedelta(seconds=int(margin_s))
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START, duration_seconds=10.0)
        inside = {
            add_measurement(connection, moment, recording_session_id=key)
            for moment in (FIRST_START - edge, FIRST_START + timedelta(seconds=10) + edge)
        }
        for moment in (FIRST_START - edge - timedelta(seconds=1), FIRST_START + timedelta(seconds=11) + edge):
            add_measurement(connection, moment, recording_session_id=key)
    assert load(engine, key) == inside


@pytest.mark.parametrize(
    "start", ["infinity", "-infinity", "294276-12-31", "4713-01-01 BC", "9999-12-31 23:59:59+00", "0001-01-01"]
)
def test_bounds_of_a_session_at_the_end_of_time_stop_nothing(engine: Engine, start: str) -> None:
    with transaction(engine) as connection:
        key = add_session(connection, session_start=FIRST_START, session_end=FIRST_START, duration_seconds=None)
        query = "UPDATE heimdall.recording_sessions SET session_start = CAST(CAST(:start AS text) AS timestamptz)"
        connection.execute(sa.text(query), {"start": start})
        assert len(sessions.span_of(connection, [key]).ranges) == 1
        strays.pass_over(connection)


PIECES = 200


@pytest.fixture
def in_pieces(server_url: URL) -> Iterator[Engine]:
    """A database whose measurements are in a piece a day, with a session a day, and one that is pending."""
    url = server_url.set(database=f"t{uuid.uuid4().hex[:12]}")
    create_database_if_missing(url)
    engine = open_engine(url)
    with transaction(engine) as connection:
        create_measurements(connection, PIECES, first=BEGIN, piece=DAY)
    migrate.upgrade(engine)
    with transaction(engine) as connection:
        for day in range(PIECES):
            start = BEGIN + day * DAY + timedelta(hours=12)
            key = add_session(connection, session_start=start, duration_seconds=1.0, created_at=start, updated_at=start)
            add_measurement(connection, start, recording_session_id=key)
        add_session(connection, session_start=BEGIN, duration_seconds=1.0)
    yield engine
    engine.dispose()
    drop_database(url)


def pieces_of(connection: Connection, ask: Callable[[], object]) -> int:
    """Most pieces that PostgreSQL plans to look at for a statement that a function sends."""
    with statements_of(connection.engine) as sent:
        ask()
    most = 0
    for statement, parameters in sent:
        if "measurements" in statement:
            plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
            most = max(most, len(set(re.findall(r'"measurements_\d+"', json.dumps(plan)))))
    return most


def test_statements_plan_for_the_pieces_of_their_sessions_alone(in_pieces: Engine) -> None:
    catch_up(in_pieces, is_schedule=True)
    with transaction(in_pieces) as connection:
        newest = sa.text("SELECT id FROM heimdall.recording_sessions ORDER BY session_start DESC LIMIT 5")
        some = list(connection.scalars(newest))
        asked: dict[str, Callable[[], Any]] = {
            "load": lambda: load_session(connection, some[2], source_tolerance_hz=1000.0),
            "stats": lambda: coverage.coverage_figures(connection, feature_version=FEATURE_VERSION),
            "by day": lambda: coverage.coverage_by_day(connection),
            "sensor": lambda: ledger.catch_up(connection, since=None, is_full=False),
            "late": lambda: inputs.absorb_late(connection, some),
            "round": lambda: inputs.next_to_check(connection, 1),
            "absorb": lambda: work.absorb(connection),
            "some": lambda: work.refresh(connection, some),
            "receivers": lambda: network.receiver_health(connection, latest=3),
        }
        counted = {name: pieces_of(connection, ask) for name, ask in asked.items()}
        assert {name: count for name, count in counted.items() if count > 12} == {}
        assert counted["load"] in {2, 3}
        assert pieces_of(connection, lambda: strays.pass_over(connection)) == PIECES + 2
        assert reconciliation.disagreements(connection) == []


def test_measurements_in_pieces_are_counted_as_in_one(in_pieces: Engine) -> None:
    catch_up(in_pieces, is_schedule=True)
    with transaction(in_pieces) as connection:
        figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
        assert (figures["total_measurements"], figures["recordings_without_iq"]) == (PIECES, 1)
        query = f"""
            WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions)
            SELECT count(*) FROM ({sessions.linked_measurements(connection, "wanted", EVER)}) m"""
        assert connection.scalar(sa.text(query)) == PIECES
