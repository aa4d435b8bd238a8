"""A warm worker: the code is imported once, and each of its processes carries out run after run."""

import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Reject
from dagster import DagsterInstance, Definitions

from heimdall_assets.db.engine import translated
from heimdall_assets.defs.fleet.app import EXECUTE_RUN, fleet_app, queue_name
from heimdall_assets.defs.fleet.execution import execute
from heimdall_assets.defs.fleet.release import Code, this_code
from heimdall_assets.dsp import keep_freed_memory, load_kernels
from heimdall_assets.errors import DatabaseError, OutdatedWorker, WorkerFailed
from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

DATABASE_RETRY_S = 5

_is_outdated = multiprocessing.Value("b", 0)
"""Shared with the processes that are forked: one of them was sent a run of a newer release."""


def serve(
    settings: Settings,
    definitions: Definitions,
    *,
    queues: Sequence[str],
    concurrency: int,
    name: str | None,
    when_ready: Callable[[str], None],
) -> None:
    """Carry out runs until SIGTERM or SIGINT; those that are under way are finished.

    Parameters
    ----------
    settings : Settings
        With a broker.
    definitions : Definitions
        What runs are made of: loaded before the processes are forked, so that they share it.
    queues : sequence of str
        Which queues to serve, the most urgent first.
    concurrency : int
        Runs at the same time.
    name : str or None
        What stands before the @ in the worker's name; must be unique on the machine.
    when_ready : callable
        Called with the worker's name once it takes runs.

    Raises
    ------
    OutdatedWorker
        The daemon runs a newer release.
    WorkerFailed
        It ended by itself; Celery has logged why.
    """
    app = fleet_app(settings)
    _register(app)
    signals.setup_logging.connect(_leave_logging)
    signals.worker_process_init.connect(_leave_group)

    def tell(sender: Any, **_: Any) -> None:
        when_ready(str(sender.hostname))

    signals.worker_ready.connect(tell, weak=False)
    this_code()
    definitions.get_repository_def()
    load_kernels()
    keep_freed_memory()
    worker = app.Worker(
        hostname=f"{name or f'heimdall-{os.getpid()}'}@{socket.gethostname()}",
        queues=[queue_name(queue) for queue in queues],
        concurrency=concurrency,
        pool="prefork",
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    logger.info("%s: %s serves %s", worker.hostname, this_code(), ", ".join(queues))
    worker.start()
    if _is_outdated.value:
        raise OutdatedWorker(f"this worker runs {this_code()}, and the daemon a newer release: upgrade it")
    if worker.exitcode:
        raise WorkerFailed("the worker ended although nobody had asked it to: its log says why")


def _leave_logging(**_: Any) -> None:
    """Whoever called us has set up logging, and Celery leaves it alone where somebody listens to this signal."""


def _leave_group(**_: Any) -> None:
    """Ctrl-C in a terminal reaches the whole group of processes: it is meant for the worker, not for its runs."""
    os.setpgid(0, 0)


def _register(app: Celery) -> None:
    def execute_run(task: Task, *, run_id: str, code: Mapping[str, Any]) -> None:
        try:
            with translated(), DagsterInstance.get() as instance:
                _compare_code(instance, run_id, Code.from_message(code), task.request.hostname)
                execute(instance, run_id, worker=task.request.hostname)
        except DatabaseError as error:
            logger.warning("run %s: %s; again in %d s", run_id, error.message, DATABASE_RETRY_S)
            raise task.retry(exc=error, countdown=DATABASE_RETRY_S) from error

    app.task(bind=True, name=EXECUTE_RUN, max_retries=None)(execute_run)


def _compare_code(instance: DagsterInstance, run_id: str, wanted: Code, worker: str) -> None:
    """Leave the run to another worker, and stop this one, where the daemon's code is ahead of this process's.

    An old estimator would store features that are stale at once, and a database of a newer revision refuses the code
    anyway: such a worker would fail one run after the other.

    Raises
    ------
    Reject
        The message goes back to its queue.
    """
    ours = this_code()
    if ours.differs_unseen_from(wanted):
        _say(instance, run_id, f"{worker} runs {ours}, the daemon {wanted}: their files differ")
    if ours.is_older_than(wanted):
        message = f"{worker} runs {ours}, the daemon {wanted}: it stops, and leaves the run to other workers"
        _say(instance, run_id, message)
        _is_outdated.value = 1
        os.kill(os.getppid(), signal.SIGTERM)
        raise Reject(message, requeue=True)


def _say(instance: DagsterInstance, run_id: str, message: str) -> None:
    """Write it into this worker's log and the run's."""
    logger.warning("run %s: %s", run_id, message)
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_engine_event(message, run)
