"""The code location as Dagster loads it: every name, every description, and the files that point at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from dagster import (
    AssetKey,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    DynamicPartitionsDefinition,
    ScheduleDefinition,
    TableSchema,
)

from heimdall_assets import definitions, embedded, services
from heimdall_assets.db import tables
from heimdall_assets.definitions import defs
from heimdall_assets.dsp import FEATURES

if TYPE_CHECKING:
    from dagster import AssetSpec

SPECS: dict[str, AssetSpec] = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_definitions_can_be_loaded() -> None:
    Definitions.validate_loadable(defs)


def test_the_assets_are_those_of_the_contract() -> None:
    reports = {"feature_coverage", "receiver_health", "training_samples"}
    assert set(SPECS) == {"recording_sessions", "measurements", "measurement_features"} | reports
    graph = defs.resolve_asset_graph()
    external = {key.to_user_string() for key in graph.external_asset_keys}
    assert external == {"recording_sessions", "measurements"}


def test_the_jobs_are_those_of_the_contract() -> None:
    names = {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert names == {
        "extract_features",
        "extract_sessions",
        "batch_feature_extraction",
        "backfill_all_features",
        "reconcile_partitions",
        "retention",
    }
    assert all(defs.resolve_job_def(name).description for name in names)


def test_the_lineage_leads_from_heimdalls_tables_to_the_reports() -> None:
    parents = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in SPECS.items()}
    assert parents == {
        "recording_sessions": set(),
        "measurements": set(),
        "measurement_features": {"recording_sessions", "measurements"},
        "feature_coverage": {"measurement_features"},
        "receiver_health": {"feature_coverage"},
        "training_samples": {"feature_coverage"},
    }


def test_sessions_and_features_share_the_partitions_and_the_others_have_none() -> None:
    partitions = {name: spec.partitions_def for name, spec in SPECS.items()}
    assert partitions["recording_sessions"] == DynamicPartitionsDefinition(name="recording_sessions")
    assert partitions["measurement_features"] == partitions["recording_sessions"]
    partitioned = {name for name, definition in partitions.items() if definition is not None}
    assert partitioned == {"recording_sessions", "measurement_features"}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_asset_says_what_it_is_whose_and_of_which_kind(name: str) -> None:
    spec = SPECS[name]
    assert spec.description
    assert spec.owners == ["team:heimdall"]
    assert "postgres" in spec.kinds
    assert spec.group_name
    assert spec.group_name != "default"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("recording_sessions", tables.recording_sessions),
        ("measurements", tables.measurements),
        ("measurement_features", tables.measurement_features),
    ],
)
def test_an_asset_that_is_a_table_names_it_and_its_columns(name: str, table: Any) -> None:
    metadata = SPECS[name].metadata
    assert metadata["dagster/table_name"] == f"heimdall.{table.name}"
    schema = metadata["dagster/column_schema"]
    schema = getattr(schema, "value", schema)
    assert isinstance(schema, TableSchema)
    assert [column.name for column in schema.columns] == [column.name for column in table.columns]
    assert all(column.type for column in schema.columns)


def test_every_check_says_what_it_claims_and_blocks_nothing_and_batches_never_run_one() -> None:
    specs = [spec for check in defs.asset_checks or () for spec in check.check_specs]
    assert {(spec.asset_key.to_user_string(), spec.name) for spec in specs} == {
        ("feature_coverage", "coverage_is_high"),
        ("feature_coverage", "pending_is_young"),
        ("feature_coverage", "planning_goes_on"),
        ("feature_coverage", "partitions_agree"),
        ("receiver_health", "no_receiver_is_quiet"),
        ("receiver_health", "beacons_are_on_frequency"),
        ("training_samples", "samples_are_whole"),
    }
    assert all(spec.description for spec in specs)
    assert not any(spec.blocking for spec in specs)


def test_the_features_description_lists_every_feature_with_its_unit() -> None:
    description = SPECS["measurement_features"].description or ""
    for feature in FEATURES:
        assert f"| {feature.name} | {feature.unit or '-'} |" in description


def test_the_sensor_is_on_by_default_every_10_seconds_and_launches_all_that_is_asked_for() -> None:
    sensor = defs.resolve_sensor_def("unfeatured_sessions_sensor")
    assert sensor.minimum_interval_seconds == 10
    assert sensor.default_status == DefaultSensorStatus.RUNNING
    assert {job.name for job in sensor.jobs} == {"extract_features", "extract_sessions", "reconcile_partitions"}
    assert sensor.description


def test_the_sensor_of_alerts_is_on_by_default_once_a_minute_and_launches_nothing() -> None:
    sensor = defs.resolve_sensor_def("alerts_sensor")
    assert (sensor.minimum_interval_seconds, sensor.default_status) == (60, DefaultSensorStatus.RUNNING)
    assert not sensor.has_jobs
    assert len(list(defs.sensors or ())) == 2


def test_the_schedule_is_on_by_default_every_five_minutes_utc() -> None:
    schedule, *daily = defs.schedules or ()
    assert isinstance(schedule, ScheduleDefinition)
    assert schedule.name == "batch_feature_extraction_schedule"
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("*/5 * * * *", "UTC")
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "extract_features"
    assert schedule.description
    assert [(each.name, each.job_name) for each in daily if isinstance(each, ScheduleDefinition)] == [
        ("reconcile_schedule", "reconcile_partitions"),
        ("retention_schedule", "retention"),
    ]


@pytest.mark.parametrize("name", ["reconcile_schedule", "retention_schedule"])
def test_the_daily_schedules_are_on_by_default_and_their_runs_leave_the_fresh_slot_alone(name: str) -> None:
    schedule = defs.resolve_schedule_def(name)
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    assert schedule.execution_timezone == "UTC"
    assert str(schedule.cron_schedule).endswith("3 * * *")
    assert defs.resolve_job_def(schedule.job_name).tags["heimdall/slot"] == "shared"


def test_a_backfill_makes_runs_of_the_batch_size() -> None:
    policy = defs.resolve_asset_graph().get(AssetKey("measurement_features")).backfill_policy
    assert policy is not None
    assert policy.max_partitions_per_run == 50


def test_the_workspace_points_at_this_module() -> None:
    workspace = yaml.safe_load(embedded.project_file("workspace.yaml").read_text())
    ((entry,),) = [workspace["load_from"]]
    assert entry["python_module"] == {"module_name": definitions.__name__, "location_name": "heimdall_assets"}
    assert entry["python_module"] == {"module_name": services.DEFINITIONS, "location_name": services.LOCATION}


def test_dagsters_settings_fail_a_batch_once_and_keep_a_slot_for_fresh_work() -> None:
    settings = yaml.safe_load(embedded.project_file("dagster.yaml").read_text())
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False
    queue = settings["run_coordinator"]["config"]
    limits = {limit["key"]: limit["limit"] for limit in queue["tag_concurrency_limits"]}
    assert limits["heimdall/slot"] < queue["max_concurrent_runs"]
    assert settings["telemetry"]["enabled"] is False
