"""Finding runs whose process is dead: by the lock that a live run holds."""

import logging
from collections.abc import Collection

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from sqlalchemy.engine import Connection

from heimdall_assets.db.locks import live_runs

logger = logging.getLogger(__name__)


def has_open_runs(instance: DagsterInstance, job_names: Collection[str]) -> bool:
    """True while a run of these jobs is queued or has not ended."""
    return any(
        instance.get_runs_count(RunsFilter(job_name=job_name, statuses=NOT_FINISHED_STATUSES)) for job_name in job_names
    )


def fail_dead_runs(
    instance: DagsterInstance, connection: Connection, job_names: Collection[str], suspects: Collection[str]
) -> tuple[str, ...]:
    """Fail started runs whose lock was free at the last look and is free now.

    The default launcher has no health check: a run whose process and code server died together would stay started
    for ever, and its partitions in progress. Two looks, since a run takes its lock a moment after it has started.

    Parameters
    ----------
    instance : DagsterInstance
        Where the runs are.
    connection : Connection
        Heimdall's database, which holds the locks.
    job_names : collection of str
        Jobs whose runs take a lock.
    suspects : collection of str
        What the last look returned.

    Returns
    -------
    tuple of str
        Runs whose lock is free at this look and that were not failed yet.
    """
    started = [
        run
        for job_name in job_names
        for run in instance.get_runs(RunsFilter(job_name=job_name, statuses=[DagsterRunStatus.STARTED]))
    ]
    if not started:
        return ()
    alive = live_runs(connection, [run.run_id for run in started])
    lockless = [run for run in started if run.run_id not in alive]
    for run in lockless:
        if run.run_id in suspects:
            logger.warning("run %s is started but nobody holds its lock: its process died", run.run_id)
            instance.report_run_failed(run, message="The process of this run ended without a word.")
    return tuple(run.run_id for run in lockless if run.run_id not in suspects)
