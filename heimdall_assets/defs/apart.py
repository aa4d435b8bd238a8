"""What a tick does besides planning: it may fail, and the plan is launched all the same."""

import logging
from collections.abc import Callable

from sqlalchemy.engine import Engine

from heimdall_assets.db import stoppages

logger = logging.getLogger(__name__)


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
