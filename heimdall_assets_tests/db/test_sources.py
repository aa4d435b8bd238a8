"""Ground truth that changes makes features stale, however it changed, and only those that it concerns."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import heartbeats, ledger, sources, suspects
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.migrations.versions import r0013_sources
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.db.rows import add_measurement
from heimdall_assets_tests.factory import FIRST_START, GOOD, SessionFactory

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

FREQUENCY_HZ = 145_500_000


def add_source(factory: SessionFactory, frequency_hz: int | None = FREQUENCY_HZ, **columns: Any) -> uuid.UUID:
    """A transmitter at a known place, unless the columns say otherwise."""
    values = {"latitude": 45.0, "longitude": 8.0, "power_dbm": 40.0, "frequency_hz": frequency_hz, **columns}
    key: uuid.UUID = factory.scalar(
        f"INSERT INTO heimdall.known_sources (name, {', '.join(values)}) "
        f"VALUES ('tx', {', '.join(f':{name}' for name in values)}) RETURNING id",
        **values,
    )
    return key


def tick(engine: Engine, *, is_full: bool = False) -> None:
    """The planner's look at what others wrote."""
    with transaction(engine) as connection:
        since = heartbeats.last_beat(connection, heartbeats.DISCOVERY)
        ledger.catch_up(connection, since=since, is_full=is_full)


def why(factory: SessionFactory, key: uuid.UUID) -> str | None:
    """The mark of a session."""
    reason: str | None = factory.scalar(
        "SELECT stale_reason FROM heimdall.feature_states WHERE recording_session_id = :id", id=key
    )
    return reason


