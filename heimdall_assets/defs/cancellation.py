"""Stopping a run that somebody cancelled, in a process that goes on to the next run."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dagster import DagsterInstance, DagsterRunStatus
from dagster._utils.interrupts import capture_interrupts

from heimdall_assets.db.engine import translated
from heimdall_assets.errors import DatabaseError

POLL_S = 1.0
NOTICED = "The process of this run has seen that it is to end: it finishes the sessions that it has begun."


@contextmanager
def stoppable(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Interrupt the block when the run's status says that it is to stop, or that it was given up.

    Dagster turns the interrupt into a cancelled run. The status is asked for in PostgreSQL, where the UI writes it: no
    message to the process can be lost. Whatever happens to signals inside, they mean what they meant before afterwards.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_S):
            # While PostgreSQL is away nobody can cancel anything.
            with suppress(DatabaseError), translated():
                run = instance.get_run_by_id(run_id)
                if run is None or run.is_finished or run.status == DagsterRunStatus.CANCELING:
                    if run is not None:
                        instance.report_engine_event(NOTICED, run)
                    os.kill(os.getpid(), signal.SIGINT)
                    return

    thread = threading.Thread(target=watch, name=f"watch {run_id}", daemon=True)
    with _signals_kept(), capture_interrupts():
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def _signals_kept() -> Iterator[None]:
    # Dagster leaves SIGTERM with the meaning of SIGINT, which Celery's processes ignore: the pool could not end them.
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
