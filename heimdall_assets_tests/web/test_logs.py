"""The server's log: no query in it, and as JSON one object a line."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from typing import Any

from heimdall_assets.web.logs import logging_config

ACCESS = ("127.0.0.1:5", "GET", "/sessions?token=secret", "1.1", 200)


def written(log_format: str) -> list[str]:
    """Lines of a request, of the server and of this package."""
    stream = io.StringIO()
    config = logging_config(log_format)
    loggers = [logging.getLogger(name) for name in (*config["loggers"], "heimdall_assets")]
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for handler in config["handlers"].values():
        handler["stream"] = stream
    try:
        logging.config.dictConfig({**config, "disable_existing_loggers": False})
        logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *ACCESS)
        logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted"})
        logging.getLogger("heimdall_assets.web").info("asked", extra={"request_id": "r1"})
    finally:
        for logger, handlers, level, propagates in kept:
            logger.handlers, logger.level, logger.propagate = handlers, level, propagates
    return stream.getvalue().splitlines()


def test_as_text_the_path_stands_without_its_query() -> None:
    access, *_ = written("text")
    assert "GET /sessions HTTP/1.1" in access
    assert "secret" not in access


def test_as_json_every_line_is_an_object_and_a_request_has_fields() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in written("json")]
    access, started, asked = lines
    fields = {"client": "127.0.0.1:5", "method": "GET", "path": "/sessions", "status": 200, "level": "INFO"}
    assert fields.items() <= access.items()
    assert "secret" not in json.dumps(access)
    assert (started["message"], "color_message" in started) == ("started", False)
    assert (asked["message"], asked["request_id"]) == ("asked", "r1")
