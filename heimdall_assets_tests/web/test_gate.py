"""What every answer carries, and what the log never holds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from heimdall_assets.web.logs import WithoutQuery
from heimdall_assets_tests.web.client import Client

if TYPE_CHECKING:
    import pytest


def test_every_answer_carries_the_security_headers(api: Client) -> None:
    visitor = Client(api.address)
    for path in ("/health", "/", "/login", "/docs", "/openapi.json", "/static/login.js", "/no-such-page"):
        headers = visitor.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_a_query_never_reaches_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord(
        "uvicorn.access",
        logging.INFO,
        __file__,
        1,
        '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:1", "GET", "/?token=hunter2", "1.1", 200),
        None,
    )
    assert WithoutQuery().filter(record)
    assert record.getMessage() == '127.0.0.1:1 - "GET / HTTP/1.1" 200'


def test_an_unknown_path_and_a_wrong_method_are_documents_for_scripts_and_pages_for_people(api: Client) -> None:
    assert api.get("/no-such-page").document == {"detail": "Not Found"}
    assert api.get("/no-such-page", Accept="text/html").text.startswith("<!doctype html>")
    answer = api.get("/api/v1/admin/features/backfill-all", Accept="text/html")
    assert (answer.status, answer.document) == (405, {"detail": "Method Not Allowed"})


def test_an_unforeseen_error_is_500_without_its_text(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr("heimdall_assets.web.tasks.coverage_figures", fail)
    answer = api.get("/api/v1/admin/features/stats")
    assert (answer.status, answer.document) == (500, {"detail": "an error that nobody foresaw: see the log"})
    assert answer.headers["x-content-type-options"] == "nosniff"
