"""Log lines as JSON: one object a line, with time, level, message, and the ids of what it is about."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from heimdall_assets.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))


def is_json() -> bool:
    """Whether HEIMDALL_LOG_FORMAT asks for JSON.

    Read apart from the other settings: what is wrong with those is to be logged too.
    """
    return os.environ.get(Settings.variable("log_format")) == "json"


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Name what the block's log lines are about, in this thread.

    Parameters
    ----------
    **ids
        session_id, run_id, batch, request_id, ...; those that are None are left out.
    """
    known = {name: str(value) for name, value in ids.items() if value is not None}
    token = _ids.set({**_ids.get(), **known})
    try:
        yield
    finally:
        _ids.reset(token)


class JsonLines(JsonFormatter):
    """Formats a record as one JSON object: time (ISO 8601, UTC), level, logger, message, ids, traceback.

    Parameters
    ----------
    left_out : sequence of str
        Attributes of the records that are not shown.
    """

    def __init__(self, left_out: Sequence[str] = ()) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
            timestamp="time",
            reserved_attrs=[*RESERVED_ATTRS, "taskName", "color_message", *left_out],
        )

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Collect what the line says."""
        log_data["time"] = None  # it stands first
        super().add_fields(log_data, record, message_dict)
        for name, value in _ids.get().items():
            log_data.setdefault(name, value)


def json_handler(formatter: logging.Formatter | None = None) -> logging.StreamHandler[Any]:
    """A handler that writes to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter or JsonLines())
    return handler
