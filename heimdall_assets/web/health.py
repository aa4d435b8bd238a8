"""Whether the pipeline works, for monitors, which need no token."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field

from heimdall_assets.db.automation import turned_off
from heimdall_assets.db.condition import condition
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.errors import DatabaseError
from heimdall_assets.settings import Settings
from heimdall_assets.web.database import Database
from heimdall_assets.web.problems import RETRY_AFTER_S


class Health(BaseModel):
    """What works."""

    status: Literal["ok", "degraded"]
    database: str = Field(description="ok, or why it is not: database_unavailable, wrong_database, ...")
    daemon: Literal["ok", "silent", "unknown"]
    planning: Literal["on", "paused", "stopped", "unknown"]
    reasons: list[str] | None = Field(default=None, description="What keeps sessions waiting; with status 503")
    warnings: list[str] | None = Field(default=None, description="What somebody wants so, or should look at")


def health_router(settings: Settings, database: Database) -> APIRouter:
    """``/health`` and ``/health/live``."""
    router = APIRouter(prefix="/health", tags=["health"])
    dagster = Database(settings, dagster_url)

    def stopped_by_people() -> list[str]:
        try:
            with dagster.transaction() as connection:
                return turned_off(connection)
        except DatabaseError:
            dagster.forget()
            return []

    @router.get(
        "",
        summary="Whether it works",
        response_model_exclude_none=True,
        responses={503: {"model": Health, "description": "It does not; says why."}},
    )
    def health(response: Response) -> Health:
        """State of the database, of the daemon and of planning, for monitors; needs no token.

        A pause, or a sensor that somebody stopped in Dagster, is somebody's will: a warning with status 200.
        """
        try:
            with database.transaction() as connection:
                found = condition(connection, turned_off=stopped_by_people())
        except DatabaseError as error:
            database.forget()
            answer = Health(
                status="degraded",
                database=error.reason,
                daemon="unknown",
                planning="unknown",
                reasons=[f"{error.reason}: `heimdall doctor` says more"],
            )
        else:
            answer = Health(
                status="degraded" if found.reasons else "ok",
                database="ok",
                daemon=found.daemon,
                planning=found.planning,
                reasons=list(found.reasons) or None,
                warnings=list(found.warnings) or None,
            )
        if answer.reasons:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return answer

    @router.get("/live", summary="Whether the process answers")
    def live() -> dict[str, str]:
        """For supervisors, which would not help by restarting it while the database is away; needs no token."""
        return {"status": "ok"}

    return router
