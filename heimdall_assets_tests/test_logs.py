"""Lines as JSON: every one an object of its own, with the ids of what it is about."""

from __future__ import annotations

import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from heimdall_assets.logs import JsonLines, about

LOGGER = logging.getLogger("heimdall_assets.tests")


def said(formatter: logging.Formatter, *records: logging.LogRecord) -> list[dict[str, Any]]:
    """What a handler with this formatter writes, line by line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    for record in records:
        handler.handle(record)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    return LOGGER.makeRecord("heimdall_assets.tests", logging.INFO, "f.py", 1, message, arguments, None, **more)


def test_a_line_has_time_level_logger_message_and_what_was_added() -> None:
    [line] = said(JsonLines(), record("%d of %d\nlines", 1, 2, extra={"reason": "truncated"}))
    assert next(iter(line)) == "time"
    assert datetime.fromisoformat(line.pop("time")).utcoffset() == timedelta(0)
    expected = {"level": "INFO", "logger": "heimdall_assets.tests", "message": "1 of 2\nlines", "reason": "truncated"}
    assert line == expected


def test_a_traceback_is_in_the_line_of_its_message() -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        failed = LOGGER.makeRecord(
            "a", logging.ERROR, "f.py", 1, "it failed", (), (type(error), error, error.__traceback__)
        )
    [line] = said(JsonLines(), failed)
    assert (line["message"], line["level"]) == ("it failed", "ERROR")
    assert line["traceback"].endswith("ZeroDivisionError: division by zero")


def test_a_line_names_what_the_block_is_about_in_its_own_thread_only() -> None:
    def line() -> dict[str, Any]:
        return said(JsonLines(), record("x"))[0]

    with ThreadPoolExecutor(1) as pool, about(run_id="r1", batch=None):
        with about(session_id=5):
            inside, elsewhere = line(), pool.submit(line).result()
        after = line()
    assert (inside["run_id"], inside["session_id"]) == ("r1", "5")
    assert "batch" not in inside
    assert not {"run_id", "session_id"} & set(elsewhere)
    assert (after["run_id"], "session_id" in after, "run_id" in line()) == ("r1", False, False)
    with about(session_id=5):
        [own] = said(JsonLines(), record("x", extra={"session_id": "7"}))
    assert own["session_id"] == "7"
