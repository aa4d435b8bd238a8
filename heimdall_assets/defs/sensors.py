"""The sensor: new sessions become runs within seconds, and what died is picked up again."""

import logging
import uuid
from dataclasses import dataclass, field, replace
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

from heimdall_assets.db import reconciliations, stoppages
from heimdall_assets.db.coverage import last_attempt_finished
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.db.states import database_time
from heimdall_assets.defs.apart import done_apart, planning
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
from heimdall_assets.errors import DatabaseUnavailable, SessionBusy, WrongDatabase

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
            with planning(context.instance, heimdall, engine, stoppages.SENSOR):
                with transaction(engine) as connection:
                    now = database_time(connection)
                    lockless = fail_dead_runs(context.instance, connection, LOCKED_JOB_NAMES, cursor.lockless_runs)
                since = cursor.discovered_until - OVERLAP if cursor.discovered_until else None
                plan = plan_tick(context.instance, engine, heimdall.settings, since=since, is_schedule=False)
            after = _after_planning(context.instance, heimdall, engine, plan, cursor, now)
    except (DatabaseUnavailable, WrongDatabase, SessionBusy) as error:
        return SkipReason(f"{error.reason}: {error.message}")
    cursor = replace(after.cursor, lockless_runs=lockless)
    return _result(plan, cursor if plan.is_busy else replace(cursor, discovered_until=now), after)


@dataclass
class _After:
    """What a tick does besides planning: its cursor, its events, and the runs of the daily jobs."""

    cursor: Cursor
    events: list[Event] = field(default_factory=list)
    upkeep: list[RunRequest] = field(default_factory=list)


def _after_planning(
    instance: DagsterInstance, heimdall: Heimdall, engine: Engine, plan: Plan, cursor: Cursor, now: datetime
) -> _After:
    """Report; what fails here is shown and tried again, and the plan is launched all the same."""
    after = _After(cursor)

    def report_coverage() -> None:
        with transaction(engine) as connection:
            reported, due = _report_due(instance, connection, cursor, plan, now)
        # tried again in a minute where it fails
        after.cursor = replace(cursor, coverage_at=reported.coverage_at)
        if due:
            after.events += report_events(heimdall, is_whole=due == "whole")
        if due == "whole":
            after.events += evaluations(heimdall, instance)
        after.cursor = reported

    def look_for_upkeep() -> None:
        after.upkeep = _reconciliation_asked(instance, engine)

    def show_features() -> None:
        doubt_failed_runs(instance, engine, since=(cursor.discovered_until or now) - FAILED_OVERLAP)
        limit = REPORTS_A_BUSY_TICK if plan.batches else REPORTS_A_TICK
        report(instance, engine, heimdall.settings, limit=limit)

    done_apart(engine, report_coverage, *([] if plan.is_busy else [look_for_upkeep, show_features]))
    return after


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


def _result(plan: Plan, cursor: Cursor, after: _After) -> SensorResult:
    if plan.batches or after.upkeep:
        if plan.batches:
            logger.info("planned %d sessions in %d batches", plan.num_sessions, len(plan.batches))
        return SensorResult(
            run_requests=[*(run_request(batch, "sensor") for batch in plan.batches), *after.upkeep],
            cursor=cursor.text(),
            asset_events=after.events,
        )
    return SensorResult(skip_reason=SkipReason(_why_nothing(plan)), cursor=cursor.text(), asset_events=after.events)


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
