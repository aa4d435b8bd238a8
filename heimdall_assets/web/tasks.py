"""The admin API: ask for sessions, follow what was asked for, stop it; coverage figures.

Nothing here launches a run: a trigger writes a request down, and the planner of the running system carries it out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request, status
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from heimdall_assets.db import requests
from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.open_requests import submit_or_join
from heimdall_assets.db.pauses import current_pause
from heimdall_assets.db.progress import Progress, progress
from heimdall_assets.db.requests import Selection
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.web.problems import REFUSALS, Problem, shown

if TYPE_CHECKING:
    from heimdall_assets.settings import Settings
    from heimdall_assets.web.auth import Guard
    from heimdall_assets.web.database import Database

logger = logging.getLogger(__name__)

PREFIX = "/api/v1/admin/features"
NO_TASK = {"model": Problem, "description": "There is no such task."}
TASK_ENDED = {"model": Problem, "description": "The task has ended."}
MOST_IN_BATCH = 1000
MOST_BATCHES = 1_000_000


def _no_text(value: object) -> object:
    # JSON tells numbers from texts: "10" is a mistake of the sender's, 10.0 is ten.
    if isinstance(value, bool | str):
        raise ValueError("Input should be a valid integer")  # noqa: TRY004  # pydantic wants a ValueError
    return value


BatchSize = Annotated[int, Field(ge=1, le=MOST_IN_BATCH), BeforeValidator(_no_text)]
NumBatches = Annotated[int, Field(ge=1, le=MOST_BATCHES), BeforeValidator(_no_text)]


class BatchRequest(BaseModel):
    """How many pending sessions are asked for: at most batch_size x max_batches, the newest."""

    model_config = ConfigDict(extra="forbid")

    batch_size: BatchSize | None = Field(default=None, description="Sessions in one run; default HEIMDALL_BATCH_SIZE")
    max_batches: NumBatches | None = Field(
        default=None, description="Most runs; default HEIMDALL_MAX_BATCHES; null: no limit"
    )


class Queued(BaseModel):
    """A request that was written down, or the same one that had been."""

    task_id: UUID
    message: str
    status: Literal["queued"]


class Planned(BaseModel):
    """How many sessions a request would find."""

    planned: int


class TaskState(BaseModel):
    """How far a request is; at the end done + failed is total_found, unless it was stopped."""

    task_id: UUID
    state: Literal["queued", "running", "done", "cancelling", "cancelled"]
    status: Literal["queued", "running", "done", "cancelling", "cancelled"] = Field(description="The same as state")
    total_found: int
    tasks_queued: int
    done: int
    failed: int
    remaining: int
    num_batches: int
    eta_seconds: float | None


def task_state(found: Progress) -> TaskState:
    """A request's progress as the API names it."""
    return TaskState.model_validate(
        {
            "task_id": found.request_id,
            "state": found.status,
            **{name: getattr(found, name) for name in TaskState.model_fields if name not in {"task_id", "state"}},
        }
    )


def known_parameters(request: Request) -> None:
    """Refuse a parameter that the call does not have: a misspelt dry_run must not start anything.

    Raises
    ------
    HTTPException
        422.
    """
    allowed = {field.alias for field in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in allowed:
            options = f"allowed are {', '.join(sorted(allowed))}" if allowed else "there are none"
            detail = f"the query parameter {shown(name)} is not known: {options}"
            raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)


def tasks_router(settings: Settings, database: Database, guard: Guard) -> APIRouter:
    """The calls below /api/v1/admin/features."""
    dependencies = [Depends(guard), Depends(known_parameters)]
    router = APIRouter(prefix=PREFIX, tags=["features"], dependencies=dependencies, responses=REFUSALS)

    def ask(request: Request, selection: Selection, what: str, how: str) -> Queued:
        requested_by = f"api {request.state.caller.name}"
        with database.transaction() as connection:
            task_id, is_new = submit_or_join(connection, selection, requested_by=requested_by)
            held = current_pause(connection)
        logger.info("%s %s %s as request %s by %s", what, "started" if is_new else "joined", how, task_id, requested_by)
        text = f"{what} started {how}" if is_new else f"{what} is already under way {how}: this is the same task"
        if held is not None:
            text += f"; it waits: {held.in_words}"
        return Queued(task_id=task_id, message=text, status="queued")

    @router.post("/batch-extract", summary="Ask for a number of pending sessions")
    def batch_extract(
        request: Request,
        body: Annotated[BatchRequest | None, Body()] = None,
        batch_size: Annotated[int | None, Query(ge=1, le=MOST_IN_BATCH, description="Where the body has none")] = None,
        max_batches: Annotated[int | None, Query(ge=1, le=MOST_BATCHES, description="Where the body has none")] = None,
    ) -> Queued:
        """Ask for the newest pending sessions, up to batch_size x max_batches; the body wins over the query.

        The same request while one is under way joins it: the answer has its task_id.
        """
        given = body or BatchRequest()
        size = given.batch_size or batch_size or settings.batch_size
        batches = given.max_batches or max_batches or settings.max_batches
        is_unlimited = "max_batches" in given.model_fields_set and given.max_batches is None
        selection = Selection(pending=True, limit=None if is_unlimited else size * batches, batch_size=size)
        most = "unlimited" if is_unlimited else str(batches)
        return ask(request, selection, "Batch extraction", f"(batch_size={size}, max_batches={most})")

    @router.post("/backfill-all", summary="Ask for every pending session")
    def backfill_all(
        request: Request,
        dry_run: Annotated[bool, Query(description="Only say how many sessions that is")] = False,
    ) -> Queued | Planned:
        """Ask for all that is pending now; failed sessions are not, see `heimdall backfill --retry-failed`."""
        selection = Selection(pending=True)
        if dry_run:
            with database.transaction() as connection:
                return Planned(planned=requests.count(connection, selection, feature_version=FEATURE_VERSION))
        return ask(request, selection, "Full backfill", "- this may take hours")

    @router.get("/tasks/{task_id}", summary="How far a task is", responses={404: NO_TASK})
    def show_task(task_id: UUID) -> TaskState:
        """State, counts and the time that is left."""
        with database.transaction() as connection:
            return task_state(progress(connection, task_id))

    @router.delete("/tasks/{task_id}", summary="Stop a task", responses={404: NO_TASK, 409: TASK_ENDED})
    def stop_task(task_id: UUID) -> TaskState:
        """What is not queued yet will not be; what runs ends as it would have. Stopping twice changes nothing."""
        with database.transaction() as connection:
            cancelled = requests.cancel(connection, task_id)
        if cancelled.status == "done":
            raise HTTPException(status.HTTP_409_CONFLICT, f"task {task_id} has ended: there is nothing to stop")
        return task_state(cancelled)

    @router.get("/stats", summary="Coverage")
    def stats() -> dict[str, int | float | None]:
        """The figures of `heimdall stats`, of the tables as they are now."""
        with database.transaction() as connection:
            return coverage_figures(connection, feature_version=FEATURE_VERSION)

    return router
