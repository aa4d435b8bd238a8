"""Finding runs whose process is dead: by the lock that a live run holds."""

import json
import logging
import socket
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import GRPC_INFO_TAG
from sqlalchemy.engine import Connection

from heimdall_assets.db.locks import live_runs
from heimdall_assets.db.states import database_time
from heimdall_assets.defs.events import FEATURES_KEY
from heimdall_assets.defs.forks import PROCESS_TAG, LocalProcess

logger = logging.getLogger(__name__)

START_GRACE = timedelta(seconds=180)
"""A run that is on its way to its lock for longer than this has lost its process before it got there; as long as
start_timeout_seconds in dagster.yaml, for instances that have no monitoring of their own."""

ORPHAN_GRACE = timedelta(seconds=45)
"""The same for a run whose process or code server is gone. Should one come all the same, as the child of a killed
server may on a very busy machine, Dagster lets it do nothing."""

CODE_SERVER_TIMEOUT_S = 3
"""How long a code server may take to answer the door."""

_ON_THE_WAY = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)
_UNDER_WAY = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)


def has_open_runs(instance: DagsterInstance, job_names: Collection[str]) -> bool:
    """True while a run of these jobs is queued or has not ended."""
    return any(
        instance.get_runs_count(RunsFilter(job_name=job_name, statuses=NOT_FINISHED_STATUSES)) for job_name in job_names
    )


def fail_dead_runs(
    instance: DagsterInstance, connection: Connection, job_names: Collection[str], suspects: Collection[str]
) -> tuple[str, ...]:
    """End runs whose lock was free at the last look and is free now, and those that never came to take theirs.

    The default launcher has no health check: a run whose process and code server died together would stay started
    for ever, and its partitions in progress. A worker on another machine may die unseen as well; a restart of the
    whole machine ends them all. The database sees each of these, since the lock goes with the connection. Two looks,
    since a run takes its lock a moment after it has started.

    Of a run that was killed before it had a lock its tags name the process, or the code server that was to start one:
    where that is gone, the run is failed after ``ORPHAN_GRACE``. Else only time tells: it is failed after
    ``START_GRACE``, whether or not Dagster's own monitoring is on.

    Parameters
    ----------
    instance : DagsterInstance
        Where the runs are.
    connection : Connection
        Heimdall's database, which holds the locks.
    job_names : collection of str
        Jobs whose runs take a lock. So do runs that materialize ``measurement_features`` from the UI, whose job has
        no name of its own.
    suspects : collection of str
        What the last look returned.

    Returns
    -------
    tuple of str
        Runs whose lock is free at this look and that were not ended yet.
    """
    _fail_those_that_never_came(instance, connection, job_names)
    under_way = list(_ours(instance, job_names, _UNDER_WAY))
    if not under_way:
        return ()
    alive = live_runs(connection, [run.run_id for run in under_way])
    lockless = [run for run in under_way if run.run_id not in alive]
    for run in lockless:
        if run.run_id not in suspects:
            continue
        logger.warning("run %s is %s but nobody holds its lock: its process died", run.run_id, run.status.value)
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message="The process of this run ended while it was being cancelled.")
        else:
            instance.report_run_failed(run, message="The process of this run ended without a word.")
    return tuple(run.run_id for run in lockless if run.run_id not in suspects)


def _fail_those_that_never_came(instance: DagsterInstance, connection: Connection, job_names: Collection[str]) -> None:
    waiting = {run.run_id for run in _ours(instance, job_names, _ON_THE_WAY)}
    if not waiting:
        return
    now = database_time(connection)
    for grace in (START_GRACE, ORPHAN_GRACE):
        for record in instance.get_run_records(RunsFilter(run_ids=list(waiting), updated_before=now - grace)):
            run = record.dagster_run
            if run.status in _ON_THE_WAY and (grace is START_GRACE or _is_orphan(record)):
                logger.warning("run %s did not start within %d s", run.run_id, grace.total_seconds())
                instance.report_run_failed(run, message="The process of this run ended before it began.")


def _is_orphan(record: RunRecord) -> bool:
    """True if the run's process is gone, or the code server that was to start it; False where neither is named."""
    tags = record.dagster_run.tags
    if PROCESS_TAG in tags:
        return LocalProcess.from_tag(tags[PROCESS_TAG]).is_gone
    try:
        server = json.loads(tags[GRPC_INFO_TAG])
        if "port" in server:
            return _is_deserted(socket.AF_INET, (server["host"], server["port"]))
        path = Path(server["socket"])
    except (KeyError, ValueError, TypeError):
        return False
    try:
        bound_s = path.stat().st_ctime
    except OSError:
        return True
    # Whoever supervises a server starts another in its place.
    return bound_s > record.update_timestamp.timestamp() or _is_deserted(socket.AF_UNIX, str(path))


def _is_deserted(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    """True if nobody listens at the address."""
    with socket.socket(family) as probe:
        probe.settimeout(CODE_SERVER_TIMEOUT_S)
        try:
            probe.connect(address)
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def _ours(
    instance: DagsterInstance, job_names: Collection[str], statuses: Iterable[DagsterRunStatus]
) -> Iterable[DagsterRun]:
    for run in instance.get_runs(RunsFilter(statuses=list(statuses))):
        from_ui = run.job_name == IMPLICIT_ASSET_JOB_NAME and FEATURES_KEY in (run.asset_selection or ())
        if run.job_name in job_names or from_ui:
            yield run