@pytest.fixture
def done(factory: SessionFactory, settings: Settings) -> Any:
    """Makes a session with features of ours."""

    def make(**columns: Any) -> uuid.UUID:
        key = factory.add((GOOD, GOOD, GOOD), **columns)
        tick(factory.engine)
        assert extract_session(factory.engine, key, settings).computed
        tick(factory.engine)
        assert why(factory, key) is None
        return key

    return make


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database whose sessions are all compared, and one that takes itself for too large."""
    if request.param == "large":
        monkeypatch.setattr(suspects, "SMALL_TABLE", -1)
    return str(request.param)


MOVES = (
    "UPDATE heimdall.known_sources SET latitude = 46 WHERE id = :source",
    "UPDATE heimdall.known_sources SET longitude = NULL WHERE id = :source",
    "UPDATE heimdall.known_sources SET power_dbm = 30 WHERE id = :source",
    "UPDATE heimdall.known_sources SET power_dbm = NULL WHERE id = :source",
    "DELETE FROM heimdall.known_sources WHERE id = :source",
)


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "by frequency"])
@pytest.mark.parametrize("move", MOVES)
def test_a_source_that_changes_makes_its_sessions_stale_and_no_others(
    factory: SessionFactory, engine: Engine, done: Any, size: str, move: str, is_named: bool
) -> None:
    source = add_source(factory)
    other = add_source(factory, None, latitude=50.0)
    concerned = done(known_source_id=source if is_named else None)
    unconcerned = done(known_source_id=other, minutes=5)
    factory.rows(f"{move} RETURNING 1", source=source)
    tick(engine)
    assert (why(factory, concerned), why(factory, unconcerned)) == ("other_truth", None)
    tick(engine)
    assert why(factory, concerned) == "other_truth"


def test_a_correction_that_is_taken_back_takes_its_marks_back(
    factory: SessionFactory, engine: Engine, done: Any, size: str
) -> None:
    source = add_source(factory)
    key = done(known_source_id=source)
    for latitude, reason in ((46.0, "other_truth"), (45.0, None)):
        factory.rows("UPDATE heimdall.known_sources SET latitude = :lat RETURNING 1", lat=latitude)
        tick(engine)
        assert why(factory, key) == reason


def test_a_second_source_on_the_frequency_leaves_a_session_without_truth_until_it_goes(
    factory: SessionFactory, engine: Engine, done: Any, size: str
) -> None:
    add_source(factory)
    key = done()
    second = add_source(factory, FREQUENCY_HZ + 900, latitude=None)
    tick(engine)
    assert why(factory, key) == "other_truth"
    query = "UPDATE heimdall.known_sources SET frequency_hz = :hz WHERE id = :id RETURNING 1"
    factory.rows(query, hz=FREQUENCY_HZ + 1001, id=second)
    tick(engine)
    assert why(factory, key) is None


@pytest.mark.parametrize("is_touched", [True, False])
@pytest.mark.parametrize("is_first_named", [True, False])
def test_a_session_that_is_given_another_source_is_stale_at_once_or_by_the_round(
    factory: SessionFactory, engine: Engine, done: Any, size: str, is_touched: bool, is_first_named: bool
) -> None:
    first, second = add_source(factory), add_source(factory, None, latitude=50.0)
    key = done(known_source_id=first if is_first_named else None)
    touch = ", updated_at = now()" if is_touched else ""
    query = f"UPDATE heimdall.recording_sessions SET known_source_id = :source{touch} WHERE id = :id RETURNING 1"
    factory.rows(query, source=second, id=key)
    tick(engine)
    assert why(factory, key) == ("other_truth" if is_touched or size == "small" else None)
    tick(engine, is_full=True)
    assert why(factory, key) == "other_truth"


def test_a_row_whose_truth_was_written_over_is_found_by_the_round(
    factory: SessionFactory, engine: Engine, done: Any, size: str
) -> None:
    key = done(known_source_id=add_source(factory))
    with transaction(engine) as connection:
        connection.execute(sa.text("SELECT set_config('heimdall.writer', 'heimdall_assets', true)"))
        connection.execute(sa.text("UPDATE heimdall.measurement_features SET tx_latitude = 1"))
    tick(engine, is_full=True)
    assert why(factory, key) == "other_truth"


def test_a_mark_for_a_reason_that_the_tables_do_not_tell_stays(
    factory: SessionFactory, engine: Engine, done: Any, size: str
) -> None:
    key = done(known_source_id=add_source(factory))
    factory.rows("UPDATE heimdall.feature_states SET stale_reason = 'corrected' RETURNING 1")
    for latitude in (46.0, 45.0):
        factory.rows("UPDATE heimdall.known_sources SET latitude = :lat RETURNING 1", lat=latitude)
        tick(engine, is_full=True)
        assert why(factory, key) == "corrected"


def test_how_a_source_was_found_is_part_of_the_truth(
    factory: SessionFactory, engine: Engine, done: Any, size: str
) -> None:
    source = add_source(factory)
    key = done()
    query = "UPDATE heimdall.recording_sessions SET known_source_id = :source, updated_at = now() RETURNING 1"
    factory.rows(query, source=source)
    tick(engine)
    assert why(factory, key) == "other_truth"


def test_features_from_the_window_of_a_session_that_a_measurement_names_since_have_other_inputs(
    factory: SessionFactory, engine: Engine, done: Any
) -> None:
    key = done()
    factory.rows("UPDATE heimdall.measurements SET recording_session_id = NULL RETURNING 1")
    tick(engine, is_full=True)
    assert why(factory, key) is None  # the window gives the same ones
    with transaction(engine) as connection:
        add_measurement(connection, FIRST_START, location=GOOD, recording_session_id=key)
        connection.execute(sa.text("INSERT INTO heimdall.feature_rechecks VALUES (:id)"), {"id": key})
        sources.work_off(connection)
    assert why(factory, key) == "other_inputs"


def test_measurements_that_are_deleted_are_no_other_inputs(factory: SessionFactory, engine: Engine, done: Any) -> None:
    key = done()
    factory.rows("DELETE FROM heimdall.measurements RETURNING 1")
    with transaction(engine) as connection:
        connection.execute(sa.text("INSERT INTO heimdall.feature_rechecks VALUES (:id)"), {"id": key})
        sources.work_off(connection)
    assert why(factory, key) is None


def test_the_queue_is_worked_off_some_at_a_time_and_without_what_is_being_worked_on(
    factory: SessionFactory, engine: Engine
) -> None:
    source = add_source(factory)
    keys = factory.add_many(5, known_source_id=source)
    tick(engine)
    factory.rows(
        "UPDATE heimdall.feature_states SET state = 'running' WHERE recording_session_id = :id RETURNING 1", id=keys[0]
    )
    factory.rows("UPDATE heimdall.known_sources SET latitude = 46 RETURNING 1")
    with transaction(engine) as connection:
        sources._queue_by_sources(connection)
        assert [sources.work_off(connection, limit=3) for _ in range(3)] == [3, 1, 0]
    assert factory.rows("SELECT recording_session_id FROM heimdall.feature_rechecks") == [(keys[0],)]


def test_the_upgrade_marks_what_the_rules_of_before_chose(
    factory: SessionFactory, engine: Engine, done: Any, settings: Settings
) -> None:
    """A placeless source that another one on the frequency stood in for, and a window beside named measurements."""
    placeless = add_source(factory, latitude=None)
    keys = [done(known_source_id=source, minutes=minutes) for source, minutes in ((placeless, 0), (None, 5), (None, 9))]
    with transaction(engine) as connection:
        connection.execute(sa.text("SELECT set_config('heimdall.writer', 'heimdall_assets', true)"))
        query = """
            UPDATE heimdall.measurement_features
            SET tx_known = true, tx_latitude = 45, tx_longitude = 8, tx_power_dbm = 40,
                extraction_metadata = jsonb_set(extraction_metadata, '{ground_truth}', '"frequency"')
            WHERE recording_session_id = :id"""
        connection.execute(sa.text(query), {"id": keys[0]})
        stray = add_measurement(connection, FIRST_START + timedelta(minutes=5), location=GOOD, station="stray")
        query = """
            UPDATE heimdall.measurement_features
            SET receiver_features = receiver_features || CAST('{"rx_id": "stray"}' AS jsonb),
                extraction_metadata = jsonb_set(extraction_metadata, '{receivers,stray}',
                                                jsonb_build_object('measurement_id', CAST(:stray AS text)))
            WHERE recording_session_id = :id"""
        connection.execute(sa.text(query), {"id": keys[1], "stray": str(stray)})
        for statement in r0013_sources.STATEMENTS[-1:]:
            connection.execute(sa.text(statement))
    sources.work_off_for(engine, 60.0)
    assert [why(factory, key) for key in keys] == ["other_truth", "other_inputs", None]
    for key in keys[:2]:
        assert extract_session(engine, key, settings, stale=True).computed
    rows = "SELECT tx_known, cardinality(receiver_features) FROM heimdall.measurement_features ORDER BY timestamp"
    assert factory.rows(rows) == [(False, 3)] * 3  # the stray receiver is no loss
    assert [why(factory, key) for key in keys] == [None] * 3
