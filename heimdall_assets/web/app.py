"""The application: health for everybody, figures for those with a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.heartbeats import PLANNER, seconds_since
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.errors import DatabaseError
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.web.auth import admin_token, require_token

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

ADMIN = "/api/v1/admin/features"
DAEMON_SILENCE_S = 60.0
"""A daemon that has not planned for so long is called silent: its sensor ticks every ten seconds."""
RETRY_AFTER_S = 10


def create_app(settings: Settings) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings : Settings
        Which database, which token.
    """
    app = FastAPI(title="Heimdall measurement features", docs_url=None, redoc_url=None)
    engines: list[Engine] = []
    token = admin_token(settings)

    def engine() -> Engine:
        # Opened at the first request: a server that is away now may be there then.
        if not engines:
            engines.append(open_engine(heimdall_url(settings), pool_size=2))
        return engines[0]

    def admitted(authorization: Annotated[str | None, Header()] = None) -> None:
        require_token(token, authorization)

    @app.exception_handler(DatabaseError)
    def database_error(_request: Request, error: DatabaseError) -> JSONResponse:
        # An embedded server may come back at another address.
        while engines:
            engines.pop().dispose()
        return JSONResponse({"detail": error.message}, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})

    @app.get("/health")
    def health() -> dict[str, str]:
        """State of the database and of the daemon, for monitors."""
        try:
            with transaction(engine()) as connection:
                silence_s = seconds_since(connection, PLANNER)
        except DatabaseError as error:
            return {"status": "degraded", "database": error.reason, "daemon": "unknown"}
        daemon = "ok" if silence_s is not None and silence_s < DAEMON_SILENCE_S else "silent"
        return {"status": "ok" if daemon == "ok" else "degraded", "database": "ok", "daemon": daemon}

    @app.get(f"{ADMIN}/stats", dependencies=[Depends(admitted)])
    def stats() -> dict[str, int | float | None]:
        """The figures of ``heimdall stats``."""
        with transaction(engine()) as connection:
            return coverage_figures(connection, feature_version=FEATURE_VERSION)

    return app
