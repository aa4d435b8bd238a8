"""Planning and what a tick does besides: each may fail, and the failure of one is not that of the other."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dagster import DagsterInstance
from sqlalchemy.engine import Engine

from heimdall_assets.db import stoppages
from heimdall_assets.defs.checks import report_stoppage
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.errors import DatabaseError

logger = logging.getLogger(__name__)


@contextmanager
def planning(instance: DagsterInstance, heimdall: Heimdall, engine: Engine, task: str) -> Iterator[None]:
    """Let an error of the block be seen by everybody until the task succeeds again, and go on its way."""
    try:
        with stoppages.noted(engine, task):
            yield
    except Exception:
        with suppress(DatabaseError):
            report_stoppage(heimdall, instance)
        raise


def done_apart(engine: Engine, *steps: Callable[[], None]) -> None:
    """Take every step, whatever becomes of the others.

    What was planned is reserved by now, and would wait for minutes if an error kept its runs from being launched. The
    error is in the tick's log, and shown as a stoppage of the reports until all steps succeed again.
    """
    failure = None
    for step in steps:
        try:
            step()
        except Exception as error:  # the one place that turns a failure to report into a stored one
            logger.exception("reporting failed, what was planned is launched")
            failure = error
    if failure is None:
        stoppages.clear(engine, stoppages.REPORTS)
    else:
        stoppages.note(engine, stoppages.REPORTS, failure)
