"""What Dagster forgets, and what it must not: by what it shows before and after, on its real tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from dagster import AssetKey, DagsterRunStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.defs.checks import CHECKS, evaluations
from heimdall_assets.defs.reports import report_events
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.retention import REPOSITORY_LABEL, Forgotten, forget_old
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.factory import TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

OURS = {".dagster/repository": REPOSITORY_LABEL}
REPORTS = [AssetKey(name) for name in ("feature_coverage", "receiver_health", "training_samples")]


@pytest.fixture
def log(dagster: Dagster) -> Iterator[Engine]:
    """Dagster's database."""
    engine = open_engine(dagster_url(current_settings()), pool_size=1)
    yield engine
    engine.dispose()


def age(log: Engine, *, days: int = 40) -> None:
    """Everything in Dagster's database happened so long ago."""
    with transaction(log) as connection:
        for statement in (
            "UPDATE event_logs SET timestamp = timestamp - make_interval(days => :days)",
            """UPDATE asset_check_executions
               SET evaluation_event_timestamp = evaluation_event_timestamp - make_interval(days => :days)""",
            "UPDATE runs SET update_timestamp = update_timestamp - make_interval(days => :days)",
        ):
            connection.execute(sa.text(statement), {"days": days})


def run(dagster: Dagster, keys: list[str], **config: bool) -> str:
    """A run of the code location over a range; its id."""
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1], **OURS}
    result = dagster.run(
        "extract_features", tags=tags, run_config={"ops": {"measurement_features": {"config": config}}}
    )
    return result.run_id


def report(dagster: Dagster) -> None:
    """What the schedule reports at each tick."""
    for event in report_events(Heimdall()):
        dagster.instance.report_runless_asset_event(event)


def runs(dagster: Dagster) -> set[str]:
    """The runs that Dagster knows."""
    return set(dagster.instance.get_run_ids())


def test_the_run_that_made_a_partition_green_or_red_is_kept_and_those_before_it_are_forgotten(
    dagster: Dagster, factory: SessionFactory, log: Engine
) -> None:
    ids = factory.add_many(3)
    factory.replace_file(ids[1], TRUNCATED)
    keys = dagster.register(ids)
    first, second, third = (run(dagster, keys) for _ in range(3))
    partial = run(dagster, keys[:1])
    colours = dagster.colours(keys)
    assert colours == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    assert forget_old(dagster.instance, log, days=30) == Forgotten(0, 0)  # all of it is young
    age(log)
    assert forget_old(dagster.instance, log, days=30) == Forgotten(2, 0)
    assert runs(dagster) == {third, partial}
    dagster.instance.wipe_asset_cached_status([AssetKey("measurement_features")])
    assert dagster.colours(keys) == colours
    assert dagster.instance.all_logs(first) == dagster.instance.all_logs(second) == []
    assert forget_old(dagster.instance, log, days=30) == Forgotten(0, 0)


def test_the_runs_of_retired_partitions_are_forgotten_when_all_of_them_are(
    dagster: Dagster, factory: SessionFactory, log: Engine
) -> None:
    keys = dagster.register(factory.add_many(2))
    run(dagster, keys)
    age(log)
    dagster.instance.delete_dynamic_partition("recording_sessions", keys[0])
    assert forget_old(dagster.instance, log, days=30).runs == 0
    dagster.instance.delete_dynamic_partition("recording_sessions", keys[1])
    assert forget_old(dagster.instance, log, days=30).runs == 1
    assert runs(dagster) == set()
    with transaction(log) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM event_logs")) == 0


def test_a_partition_that_failed_after_it_was_green_keeps_both_runs(
    dagster: Dagster, factory: SessionFactory, log: Engine
) -> None:
    (key,) = dagster.register(factory.add_many(1))
    green = run(dagster, [key])
    red = dagster.add_run(DagsterRunStatus.STARTED, tags=OURS)
    dagster.plan_materialization(red, key)
    dagster.instance.report_run_failed(red)
    age(log)
    assert forget_old(dagster.instance, log, days=30).runs == 0
    assert runs(dagster) == {green, red.run_id}


