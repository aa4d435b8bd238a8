"""The sensor: new sessions become runs within seconds, and what died is picked up again."""

import logging
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    AssetObservation,
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from sqlalchemy.engine import Connection, Engine

from heimdall_assets.db import reconciliations
from heimdall_assets.db.coverage import last_attempt_finished
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.db.states import database_time
from heimdall_assets.defs.checks import evaluations
from heimdall_assets.defs.jobs import extract_features, extract_sessions
from heimdall_assets.defs.logs import shown_in
from heimdall_assets.defs.planner import LAUNCH_GRACE, Cursor, Plan, plan_tick, run_request
from heimdall_assets.defs.reconciliation import doubt_failed_runs, report
from heimdall_assets.defs.reports import report_events
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.runs import fail_dead_runs, has_open_runs
from heimdall_assets.defs.tags import ORIGIN_TAG
from heimdall_assets.defs.upkeep import reconcile_partitions, retention
from heimdall_assets.errors import DatabaseError

logger = logging.getLogger(__name__)

Event = AssetMaterialization | AssetCheckEvaluation | AssetObservation
"""What a tick may report."""

JOB_NAMES = (extract_features.name, extract_sessions.name)
LOCKED_JOB_NAMES = (*JOB_NAMES, reconcile_partitions.name, retention.name)

OVERLAP = timedelta(minutes=10)
"""Discovery looks this far behind the last tick: a session's time stamp is older than its transaction's end."""

COVERAGE_INTERVAL = timedelta(seconds=60)

REPORTS_A_TICK = 50
"""Sessions that a tick without other work shows as materialized; half a second's worth. The daily job has no limit."""
REPORTS_A_BUSY_TICK = 10
"""The same of a tick that has runs to launch, since where sessions arrive all the time every tick has."""

FAILED_OVERLAP = timedelta(seconds=60)
"""Failed runs are looked for so far behind the last tick: whoever ended one has a clock of its own."""


@sensor(
    name="unfeatured_sessions_sensor",
    jobs=[extract_features, extract_sessions, reconcile_partitions],
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
                lockless = fail_dead_runs(context.instance, connection, LOCKED_JOB_NAMES, cursor.lockless_runs)
            looked_at = cursor.discovered_until
            since = looked_at - OVERLAP if looked_at else None
            plan = plan_tick(context.instance, engine, heimdall.settings, since=since, is_schedule=False)
            with transaction(engine) as connection:
                cursor = replace(cursor, lockless_runs=lockless)
                if not plan.is_busy:
                    cursor = replace(cursor, discovered_until=now)
                cursor, due = _report_due(context.instance, connection, cursor, plan, now)
            events: list[Event] = [*report_events(heimdall, is_whole=due == "whole")] if due else []
            if due == "whole":
                events += evaluations(heimdall, context.instance)
            upkeep = [] if plan.is_busy else _reconciliation_asked(context.instance, engine)
            if not plan.is_busy:
                doubt_failed_runs(context.instance, engine, since=(looked_at or now) - FAILED_OVERLAP)
                limit = REPORTS_A_BUSY_TICK if plan.batches else REPORTS_A_TICK
                report(context.instance, engine, heimdall.settings, limit=limit)
    except DatabaseError as error:
        return SkipReason(f"{error.reason}: {error.message}")
    return _result(plan, cursor, events, upkeep)


def _reconciliation_asked(instance: DagsterInstance, engine: Engine) -> list[RunRequest]:
    """The run that somebody waits for with ``heimdall reconcile``, unless one is under way that will answer."""
    if has_open_runs(instance, [reconcile_partitions.name]):
        return []
    with planner_lock(engine) as connection:
        request_id = None if connection is None else reconciliations.take_up(connection, patience=LAUNCH_GRACE)
    if request_id is None:
        return []
    tags = {ORIGIN_TAG: str(request_id)}
    return [RunRequest(run_key=f"reconcile-{uuid.uuid4()}", job_name=reconcile_partitions.name, tags=tags)]


def _result(plan: Plan, cursor: Cursor, events: list[Event], upkeep: list[RunRequest]) -> SensorResult:
    if plan.batches or upkeep:
        if plan.batches:
            logger.info("planned %d sessions in %d batches", plan.num_sessions, len(plan.batches))
        return SensorResult(
            run_requests=[*(run_request(batch, "sensor") for batch in plan.batches), *upkeep],
            cursor=cursor.text(),
            asset_events=events,
        )
    return SensorResult(skip_reason=SkipReason(_why_nothing(plan)), cursor=cursor.text(), asset_events=events)


def _why_nothing(plan: Plan) -> str:
    if plan.is_busy:
        return "another planner is at work"
    if plan.pause is not None:
        return f"{plan.pause.in_words}; {plan.in_flight} batches in flight"
    return f"nothing to plan; {plan.in_flight} batches in flight"


def _report_due(
    instance: DagsterInstance, connection: Connection, cursor: Cursor, plan: Plan, now: datetime
) -> tuple[Cursor, Literal["whole", "brief"] | None]:
    """Where something changed there is a report: whole at once when the work is done, else brief once a minute."""
    last_change = last_attempt_finished(connection)
    if last_change is None or (cursor.coverage_until is not None and last_change <= cursor.coverage_until):
        return cursor, None
    is_idle = not plan.batches and not has_open_runs(instance, JOB_NAMES)
    if cursor.coverage_at is None:
        # The first report waits for the first work to end, a minute at most.
        if not is_idle and now - last_change < COVERAGE_INTERVAL:
            return cursor, None
    elif now - cursor.coverage_at < COVERAGE_INTERVAL:
        return cursor, None
    return replace(cursor, coverage_until=last_change, coverage_at=now), "whole" if is_idle else "brief"
