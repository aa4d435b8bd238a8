"""Requests to set right what Dagster shows: asked for by people, answered by any reconciliation that began after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.tables import feature_requests as requests

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from sqlalchemy.engine import Connection

_OPEN = (requests.c.kind == "reconcile", requests.c.finished_at.is_(None))

MOST_RUNS = 3
"""A request whose runs all died is given up after so many."""


def submit(connection: Connection, *, requested_by: str) -> UUID:
    """Write a request down; the sensor of the running system has it carried out."""
    statement = insert(requests).values(kind="reconcile", selection={}, requested_by=requested_by)
    request_id: UUID = connection.execute(statement.returning(requests.c.id)).scalar_one()
    return request_id


def take_up(connection: Connection, *, patience: timedelta) -> UUID | None:
    """The oldest request that no run is carrying out, marked as taken up; None where there is none.

    Parameters
    ----------
    connection : Connection
        In a transaction that holds the planner's lock, at a moment when no run reconciles.
    patience : timedelta
        A run that was asked for less than this ago may be on its way.
    """
    connection.execute(
        sa.update(requests)
        .where(
            *_OPEN,
            requests.c.num_batches >= MOST_RUNS,
            requests.c.started_at < sa.func.clock_timestamp() - patience,
        )
        .values(status="cancelled", finished_at=sa.func.clock_timestamp())
    )
    is_free = sa.or_(requests.c.started_at.is_(None), requests.c.started_at < sa.func.clock_timestamp() - patience)
    request_id: UUID | None = connection.scalar(
        sa.select(requests.c.id).where(*_OPEN, is_free).order_by(requests.c.created_at).limit(1)
    )
    if request_id is not None:
        connection.execute(
            sa.update(requests)
            .where(*_OPEN)
            .values(status="running", started_at=sa.func.clock_timestamp(), num_batches=requests.c.num_batches + 1)
        )
    return request_id


def answer(connection: Connection, *, begun_at: datetime) -> int:
    """End the requests that were made before a reconciliation began; returns their number."""
    done = (
        sa.update(requests)
        .where(*_OPEN, requests.c.created_at <= begun_at)
        .values(
            status="done",
            started_at=sa.func.coalesce(requests.c.started_at, begun_at),
            finished_at=sa.func.clock_timestamp(),
        )
    )
    return int(connection.execute(done).rowcount)
