"""The pages: the dashboard, lists of sessions, one session."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Security
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPAuthorizationCredentials
from sqlalchemy.engine import Connection

from heimdall_assets.db.pauses import current_pause
from heimdall_assets.db.recent import STATES, TROUBLE, Position, list_sessions
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import Settings
from heimdall_assets.web.auth import Guard, bearer
from heimdall_assets.web.database import Database
from heimdall_assets.web.links import Links
from heimdall_assets.web.login import LogInFirst
from heimdall_assets.web.overview import FEATURED, backlog_in_words, read_overview
from heimdall_assets.web.pictures import KINDS
from heimdall_assets.web.rendering import page, rendered, stylesheet
from heimdall_assets.web.session_view import read_session

PAGE_SIZE = 50
Filter = Literal[
    "any", "trouble", "pending", "running", "done", "partial", "empty", "failed", "quarantined", "ignored", "stale"
]
"""Which sessions a list shows: those of a state, all that failed, or those whose features are stale."""


def pages_router(settings: Settings, database: Database, guard: Guard) -> APIRouter:
    """``/``, ``/sessions`` and ``/sessions/{id}``: for those who logged in."""
    links = Links(settings.dagster_ui_url)

    def visitor(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]) -> None:
        # A token that was sent counts as everywhere; without one the answer is the log-in page.
        if given is not None:
            guard(request, given)
        elif guard.caller_of_cookie(request) is None:
            raise LogInFirst

    router = APIRouter(include_in_schema=False, dependencies=[Depends(visitor)])

    @router.get("/")
    def dashboard() -> HTMLResponse:
        with database.transaction() as connection:
            overview, pause = read_overview(connection), current_pause(connection)
        return page("dashboard.html", pause=pause, overview=overview, links=links, backlog=backlog_in_words(overview))

    @router.get("/sessions")
    def sessions(
        state: Filter = "any",
        reason: Annotated[str | None, Query(max_length=100)] = None,
        after: datetime | None = None,
        after_id: UUID | None = None,
    ) -> HTMLResponse:
        if reason is not None and state == "any":
            state = "trouble"
        behind = Position(after, after_id) if after is not None and after_id is not None else None
        with database.transaction() as connection:
            found = list_sessions(
                connection,
                states=_states(state),
                reason=reason,
                stale_before=FEATURE_VERSION if state == "stale" else None,
                after=behind,
                limit=PAGE_SIZE + 1,
            )
            pause = current_pause(connection)
        filters = {"state": state, **({"reason": reason} if reason else {})}
        more = links.sessions(found[PAGE_SIZE - 1].position, **filters) if len(found) > PAGE_SIZE else None
        return page(
            "sessions.html",
            pause=pause,
            sessions=found[:PAGE_SIZE],
            state=state,
            reason=reason,
            states=("trouble", "stale", *STATES),
            is_first=behind is None,
            more=more,
            links=links,
        )

    @router.get("/sessions/{session_id}")
    def session(session_id: UUID) -> HTMLResponse:
        with database.transaction() as connection:
            view = read_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
            pause = current_pause(connection)
        return page("session.html", pause=pause, view=view, links=links, kinds=KINDS, feature_version=FEATURE_VERSION)

    return router


def report_page(connection: Connection, settings: Settings) -> str:
    """The dashboard as one file that needs no other."""
    overview = read_overview(connection)
    return rendered(
        "report.html",
        pause=current_pause(connection),
        overview=overview,
        links=Links(settings.dagster_ui_url, has_pages=False),
        backlog=backlog_in_words(overview),
        stylesheet=stylesheet(),
    )


def _states(name: Filter) -> tuple[str, ...]:
    if name == "any":
        return STATES
    return {"trouble": TROUBLE, "stale": FEATURED}.get(name, (name,))
