"""A worker's way through one run, from its message to its end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body

from heimdall_assets.db.engine import open_engine
from heimdall_assets.db.locks import run_claim
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.cancellation import stoppable
from heimdall_assets.settings import current_settings

logger = logging.getLogger(__name__)

WORKER_TAG = "heimdall/worker"
"""Says of a run which worker carried it out."""


def execute(instance: DagsterInstance, run_id: str, *, worker: str) -> None:
    """Carry out a run that came from the broker, unless there is nothing to be done for it any more.

    Brokers deliver a message at least once: again when a worker died, lost its connection or took too long. The first
    worker holds the run's claim as long as it lives. So a second one knows that a run which has begun, and whose claim
    is free, is dead, and says so at once instead of leaving it to the sensor.

    Parameters
    ----------
    instance : DagsterInstance
        This worker's.
    run_id : str
        The run.
    worker : str
        This worker's name.

    Raises
    ------
    DatabaseError
        PostgreSQL is away; nothing has begun.
    """
    with _claim(run_id) as is_ours:
        run = instance.get_run_by_id(run_id)
        if not is_ours or run is None or run.is_finished:
            logger.info("run %s: nothing to do, it was delivered before", run_id)
        elif run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message="The run was cancelled before a worker took it up.")
        elif run.status == DagsterRunStatus.STARTED:
            logger.warning("run %s was begun by a worker that died", run_id)
            instance.report_run_failed(run, message="The worker of this run ended without a word.")
        elif run.status == DagsterRunStatus.STARTING:
            _carry_out(instance, run, worker)
        else:
            # The launcher could not tell that the broker had got it: the queue sends it once more.
            logger.info("run %s is %s: left to the queue", run_id, run.status.value)


def _carry_out(instance: DagsterInstance, run: DagsterRun, worker: str) -> None:
    instance.add_run_tags(run.run_id, {WORKER_TAG: worker})
    with stoppable(instance, run.run_id):
        _execute_run_command_body(run.run_id, instance, _no_more, set_exit_code_on_failure=True)


def _no_more(_event: Any) -> None:
    """Nobody reads the events from this process: they are in Dagster's log."""


@contextmanager
def _claim(run_id: str) -> Iterator[bool]:
    engine = open_engine(heimdall_url(current_settings()), pool_size=1)
    try:
        with run_claim(engine, run_id) as is_ours:
            yield is_ours
    finally:
        engine.dispose()
