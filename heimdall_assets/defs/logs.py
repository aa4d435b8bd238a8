"""What this package logs during a tick, shown where operators look; and the lines of Dagster's processes as JSON."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.log_manager import (
    LOG_RECORD_EVENT_ATTR,
    LOG_RECORD_EVENT_BATCH_METADATA_ATTR,
    LOG_RECORD_METADATA_ATTR,
)

from heimdall_assets import logs
from heimdall_assets.defs.tags import BATCH_TAG, ORIGIN_TAG

PACKAGE = logging.getLogger("heimdall_assets")

_forwarding = set[int]()
"""Threads in which a tick is under way: its log shows what they say."""


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
    handler, thread = _Forward(log), threading.get_ident()
    if PACKAGE.getEffectiveLevel() > logging.INFO:
        PACKAGE.setLevel(logging.INFO)
    PACKAGE.addHandler(handler)
    _forwarding.add(thread)
    try:
        yield
    finally:
        _forwarding.discard(thread)
        PACKAGE.removeHandler(handler)


class DagsterLines(logs.JsonLines):
    """Lines of runs and ticks: Dagster's own message without its prefixes, which become fields."""

    def __init__(self) -> None:
        super().__init__((LOG_RECORD_METADATA_ATTR, LOG_RECORD_EVENT_ATTR, LOG_RECORD_EVENT_BATCH_METADATA_ATTR))

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Collect what the line says; of a partition's event, whose session it is about."""
        super().add_fields(log_data, record, message_dict)
        told = getattr(record, LOG_RECORD_METADATA_ATTR, None) or {}
        event, tags = told.get("dagster_event"), told.get("job_tags") or {}
        log_data["message"] = told.get("orig_message", log_data["message"])
        found = {
            "run_id": told.get("run_id"),
            "job": told.get("job_name"),
            "batch": tags.get(BATCH_TAG),
            "origin": tags.get(ORIGIN_TAG),
            "step": told.get("step_key"),
            "event": None if event is None else event.event_type_value,
            "session_id": None if event is None else event.partition,
            "tick_of": told.get("name"),
        }
        log_data.update((name, value) for name, value in found.items() if value is not None)


class _Console(logging.Logger):
    """What Dagster makes its console loggers of: coloured lines become JSON."""

    def addHandler(self, handler: logging.Handler) -> None:  # noqa: N802  # logging's own name
        if self.name == "dagster" and isinstance(handler, logging.StreamHandler):
            handler.setFormatter(DagsterLines())
        super().addHandler(handler)


def use_json() -> None:
    """Have runs and ticks of this process write JSON to standard error, the package's own lines included.

    Dagster adds a coloured console logger to every run and every tick that no configuration can replace; but it makes
    them of the class that ``logging`` is told to use. Calling this twice changes nothing.
    """
    if logging.getLoggerClass() is _Console:
        return
    logging.setLoggerClass(_Console)
    handler = logs.json_handler()
    handler.addFilter(lambda record: record.thread not in _forwarding)
    PACKAGE.addHandler(handler)
    PACKAGE.setLevel(logging.INFO)
    PACKAGE.propagate = False
