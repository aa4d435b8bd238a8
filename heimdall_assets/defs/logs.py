"""What this package logs during a tick, shown where operators look: the tick's log in the UI, and the daemon's."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGE = logging.getLogger("heimdall_assets")


class _Forward(logging.Handler):
    """Hands on what one thread logs: other ticks may be under way in this process."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__(logging.INFO)
        self._log = log
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread == self._thread

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


@contextmanager
def shown_in(log: logging.Logger) -> Iterator[None]:
    """Send the package's messages from INFO up to a tick's logger.

    Without this they would be lost: Dagster's processes configure no loggers but their own.

    Parameters
    ----------
    log : Logger
        ``context.log`` of a sensor or schedule.
    """
    handler = _Forward(log)
    if PACKAGE.getEffectiveLevel() > logging.INFO:
        PACKAGE.setLevel(logging.INFO)
    PACKAGE.addHandler(handler)
    try:
        yield
    finally:
        PACKAGE.removeHandler(handler)
