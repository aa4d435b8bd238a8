"""The application: health for everybody, the admin API and the dashboard for those with a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from heimdall_assets.settings import Settings
from heimdall_assets.web.auth import Guard
from heimdall_assets.web.database import Database
from heimdall_assets.web.gate import Gate
from heimdall_assets.web.health import health_router
from heimdall_assets.web.login import SEE_OTHER, LogInFirst, login_page, login_router
from heimdall_assets.web.metrics import metrics_router
from heimdall_assets.web.pages import pages_router
from heimdall_assets.web.pauses import pauses_router
from heimdall_assets.web.pictures import pictures_router
from heimdall_assets.web.problems import answer_problems
from heimdall_assets.web.rates import Rates
from heimdall_assets.web.reference import reference_router
from heimdall_assets.web.rendering import STATIC
from heimdall_assets.web.tasks import tasks_router


def create_app(settings: Settings) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings : Settings
        Which database, which token, which limits.
    """
    database, rates = Database(settings), Rates(settings)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        yield
        database.forget()

    # The documentation pages that FastAPI brings load scripts from other hosts.
    app = FastAPI(title="Heimdall measurement features", docs_url=None, redoc_url=None, lifespan=life)
    guard = Guard(settings, rates)
    app.add_middleware(Gate, rates=rates)
    if settings.cors_origins:  # outermost: browsers ask first without a token, and read refusals too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=("Retry-After",),
        )
    answer_problems(app, database)

    @app.exception_handler(LogInFirst)
    def log_in_first(request: Request, _error: LogInFirst) -> Response:
        if request.url.path == "/":
            return login_page()
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?{urlencode({'to': target})}", SEE_OTHER)

    app.include_router(health_router(settings, database))
    app.include_router(tasks_router(settings, database, guard))
    app.include_router(pauses_router(database, guard))
    app.include_router(metrics_router(database, guard))
    app.include_router(pictures_router(settings, database, guard))
    app.include_router(pages_router(settings, database, guard))
    app.include_router(login_router(guard))
    app.include_router(reference_router(app))
    app.mount("/static", StaticFiles(directory=STATIC))
    return app
