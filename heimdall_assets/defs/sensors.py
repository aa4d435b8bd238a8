"""The sensor: new sessions become runs within seconds, and what died is picked up again."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from dagster import (
    AssetMaterialization,
    DagsterInstance,
    DefaultSensorStatus,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from sqlalchemy.engine import Connection

from heimdall_assets.db.coverage import last_attempt_finished
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.states import database_time
from heimdall_assets.defs.assets import coverage_event
from heimdall_assets.defs.jobs import extract_features, extract_sessions
from heimdall_assets.defs.logs import shown_in
from heimdall_assets.defs.planner import Cursor, Plan, plan_tick, run_request
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.runs import fail_dead_runs, has_open_runs
from heimdall_assets.errors import DatabaseError

logger = logging.getLogger(__name__)

JOB_NAMES = (extract_features.name, extract_sessions.name)

OVERLAP = timedelta(minutes=10)
"""Discovery looks this far behind the last tick: a session's time stamp is older than its transaction's end."""

COVERAGE_INTERVAL = timedelta(seconds=60)


@sensor(
    name="unfeatured_sessions_sensor",
    jobs=[extract_features, extract_sessions],
    minimum_interval_seconds=10,
    default_status=DefaultSensorStatus.RUNNING,
    description="Plans runs for completed sessions that have no features yet; fresh ones first, with a share for "
    "the oldest; picks up what dead workers left, and retries what is due.",
)
def unfeatured_sessions_sensor(context: SensorEvaluationContext, heimdall: Heimdall) -> SensorResult | SkipReason:
    """One tick; a database that is away is a reason to skip, not to fail."""
    with shown_in(context.log):
        return _tick(context, heimdall)


def _tick(context: SensorEvaluationContext, heimdall: Heimdall) -> SensorResult | SkipReason:
    cursor = Cursor.parse(context.cursor)
    try:
        with heimdall.engine() as engine:
            with transaction(engine) as connection:
                now = database_time(connection)
                lockless = fail_dead_runs(context.instance, connection, JOB_NAMES, cursor.lockless_runs)
            since = cursor.discovered_until - OVERLAP if cursor.discovered_until else None
            plan = plan_tick(context.instance, engine, heimdall.settings, since=since, is_schedule=False)
            with transaction(engine) as connection:
                cursor = replace(cursor, lockless_runs=lockless)
                if not plan.is_busy:
                    cursor = replace(cursor, discovered_until=now)
                cursor, is_coverage_due = _coverage_due(context.instance, connection, cursor, plan, now)
            events = [coverage_event(heimdall)] if is_coverage_due else []
    except DatabaseError as error:
        return SkipReason(f"{error.reason}: {error.message}")
    return _result(plan, cursor, events)


def _result(plan: Plan, cursor: Cursor, events: list[AssetMaterialization]) -> SensorResult:
    if plan.batches:
        logger.info("planned %d sessions in %d batches", plan.num_sessions, len(plan.batches))
        return SensorResult(
            run_requests=[run_request(batch, "sensor") for batch in plan.batches],
            cursor=cursor.text(),
            asset_events=events,
        )
    reason = "another planner is at work" if plan.is_busy else f"nothing to plan; {plan.in_flight} batches in flight"
    return SensorResult(skip_reason=SkipReason(reason), cursor=cursor.text(), asset_events=events)


def _coverage_due(
    instance: DagsterInstance, connection: Connection, cursor: Cursor, plan: Plan, now: datetime
) -> tuple[Cursor, bool]:
    """Coverage is reported where it changed: at once when the work is done, else at most once a minute."""
    last_change = last_attempt_finished(connection)
    if last_change is None or (cursor.coverage_until is not None and last_change <= cursor.coverage_until):
        return cursor, False
    is_idle = not plan.batches and not has_open_runs(instance, JOB_NAMES)
    if cursor.coverage_at is None:
        # The first report waits for the first work to end, a minute at most.
        if not is_idle and now - last_change < COVERAGE_INTERVAL:
            return cursor, False
    elif now - cursor.coverage_at < COVERAGE_INTERVAL:
        return cursor, False
    return replace(cursor, coverage_until=last_change, coverage_at=now), True