def test_runs_that_have_not_ended_and_runs_of_other_code_locations_are_left_alone(
    dagster: Dagster, log: Engine
) -> None:
    kept = {
        dagster.add_run(DagsterRunStatus.QUEUED, tags=OURS).run_id,
        dagster.add_run(DagsterRunStatus.STARTED, tags=OURS).run_id,
        dagster.add_run(DagsterRunStatus.SUCCESS, tags={".dagster/repository": "__repository__@others"}).run_id,
    }
    dagster.add_run(DagsterRunStatus.SUCCESS, "batch_feature_extraction", tags=OURS)
    age(log)
    assert forget_old(dagster.instance, log, days=30).runs == 1
    assert runs(dagster) == kept


def test_of_reports_without_a_run_the_latest_and_the_young_ones_are_kept(
    dagster: Dagster, factory: SessionFactory, log: Engine
) -> None:
    factory.add()
    for _ in range(3):
        report(dagster)
    age(log)
    assert forget_old(dagster.instance, log, days=30) == Forgotten(0, 2 * len(REPORTS))
    assert [len(dagster.materializations(key)) for key in REPORTS] == [1] * len(REPORTS)
    for _ in range(2):
        report(dagster)
    # the old ones, now that there are others
    assert forget_old(dagster.instance, log, days=30) == Forgotten(0, len(REPORTS))
    assert [len(dagster.materializations(key)) for key in REPORTS] == [2] * len(REPORTS)


def test_of_evaluations_of_checks_without_a_run_the_latest_and_the_young_ones_are_kept(
    dagster: Dagster, log: Engine
) -> None:
    def evaluate() -> None:
        for event in evaluations(Heimdall(), dagster.instance):
            dagster.instance.report_runless_asset_event(event)

    def kept() -> list[int]:
        with transaction(log) as connection:
            return [
                connection.execute(sa.text(query)).scalar_one()
                for query in (
                    "SELECT count(*) FROM asset_check_executions",
                    "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_CHECK_EVALUATION'",
                )
            ]

    for _ in range(3):
        evaluate()
    age(log)
    assert forget_old(dagster.instance, log, days=30) == Forgotten(0, 2 * len(CHECKS))
    assert kept() == [len(CHECKS)] * 2
    evaluate()
    assert forget_old(dagster.instance, log, days=30) == Forgotten(0, len(CHECKS))
    assert kept() == [len(CHECKS)] * 2
    latest = dagster.instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECKS[0].key])
    assert latest[CHECKS[0].key].status == AssetCheckExecutionRecordStatus.SUCCEEDED


def test_no_more_runs_are_deleted_than_a_day_is_worth(
    dagster: Dagster, log: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heimdall_assets.defs.retention.MOST_RUNS", 2)
    monkeypatch.setattr("heimdall_assets.defs.retention.CHUNK", 1)
    for _ in range(3):
        dagster.add_run(DagsterRunStatus.SUCCESS, tags=OURS)
    age(log)
    assert [forget_old(dagster.instance, log, days=30).runs for _ in range(3)] == [2, 1, 0]


def test_the_job_forgets_by_the_setting_and_says_how_much(
    dagster: Dagster, factory: SessionFactory, log: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = dagster.add_run(DagsterRunStatus.SUCCESS, tags=OURS)
    age(log, days=9)
    assert dagster.run("retention").success
    assert old.run_id in runs(dagster)
    monkeypatch.setenv("HEIMDALL_RETENTION_DAYS", "8")
    current_settings.cache_clear()
    result = dagster.run("retention")
    assert result.success
    assert old.run_id not in runs(dagster)
    lines = [entry.user_message for entry in dagster.instance.all_logs(result.run_id) if not entry.is_dagster_event]
    assert lines == ["1 runs and 0 events without a run deleted"]
