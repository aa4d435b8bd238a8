"""The daily jobs: Dagster shows what PostgreSQL holds, and forgets what nobody will look at."""

from dagster import DefaultScheduleStatus, OpExecutionContext, ScheduleDefinition, job, op
from dagster._core.storage.tags import PRIORITY_TAG

from heimdall_assets.db import reconciliations
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.locks import run_lock
from heimdall_assets.db.states import database_time
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.defs.reconciliation import reconcile
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.retention import forget_old
from heimdall_assets.defs.tags import SHARED, SLOT_TAG

TAGS = {PRIORITY_TAG: "-10", SLOT_TAG: SHARED}
"""They can wait, and never take the slot that is kept for fresh sessions."""


@op(description="Compares Dagster's partitions with PostgreSQL and sets them right.")
def compare_partitions(context: OpExecutionContext, heimdall: Heimdall) -> None:
    """Also answers the requests of ``heimdall reconcile`` that were made before it began."""
    with heimdall.engine() as engine, run_lock(engine, context.run_id):
        with transaction(engine) as connection:
            begun_at = database_time(connection)
        done = reconcile(context.instance, engine, heimdall.settings)
        with transaction(engine) as connection:
            reconciliations.answer(connection, begun_at=begun_at)
    context.log.info("%d partitions reported, %d removed, %d retired", done.reported, done.removed, done.retired)
    context.add_output_metadata({"reported": done.reported, "removed": done.removed, "retired": done.retired})


@job(
    tags=TAGS,
    description="Shows sessions as materialized whose features Dagster was not told of, removes the partitions of "
    "sessions that vanished, and retires the oldest beyond HEIMDALL_PARTITION_WINDOW.",
)
def reconcile_partitions() -> None:
    """One op: each step needs the one before."""
    compare_partitions()


@op(description="Deletes runs and events that are old and that nothing shown depends on.")
def forget_old_runs(context: OpExecutionContext, heimdall: Heimdall) -> None:
    """See :mod:`heimdall_assets.defs.retention`."""
    settings = heimdall.settings
    dagster_engine = open_engine(dagster_url(settings), pool_size=1)
    try:
        with heimdall.engine() as engine, run_lock(engine, context.run_id):
            forgotten = forget_old(context.instance, dagster_engine, days=settings.retention_days)
    finally:
        dagster_engine.dispose()
    context.log.info("%d runs and %d events without a run deleted", forgotten.runs, forgotten.events)
    context.add_output_metadata({"runs": forgotten.runs, "events": forgotten.events})


@job(
    tags=TAGS,
    description="Deletes runs that ended more than HEIMDALL_RETENTION_DAYS ago, except those that made a partition "
    "what it is: the last to materialize it, or to fail it.",
)
def retention() -> None:
    """One op."""
    forget_old_runs()


reconcile_schedule = ScheduleDefinition(
    name="reconcile_schedule",
    job=reconcile_partitions,
    cron_schedule="15 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Once a day; `heimdall reconcile` asks for it at once.",
)

retention_schedule = ScheduleDefinition(
    name="retention_schedule",
    job=retention,
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Once a day, after partitions were retired: their runs are not needed then.",
)
