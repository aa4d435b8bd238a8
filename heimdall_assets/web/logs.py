"""What the server writes down of a request: never its query, in which people leave tokens."""

from __future__ import annotations

import copy
import logging
from typing import Any

from uvicorn.config import LOGGING_CONFIG


class WithoutQuery(logging.Filter):
    """Cuts the query off the path in uvicorn's access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, changed."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, *rest = record.args
            record.args = (client, method, str(path).partition("?")[0], *rest)
        return True


LOGGING: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
"""uvicorn's logging, with the filter, and with the project's own lines."""
LOGGING["filters"] = {"without_query": {"()": WithoutQuery}}
LOGGING["handlers"]["access"]["filters"] = ["without_query"]
LOGGING["loggers"]["heimdall_assets"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
