"""The schedule: every five minutes, everything that is still pending, however old."""

import logging
from functools import partial

from dagster import DagsterInstance, DefaultScheduleStatus, RunRequest, ScheduleEvaluationContext, SkipReason, schedule
from sqlalchemy.engine import Engine

from heimdall_assets.db import pauses, requests, stoppages
from heimdall_assets.db.engine import transaction
from heimdall_assets.defs.apart import done_apart, planning
from heimdall_assets.defs.checks import evaluations
from heimdall_assets.defs.jobs import extract_features
from heimdall_assets.defs.logs import shown_in
from heimdall_assets.defs.planner import plan_tick, run_request
from heimdall_assets.defs.reports import report_events
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.errors import DatabaseUnavailable, SessionBusy, WrongDatabase
from heimdall_assets.extraction import check_inputs
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)


@schedule(
    name="batch_feature_extraction_schedule",
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    job=extract_features,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Catches what the sensor missed: a full comparison of sessions and states, some recordings that were "
    "replaced, then up to max_batches. "
    "Retries are the sensor's: a schedule launches runs of one job only, and those take a list of keys.",
)
def batch_feature_extraction_schedule(
    context: ScheduleEvaluationContext, heimdall: Heimdall
) -> list[RunRequest] | SkipReason:
    """One tick; operators know its log lines from the Celery job."""
    with shown_in(context.log):
        return _tick(context, heimdall)


def _tick(context: ScheduleEvaluationContext, heimdall: Heimdall) -> list[RunRequest] | SkipReason:
    settings = heimdall.settings
    logger.info(
        "Starting batch feature extraction (batch_size=%d, max_batches=%d)",
        settings.batch_size,
        settings.max_batches,
    )
    try:
        with heimdall.engine() as engine:
            with planning(context.instance, heimdall, engine, stoppages.SCHEDULE):
                with transaction(engine) as connection:
                    is_held = pauses.current_pause(connection) is not None
                if not is_held:
                    check_inputs(engine, settings)
                    _ask_for_stale(engine, settings)
                plan = plan_tick(context.instance, engine, settings, since=None, is_schedule=True)
            done_apart(engine, partial(_report, context.instance, heimdall))
    except (DatabaseUnavailable, WrongDatabase, SessionBusy) as error:
        return SkipReason(f"{error.reason}: {error.message}")
    if plan.pause is not None:
        return SkipReason(plan.pause.in_words)
    logger.info("Found %d recordings without features", plan.num_sessions)
    logger.info("Queued %d feature extraction tasks", plan.num_sessions)
    if not plan.batches:
        return SkipReason("another planner is at work" if plan.is_busy else "nothing to plan")
    return [run_request(batch, "schedule") for batch in plan.batches]


def _report(instance: DagsterInstance, heimdall: Heimdall) -> None:
    for report in report_events(heimdall):
        instance.report_runless_asset_event(report)
    for evaluation in evaluations(heimdall, instance):
        instance.report_runless_asset_event(evaluation)


def _ask_for_stale(engine: Engine, settings: Settings) -> None:
    """Ask for some stale sessions, as a person would: the sensor plans them after everything else."""
    with transaction(engine) as connection:
        asked = requests.ask_for_stale(connection, settings.recompute_stale_per_tick, feature_version=FEATURE_VERSION)
    if asked:
        logger.info("asked for %d sessions whose features are stale", asked)
