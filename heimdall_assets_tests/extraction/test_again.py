"""Sessions that have features and are computed again by themselves: missing receivers, late and replaced recordings."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, inputs, ledger, states, tables, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import check_inputs, extract_session
from heimdall_assets_tests.db.rows import add_features, add_measurement
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED
from heimdall_assets_tests.invariants import assert_ledger_agrees

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

LATER = "later.npy"


def row(engine: Engine, key: UUID) -> Any:
    with transaction(engine) as connection:
        found = states.state_of(connection, key)
    assert found is not None
    return found


def outcomes(factory: SessionFactory, key: UUID) -> list[tuple[Any, ...]]:
    query = "SELECT outcome, reason FROM heimdall.feature_attempts WHERE recording_session_id = :id ORDER BY number"
    return factory.rows(query, id=key)


def make_due(factory: SessionFactory) -> None:
    factory.rows(
        "UPDATE heimdall.feature_states SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL RETURNING 1"
    )


def due(engine: Engine) -> list[UUID]:
    with transaction(engine) as connection:
        return work.due_retries(connection, 99)


def copy(factory: SessionFactory, name: str, source: str = GOOD) -> None:
    factory.write_files()
    shutil.copyfile(factory.root / source, factory.root / name)


def features_row(factory: SessionFactory, key: UUID) -> list[tuple[Any, ...]]:
    """The row with the transaction that wrote it: another one would be seen although it were the same."""
    return factory.rows(
        "SELECT *, xmin::text FROM heimdall.measurement_features WHERE recording_session_id = :id", id=key
    )


# --- receivers that were missing


def test_a_receiver_that_was_missing_is_tried_again_and_completes_the_session(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, LATER, GOOD))
    extract_session(engine, key, settings)
    assert (row(engine, key).state, row(engine, key).attempts) == ("partial", 1)
    assert due(engine) == []
    copy(factory, LATER)
    make_due(factory)
    assert due(engine) == [key]
    assert extract_session(engine, key, settings).computed
    after = row(engine, key)
    assert (after.state, after.attempts, after.next_attempt_at) == ("done", 0, None)
    assert_ledger_agrees(engine)


def test_a_retry_that_brings_nothing_new_leaves_the_row_untouched_and_the_last_one_is_the_last(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, MISSING))
    extract_session(engine, key, settings)
    before = features_row(factory, key)
    for _ in range(settings.max_attempts - 1):
        make_due(factory)
        assert due(engine) == [key]
        assert not extract_session(engine, key, settings).computed
    assert (row(engine, key).state, row(engine, key).next_attempt_at) == ("partial", None)
    assert features_row(factory, key) == before
    assert factory.rows("SELECT 1 FROM heimdall.measurement_features_history") == []
    retries = [("kept", "nothing_new")] * (settings.max_attempts - 1)
    assert outcomes(factory, key) == [("partial", None), *retries]
    assert_ledger_agrees(engine)


def test_a_receiver_whose_recording_is_broken_is_not_tried_again(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, TRUNCATED))
    extract_session(engine, key, settings)
    assert (row(engine, key).state, row(engine, key).next_attempt_at) == ("partial", None)


def test_before_its_time_a_partial_session_is_left_alone(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, MISSING))
    patient = settings.model_copy(update={"retry_base_seconds": 900.0, "retry_max_seconds": 900.0})
    extract_session(engine, key, patient)
    assert not extract_session(engine, key, patient).computed
    assert outcomes(factory, key) == [("partial", None)]


def test_a_retry_whose_worker_dies_goes_on_counting(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, MISSING))
    extract_session(engine, key, settings)
    make_due(factory)
    with transaction(engine) as connection:
        attempts.begin_attempt(connection, key, run_id="run", feature_version=1)
        assert attempts.recover_lost(connection, states.RetryRule(5, 1.0, 1.0)) == [key]
        assert work.absorb(connection) == {key}
    after = row(engine, key)
    assert (after.state, after.attempts) == ("partial", 2)
    assert due(engine) == [key]


# --- recordings that came late


def late_measurement(engine: Engine, key: UUID, *, created_at: datetime | None = None, location: str = GOOD) -> None:
    with transaction(engine) as connection:
        moment = created_at or states.database_time(connection)
        add_measurement(
            connection, moment, station="RX9", location=location, recording_session_id=key, iq_sample_rate=10_000
        )


def look(engine: Engine) -> None:
    with transaction(engine) as connection:
        ledger.catch_up(connection, since=states.database_time(connection), is_full=False)


def test_a_measurement_that_comes_late_is_computed_with_the_others_and_the_row_stays_until_then(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(engine, key, settings)
    before = features_row(factory, key)
    late_measurement(engine, key)
    look(engine)
    waiting = row(engine, key)
    assert (waiting.state, waiting.new_inputs, waiting.measurements_total) == ("pending", "late_iq", 3)
    assert features_row(factory, key) == before
    assert_ledger_agrees(engine)
    with transaction(engine) as connection:
        work.absorb(connection)  # the row that is there does not make it done
        assert [session_id for session_id, *_ in work.newest_pending(connection, 9)] == [key]
    assert extract_session(engine, key, settings).computed
    done = row(engine, key)
    assert (done.state, done.new_inputs, done.measurements_with_features) == ("done", None, 3)
    assert len(factory.rows("SELECT 1 FROM heimdall.measurement_features_history")) == 1
    look(engine)
    assert row(engine, key).state == "done"
    assert_ledger_agrees(engine)


@pytest.mark.parametrize("state", ["quarantined", "empty"])
def test_a_session_without_features_waits_again_when_a_recording_comes(
    engine: Engine, factory: SessionFactory, settings: Settings, state: str
) -> None:
    key = factory.add((TRUNCATED,) if state == "quarantined" else (None,))
    extract_session(engine, key, settings)
    assert row(engine, key).state == state
    late_measurement(engine, key)
    look(engine)
    assert (row(engine, key).state, row(engine, key).new_inputs) == ("pending", None)
    assert extract_session(engine, key, settings).computed
    assert_ledger_agrees(engine)


def test_what_is_ignored_or_done_by_other_code_only_counts_the_measurement(
    engine: Engine, factory: SessionFactory
) -> None:
    ignored, foreign = factory.add_many(2)
    with transaction(engine) as connection:
        states.ignore(connection, [ignored])
        add_features(connection, foreign, [{"rx_id": "RX1"}, {"rx_id": "RX9"}])
        discovery.discover(connection)
    for key in (ignored, foreign):
        late_measurement(engine, key)
    look(engine)
    assert (row(engine, ignored).state, row(engine, ignored).measurements_total) == ("ignored", 4)
    after = row(engine, foreign)
    assert (after.state, after.measurements_total, after.measurements_with_features) == ("done", 4, 2)
    assert_ledger_agrees(engine)


def test_a_late_measurement_that_cannot_be_used_makes_the_session_partial(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(engine, key, settings)
    late_measurement(engine, key, location=TRUNCATED)
    look(engine)
    extract_session(engine, key, settings)
    after = row(engine, key)
    assert (after.state, after.reason, after.measurements_total, after.measurements_with_features) == (
        "partial",
        "truncated",
        3,
        2,
    )


# --- recordings that were replaced


def test_a_recording_that_was_replaced_is_found_on_the_round_and_computed_again(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    copy(factory, "mine.npy")
    key, other = factory.add(("mine.npy", GOOD)), factory.add()
    for each in (key, other):
        extract_session(engine, each, settings)
    assert check_inputs(engine, settings) == []
    samples = np.load(factory.root / "mine.npy")
    np.save(factory.root / "mine.npy", 2 * samples[:8000])
    assert check_inputs(engine, settings) == [key]
    assert (row(engine, key).state, row(engine, key).new_inputs) == ("pending", "replaced_iq")
    assert extract_session(engine, key, settings).computed
    assert check_inputs(engine, settings) == []
    assert [row(engine, each).state for each in (key, other)] == ["done", "done"]
    assert_ledger_agrees(engine)


def test_a_measurement_that_points_elsewhere_or_came_with_an_old_time_stamp_is_found_too(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    moved, grown = factory.add_many(2, (GOOD, GOOD))
    for key in (moved, grown):
        extract_session(engine, key, settings)
    copy(factory, LATER)
    with transaction(engine) as connection:
        table = tables.measurements
        connection.execute(
            sa.update(table)
            .where(
                table.c.recording_session_id == moved,
                table.c.websdr_station_id
                == sa.select(tables.websdr_stations.c.id)
                .where(tables.websdr_stations.c.name == "RX1")
                .scalar_subquery(),
            )
            .values(iq_data_location=LATER)
        )
    late_measurement(engine, grown, created_at=datetime(2025, 6, 1, tzinfo=UTC))
    assert set(check_inputs(engine, settings)) == {moved, grown}
    after = row(engine, grown)
    assert (row(engine, moved).new_inputs, after.new_inputs, after.measurements_total) == ("replaced_iq", "late_iq", 3)


def test_a_replacement_that_is_worse_is_tried_once_and_the_features_stay(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    copy(factory, "mine.npy")
    key = factory.add(("mine.npy", GOOD))
    extract_session(engine, key, settings)
    before = features_row(factory, key)
    copy(factory, "mine.npy", TRUNCATED)
    assert check_inputs(engine, settings) == [key]
    assert not extract_session(engine, key, settings).computed
    assert (row(engine, key).state, features_row(factory, key)) == ("done", before)
    assert check_inputs(engine, settings) == []
    assert outcomes(factory, key) == [("done", None), ("kept", "poorer")]


def test_recordings_that_are_deleted_change_nothing_nor_does_a_store_that_is_away(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add()
    extract_session(engine, key, settings)
    away = factory.root.with_name("away")
    factory.root.rename(away)
    assert check_inputs(engine, settings) == []
    away.rename(factory.root)
    assert check_inputs(engine, settings) == []
    (factory.root / GOOD).unlink()
    assert check_inputs(engine, settings) == []
    assert row(engine, key).state == "done"


def test_a_quarantined_session_waits_again_when_its_recording_is_replaced(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    copy(factory, "mine.npy", TRUNCATED)
    key = factory.add(("mine.npy",))
    extract_session(engine, key, settings)
    assert check_inputs(engine, settings) == []
    copy(factory, "mine.npy")
    assert check_inputs(engine, settings) == [key]
    assert row(engine, key).attempts == 0
    assert extract_session(engine, key, settings).computed


def test_the_round_visits_every_session_a_few_at_a_time_and_begins_anew(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    keys = factory.add_many(5)
    for key in keys:
        extract_session(engine, key, settings)
    with transaction(engine) as connection:
        visited = [[item.session_id for item in inputs.next_to_check(connection, 2)] for _ in range(3)]
        again = [item.session_id for item in inputs.next_to_check(connection, 2)]
    assert [key for few in visited for key in few] == sorted(keys)
    assert again == visited[0]
    assert check_inputs(engine, settings.model_copy(update={"input_checks_per_tick": 0})) == []


def test_the_round_does_not_hide_what_came_late_while_nobody_looked(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(engine, key, settings)
    look(engine)
    factory.rows("UPDATE heimdall.feature_heartbeats SET beat_at = now() - interval '5 hours' RETURNING 1")
    with transaction(engine) as connection:
        late_at = states.database_time(connection) - timedelta(hours=3)
        inputs.next_to_check(connection, 9)
    late_measurement(engine, key, created_at=late_at)
    look(engine)
    assert row(engine, key).new_inputs == "late_iq"


def test_a_session_of_which_nothing_was_noted_is_noted_and_not_computed_again(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add()
    extract_session(engine, key, settings)
    factory.rows("UPDATE heimdall.feature_states SET inputs_tried = NULL RETURNING 1")
    assert check_inputs(engine, settings) == []
    assert len(row(engine, key).inputs_tried.split()) == 3
