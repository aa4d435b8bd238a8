"""The switch that holds planning, over HTTP."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from heimdall_assets.db import pauses
from heimdall_assets.db.pauses import MOST_REASON_CHARACTERS, REASON
from heimdall_assets.web.problems import REFUSALS
from heimdall_assets.web.tasks import PREFIX, known_parameters

if TYPE_CHECKING:
    from heimdall_assets.db.pauses import Pause
    from heimdall_assets.web.auth import Guard
    from heimdall_assets.web.database import Database

logger = logging.getLogger(__name__)


class PauseReason(BaseModel):
    """Why planning is to be held."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(
        default=None,
        max_length=MOST_REASON_CHARACTERS,
        pattern=f"^{REASON}$",
        description="A line that everybody will read",
    )


class Switch(BaseModel):
    """Whether planning is held, by whom and why."""

    paused: bool
    paused_at: datetime | None = None
    paused_by: str | None = None
    reason: str | None = None
    changed: bool = Field(default=False, description="Whether this call did it")


def pauses_router(database: Database, guard: Guard) -> APIRouter:
    """``pause`` and ``resume`` below /api/v1/admin/features."""
    dependencies = [Depends(guard), Depends(known_parameters)]
    router = APIRouter(prefix=PREFIX, tags=["switch"], dependencies=dependencies, responses=REFUSALS)

    @router.get("/pause", summary="Whether planning is held")
    def show() -> Switch:
        """Who paused, when and why."""
        with database.transaction() as connection:
            return _switch(pauses.current_pause(connection))

    @router.post("/pause", summary="Hold planning")
    def pause(request: Request, body: Annotated[PauseReason | None, Body()] = None) -> Switch:
        """Sensor, schedule and requests wait; what runs ends. Paused already, it stays as it is."""
        by, reason = f"api {request.state.caller.name}", body.reason if body else None
        with database.transaction() as connection:
            held, is_new = pauses.pause(connection, by=by, reason=reason)
        if is_new:
            logger.info("%s", held.in_words)
        return _switch(held, changed=is_new)

    @router.post("/resume", summary="Let planning go on")
    def resume(request: Request) -> Switch:
        """Sensor, schedule and requests go on within ten seconds. Not paused, nothing changes."""
        by = f"api {request.state.caller.name}"
        with database.transaction() as connection:
            ended = pauses.resume(connection, by=by)
        if ended is not None:
            logger.info("resumed by %s; was %s", by, ended.in_words)
        return _switch(None, changed=ended is not None)

    return router


def _switch(held: Pause | None, *, changed: bool = False) -> Switch:
    return Switch(paused=held is not None, changed=changed, **({} if held is None else asdict(held)))
