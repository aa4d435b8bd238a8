"""Dagster shows what PostgreSQL holds: on a real instance, whatever crashed, and whoever wrote the features."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, SensorResult, build_sensor_context
from dagster._core.storage.event_log import SqlEventLogStorage

from heimdall_assets.cli.session import session_document
from heimdall_assets.db import coverage, discovery, partitions, receivers, reconciliations, requests, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import run_lock
from heimdall_assets.db.progress import progress
from heimdall_assets.db.requests import Selection
from heimdall_assets.defs.planner import plan_tick, run_request
from heimdall_assets.defs.reconciliation import Reconciled, reconcile, report
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.sensors import unfeatured_sessions_sensor
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION, UNCALIBRATED_DB
from heimdall_assets_tests.defs.test_assets import add_foreign_row
from heimdall_assets_tests.factory import FIRST_START, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import pytest
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory


def texts(session_ids: Sequence[UUID]) -> list[str]:
    return [str(session_id) for session_id in session_ids]


def windowed(settings: Settings, window: int) -> Settings:
    return settings.model_copy(update={"partition_window": window})


def keys_of(dagster: Dagster) -> set[str]:
    """The keys that Dagster has."""
    return set(dagster.instance.get_dynamic_partitions("recording_sessions"))


def run_all(dagster: Dagster, engine: Engine, settings: Settings) -> None:
    """Plan what waits, and run it in this process."""
    for batch in plan_tick(dagster.instance, engine, settings, since=None, is_schedule=False).batches:
        request = run_request(batch, "sensor")
        assert request.job_name is not None
        dagster.run(request.job_name, tags=request.tags, run_config=request.run_config)


# --- features that Dagster was not told of


def test_what_a_run_reports_is_noted_and_reconciliation_finds_nothing_to_do(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.add_many(4)
    run_all(dagster, engine, settings)
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_states WHERE reported_at IS NOT NULL") == 4
    assert reconcile(dagster.instance, engine, settings) == Reconciled(reported=0, removed=0, retired=0)
    assert len(dagster.materializations()) == 4


def test_rows_of_other_code_show_as_materialized_with_their_figures(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3)
    for key in ids:
        add_foreign_row(factory, key, mean_snr_db=7.5)
    assert reconcile(dagster.instance, engine, settings).reported == 3
    assert dagster.colours(texts(ids)) == ["MATERIALIZED"] * 3
    assert {event.metadata["mean_snr_db"].value for event in dagster.materializations()} == {7.5}
    assert reconcile(dagster.instance, engine, settings).reported == 0
    assert len(dagster.materializations()) == 3


def test_features_that_other_code_writes_over_ours_are_reported_again(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    (key,) = factory.add_many(1)
    run_all(dagster, engine, settings)
    factory.rows("DELETE FROM heimdall.measurement_features RETURNING 1")
    add_foreign_row(factory, key)
    assert reconcile(dagster.instance, engine, settings).reported == 1


def test_a_session_stored_by_a_run_that_died_before_it_reported_is_reported_and_one_of_a_live_run_is_not(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    dead, alive = factory.add_many(2)
    keys = dagster.register([dead, alive])
    extract_session(engine, dead, settings, run_id="dead")
    extract_session(engine, alive, settings, run_id="alive")
    with run_lock(engine, "alive"):
        assert report(dagster.instance, engine, settings, limit=10) == 1
        assert dagster.colours(keys) == ["MATERIALIZED", None]
    assert report(dagster.instance, engine, settings, limit=10) == 1
    assert dagster.colours(keys) == ["MATERIALIZED"] * 2


def test_a_recomputation_that_was_not_reported_is_found_although_the_one_before_was(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    (key,) = factory.add_many(1)
    run_all(dagster, engine, settings)
    assert extract_session(engine, key, settings, run_id="dead", recompute=True).computed
    assert report(dagster.instance, engine, settings, limit=10) == 1


def test_keys_that_dagster_lost_and_partitions_that_it_shows_red_or_missing_come_back(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3)
    run_all(dagster, engine, settings)
    keys = texts(ids)
    dagster.instance.delete_dynamic_partition("recording_sessions", keys[0])
    # A run over two that are done was killed: Dagster shows them red.
    run = dagster.run_range([keys[2], keys[1]])
    dagster.instance.delete_run(run.run_id)
    red = dagster.add_run(DagsterRunStatus.STARTED)
    dagster.plan_materialization(red, keys[1])
    dagster.instance.report_run_failed(red)
    assert dagster.colours(keys[1:]) == ["FAILED", "MATERIALIZED"]
    assert reconcile(dagster.instance, engine, settings).reported == 2
    assert keys_of(dagster) == set(keys)
    assert dagster.colours(keys) == ["MATERIALIZED"] * 3


def test_a_failed_session_stays_red(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    (key,) = factory.add_many(1, ("truncated.npy",))
    run_all(dagster, engine, settings)
    assert reconcile(dagster.instance, engine, settings) == Reconciled(0, 0, 0)
    assert dagster.colours([str(key)]) == ["FAILED"]


# --- sessions that vanished


def test_partitions_of_deleted_and_reopened_sessions_and_of_nobody_are_removed(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    deleted, reopened, kept = factory.add_many(3)
    run_all(dagster, engine, settings)
    dagster.instance.add_dynamic_partitions("recording_sessions", [str(uuid.uuid4()), "nobody's"])
    factory.rows("DELETE FROM heimdall.recording_sessions WHERE id = :id RETURNING 1", id=deleted)
    factory.rows(
        "UPDATE heimdall.recording_sessions SET status = 'in_progress' WHERE id = :id RETURNING 1", id=reopened
    )
    assert reconcile(dagster.instance, engine, settings).removed == 4
    assert keys_of(dagster) == {str(kept)}
    assert factory.rows("SELECT recording_session_id FROM heimdall.feature_states") == [(kept,)]


def test_a_session_that_was_forgotten_while_it_waited_loses_its_partition_and_gets_one_when_it_comes_back(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    (key,) = factory.add_many(1)
    plan_tick(dagster.instance, engine, settings, since=None, is_schedule=False)
    factory.rows("UPDATE heimdall.recording_sessions SET status = 'recording' RETURNING 1")
    assert extract_session(engine, key, settings).reason == "not_completed"
    with transaction(engine) as connection:
        assert partitions.differences(connection, window=9)["vanished"] == 1
    assert reconcile(dagster.instance, engine, settings).removed == 1
    assert keys_of(dagster) == set()
    with transaction(engine) as connection:
        assert partitions.differences(connection, window=9)["vanished"] == 0
    factory.rows("UPDATE heimdall.recording_sessions SET status = 'completed' RETURNING 1")
    run_all(dagster, engine, settings)
    assert dagster.colours([str(key)]) == ["MATERIALIZED"]


def test_no_key_of_a_queued_range_is_removed_or_retired_until_its_run_has_ended(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(4)
    run_all(dagster, engine, settings)
    keys = dagster.instance.get_dynamic_partitions("recording_sessions")
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    run = dagster.add_run(DagsterRunStatus.QUEUED, tags=tags)
    factory.rows("DELETE FROM heimdall.recording_sessions WHERE id = :id RETURNING 1", id=ids[1])
    assert reconcile(dagster.instance, engine, windowed(settings, 1)) == Reconciled(0, 0, 0)
    assert keys_of(dagster) == set(keys)
    dagster.instance.report_run_canceled(run)
    assert reconcile(dagster.instance, engine, windowed(settings, 1)) == Reconciled(0, removed=1, retired=2)
    assert keys_of(dagster) == {str(ids[3])}


# --- the window


def test_the_newest_with_features_and_all_without_keep_their_keys_and_the_others_are_retired(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    old = factory.add_many(5)
    broken = factory.add(("truncated.npy",), minutes=-50)
    run_all(dagster, engine, settings)
    assert reconcile(dagster.instance, engine, windowed(settings, 2)).retired == 3
    assert keys_of(dagster) == {str(broken), *texts(old[3:])}
    assert reconcile(dagster.instance, engine, windowed(settings, 2)) == Reconciled(0, 0, 0)


def test_old_rows_of_other_code_are_retired_without_ever_having_had_a_key(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(6)
    for key in ids:
        add_foreign_row(factory, key)
    assert reconcile(dagster.instance, engine, windowed(settings, 2)) == Reconciled(2, 0, 4)
    assert keys_of(dagster) == set(texts(ids[4:]))
    assert len(dagster.materializations()) == 2


def test_retired_sessions_are_in_stats_and_show_as_before(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(4)
    run_all(dagster, engine, settings)
    with transaction(engine) as connection:
        before = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
        shown = session_document(connection, ids[0], 1000.0)
    assert reconcile(dagster.instance, engine, windowed(settings, 1)).retired == 3
    with transaction(engine) as connection:
        assert coverage.coverage_figures(connection, feature_version=FEATURE_VERSION) == before
        after = session_document(connection, ids[0], 1000.0)
    assert before["recordings_with_features"] == 4
    assert {**after, "state_row": None} == {**shown, "state_row": None}
    assert after["state_row"]["retired_at"] is not None


def test_a_retired_session_that_is_asked_for_again_gets_a_key_like_a_new_one(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3)
    run_all(dagster, engine, settings)
    assert reconcile(dagster.instance, engine, windowed(settings, 1)).retired == 2
    with transaction(engine) as connection:
        receivers.set_settings(connection, "RX1", FIRST_START, calibration_db=1.0)
        receivers.set_settings(connection, "RX1", FIRST_START + timedelta(minutes=2), calibration_db=UNCALIBRATED_DB)
        requests.submit(connection, Selection(stale=True), requested_by="a test")
    (batch,) = plan_tick(dagster.instance, engine, settings, since=None, is_schedule=False).batches
    assert (batch.lane, batch.is_contiguous, batch.session_ids) == ("request", True, (ids[1], ids[0]))
    assert keys_of(dagster) == set(texts(ids))
    request = run_request(batch, "sensor")
    assert dagster.run("extract_features", tags=request.tags, run_config=request.run_config).success
    assert dagster.colours(texts(ids)) == ["MATERIALIZED"] * 3
    with transaction(engine) as connection:
        figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
    assert figures["recordings_stale"] == 0
    assert reconcile(dagster.instance, engine, windowed(settings, 1)).retired == 2  # old as they are


def test_a_key_that_a_crash_left_of_a_retired_session_is_removed(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(2)
    run_all(dagster, engine, settings)
    with transaction(engine) as connection:
        assert partitions.retire(connection, window=1, limit=10, used=[]) == [(ids[0], True)]
    assert keys_of(dagster) == set(texts(ids))
    assert reconcile(dagster.instance, engine, windowed(settings, 1)) == Reconciled(0, 1, 0)
    assert keys_of(dagster) == {str(ids[1])}


def test_one_statement_removes_keys_as_dagsters_own_call_does_one_by_one(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3)
    run_all(dagster, engine, settings)
    assert isinstance(dagster.instance.event_log_storage, SqlEventLogStorage)  # else it is the slow way that is tried
    dagster.instance.add_dynamic_partitions("other_partitions", texts(ids))
    assert dagster.colours(texts(ids)) == ["MATERIALIZED"] * 3  # Dagster has looked, and keeps what it saw
    assert reconcile(dagster.instance, engine, windowed(settings, 1)).retired == 2
    assert dagster.instance.get_dynamic_partitions("other_partitions") == texts(ids)
    assert dagster.colours(texts(ids)) == [None, None, "MATERIALIZED"]


def test_what_is_planned_is_not_retired(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3)
    run_all(dagster, engine, settings)
    with transaction(engine) as connection:
        work.reserve(connection, "request-1", [ids[0]])
    assert reconcile(dagster.instance, engine, windowed(settings, 1)).retired == 1
    assert keys_of(dagster) == {str(ids[0]), str(ids[2])}


# --- the sensor, and the request


def evaluate(dagster: Dagster) -> SensorResult:
    """One evaluation of the sensor."""
    with build_sensor_context(instance=dagster.instance, resources={"heimdall": Heimdall()}) as context:
        answer = unfeatured_sessions_sensor(context)
    assert isinstance(answer, SensorResult), answer
    return answer


def test_an_idle_tick_shows_what_other_code_wrote(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(2)
    for key in ids:
        add_foreign_row(factory, key)
    assert not evaluate(dagster).run_requests
    assert dagster.colours(texts(ids)) == ["MATERIALIZED"] * 2


def test_a_tick_reports_no_more_than_its_share(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heimdall_assets.defs.sensors.REPORTS_A_TICK", 2)
    for key in factory.add_many(3):
        add_foreign_row(factory, key)
    evaluate(dagster)
    assert len(dagster.materializations()) == 2
    evaluate(dagster)
    assert len(dagster.materializations()) == 3


def test_sessions_that_were_done_before_a_run_over_them_died_turn_green_again_and_failed_ones_stay_red(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    done, broken = factory.add(), factory.add((TRUNCATED,))
    run_all(dagster, engine, settings)
    keys = texts([done, broken])
    killed = dagster.add_run(DagsterRunStatus.STARTED)
    for key in keys:
        dagster.plan_materialization(killed, key)
    dagster.instance.report_run_failed(killed)
    assert dagster.colours(keys) == ["FAILED", "FAILED"]
    evaluate(dagster)
    assert dagster.colours(keys) == ["MATERIALIZED", "FAILED"]
    told = len(dagster.materializations())
    evaluate(dagster)
    assert len(dagster.materializations()) == told


def test_a_tick_that_launches_runs_reports_some_all_the_same(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heimdall_assets.defs.sensors.REPORTS_A_BUSY_TICK", 1)
    for key in factory.add_many(2):
        add_foreign_row(factory, key)
    factory.add(minutes=10)
    assert evaluate(dagster).run_requests
    assert len(dagster.materializations()) == 1


def test_a_request_becomes_one_run_that_answers_all_that_were_made_before_it_began(
    dagster: Dagster, engine: Engine, factory: SessionFactory
) -> None:
    (key,) = factory.add_many(1)
    add_foreign_row(factory, key)
    with transaction(engine) as connection:
        first = reconciliations.submit(connection, requested_by="a test")
        second = reconciliations.submit(connection, requested_by="another")
    (request,) = evaluate(dagster).run_requests or ()
    assert (request.job_name, request.tags["heimdall/origin"]) == ("reconcile_partitions", str(first))
    assert not evaluate(dagster).run_requests  # it is on its way
    with transaction(engine) as connection:
        assert progress(connection, first).status == "running"
    assert dagster.run("reconcile_partitions", tags=request.tags).success
    assert dagster.colours([str(key)]) == ["MATERIALIZED"]
    with transaction(engine) as connection:
        assert {progress(connection, each).status for each in (first, second)} == {"done"}
    assert not evaluate(dagster).run_requests


def test_a_reconciliation_that_died_is_started_again_and_given_up_in_the_end(
    dagster: Dagster, engine: Engine, factory: SessionFactory
) -> None:
    with transaction(engine) as connection:
        request_id = reconciliations.submit(connection, requested_by="a test")
    keys = set()
    for _ in range(reconciliations.MOST_RUNS):
        (request,) = evaluate(dagster).run_requests or ()
        keys.add(request.run_key)
        dagster.add_run(DagsterRunStatus.FAILURE, "reconcile_partitions", tags=request.tags)
        factory.rows("UPDATE heimdall.feature_requests SET started_at = now() - interval '10 minutes' RETURNING 1")
    assert len(keys) == reconciliations.MOST_RUNS  # a run key seen before is suppressed
    assert not evaluate(dagster).run_requests
    with transaction(engine) as connection:
        assert progress(connection, request_id).status == "cancelled"


def test_while_one_reconciles_no_other_run_is_launched(dagster: Dagster, engine: Engine) -> None:
    run = dagster.add_run(DagsterRunStatus.QUEUED, "reconcile_partitions")
    with transaction(engine) as connection:
        reconciliations.submit(connection, requested_by="a test")
    assert not evaluate(dagster).run_requests
    dagster.instance.report_run_canceled(run)
    assert len(evaluate(dagster).run_requests or ()) == 1


def test_a_request_to_reconcile_is_no_selection_of_sessions(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    with transaction(engine) as connection:
        discovery.discover(connection)
        request_id = reconciliations.submit(connection, requested_by="a test")
    assert plan_tick(dagster.instance, engine, settings, since=None, is_schedule=False).batches == []
    with transaction(engine) as connection:
        assert progress(connection, request_id).status == "queued"
