"""What the server writes down of a request: never its query, in which people leave tokens."""

from __future__ import annotations

import copy
import logging
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from heimdall_assets.logs import JsonLines


class WithoutQuery(logging.Filter):
    """Cuts the query off the path in uvicorn's access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, changed."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, *rest = record.args
            record.args = (client, method, str(path).partition("?")[0], *rest)
        return True


class AccessLines(JsonLines):
    """Lines of uvicorn's access log with client, method, path and status as fields."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Collect what the line says."""
        super().add_fields(log_data, record, message_dict)
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, _, status = record.args
            log_data.update(client=client, method=method, path=path, status=status)


def logging_config(log_format: str) -> dict[str, Any]:
    """The logging of uvicorn, without queries, and with the project's own lines.

    Parameters
    ----------
    log_format : {"text", "json"}
        HEIMDALL_LOG_FORMAT.
    """
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {"without_query": {"()": WithoutQuery}}
    config["handlers"]["access"]["filters"] = ["without_query"]
    config["loggers"]["heimdall_assets"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    if log_format == "json":
        config["formatters"] = {"default": {"()": JsonLines}, "access": {"()": AccessLines}}
    return config
