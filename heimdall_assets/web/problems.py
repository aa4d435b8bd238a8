"""What goes wrong, as an answer: always ``{"detail": ...}``, or a page where a browser asked for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from heimdall_assets.errors import BadData, DatabaseError, UnknownRequest, UnknownSession
from heimdall_assets.web.gate import HEADERS
from heimdall_assets.web.rendering import page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI

    from heimdall_assets.web.database import Database

RETRY_AFTER_S = 10
MAX_ECHO = 80
"""Characters of a bad value that are repeated."""


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One sentence, which names the field and its bounds where one is at fault.")


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not text."},
    401: {"model": Problem, "description": "No token, or a wrong or expired one."},
    403: {"model": Problem, "description": "The token lacks the administrator's role, or another site sent it."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "A value is not allowed; the bounds are named."},
    429: {"model": Problem, "description": "Too many requests, or too many wrong tokens; see Retry-After."},
    503: {"model": Problem, "description": "The database is away; see Retry-After."},
}
"""For the documentation of every call that needs a token."""


def answer_problems(app: FastAPI, database: Database) -> None:
    """Give the application its handlers of errors.

    Parameters
    ----------
    app : FastAPI
        The application.
    database : Database
        Looked for anew after a failure.
    """

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return _answer(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def bad_value(request: Request, error: RequestValidationError) -> Response:
        return _answer(request, status.HTTP_422_UNPROCESSABLE_CONTENT, _bad_values(error.errors()))

    @app.exception_handler(UnknownRequest)
    @app.exception_handler(UnknownSession)
    def unknown(request: Request, error: DatabaseError) -> Response:
        return _answer(request, status.HTTP_404_NOT_FOUND, error.message)

    @app.exception_handler(BadData)
    def bad_data(request: Request, error: BadData) -> Response:
        was_given = bool(request.url.query)
        code = status.HTTP_422_UNPROCESSABLE_CONTENT if was_given else status.HTTP_500_INTERNAL_SERVER_ERROR
        return _answer(request, code, error.message)

    @app.exception_handler(DatabaseError)
    def away(request: Request, error: DatabaseError) -> Response:
        database.forget()
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return _answer(request, status.HTTP_503_SERVICE_UNAVAILABLE, error.message, headers)

    @app.exception_handler(Exception)
    def defect(request: Request, _error: Exception) -> Response:
        # Its text may hold anything; the traceback is in the server's log. This answer does not pass the gate.
        detail = "an error that nobody foresaw: see the log"
        return _answer(request, status.HTTP_500_INTERNAL_SERVER_ERROR, detail, HEADERS)


def _answer(request: Request, code: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": detail}, code, dict(headers or {}))
    return page("problem.html", status=code, headers=headers, code=code, detail=detail)


def _bad_values(errors: Sequence[Any]) -> str:
    """Field, value and what is allowed, of every bad one."""
    return "; ".join(
        f"{_field(error['loc'])}={shown(error.get('input'))} is not allowed: "
        f"{error['msg'].removeprefix('Value error, ')}"
        for error in errors
    )


def _field(location: Sequence[str | int]) -> str:
    words = [str(word) for word in location if not isinstance(word, int)]
    return ".".join(words[1:]) or words[0]


def shown(value: Any) -> str:
    """A bad value as it is repeated: not at any length."""
    text = repr(value)
    return text if len(text) <= MAX_ECHO else f"{text[:MAX_ECHO]}..."
