"""The Definitions object that workspace.yaml points at: every asset, job, sensor and schedule by name."""

from dagster import Definitions, in_process_executor

from heimdall_assets.defs.alerts import alerts_sensor
from heimdall_assets.defs.assets import measurement_features, measurements, recording_sessions
from heimdall_assets.defs.checks import asset_checks
from heimdall_assets.defs.jobs import (
    backfill_all_features,
    batch_feature_extraction,
    extract_features,
    extract_sessions,
)
from heimdall_assets.defs.logs import use_json
from heimdall_assets.defs.reports import feature_coverage, receiver_health, training_samples
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.schedules import batch_feature_extraction_schedule
from heimdall_assets.defs.sensors import unfeatured_sessions_sensor
from heimdall_assets.defs.upkeep import reconcile_partitions, reconcile_schedule, retention, retention_schedule
from heimdall_assets.logs import is_json

if is_json():
    use_json()

defs = Definitions(
    assets=[
        recording_sessions,
        measurements,
        measurement_features,
        feature_coverage,
        receiver_health,
        training_samples,
    ],
    asset_checks=asset_checks,
    jobs=[
        extract_features,
        extract_sessions,
        batch_feature_extraction,
        backfill_all_features,
        reconcile_partitions,
        retention,
    ],
    sensors=[unfeatured_sessions_sensor, alerts_sensor],
    schedules=[batch_feature_extraction_schedule, reconcile_schedule, retention_schedule],
    resources={"heimdall": Heimdall()},
    # A run is one step that has threads of its own: a second process would only add seconds to its start.
    executor=in_process_executor,
)
