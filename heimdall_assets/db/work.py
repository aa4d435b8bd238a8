"""The planner's statements: what is waiting, reserving it for a batch, and taking reservations back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.tables import feature_states as states

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

_FREE_PENDING = (states.c.state == "pending", states.c.reserved_by.is_(None))


def newest_pending(connection: Connection, limit: int) -> list[tuple[UUID, bool]]:
    """The sessions that were completed last: (id, has its partition key been registered)."""
    return _pending(connection, limit, states.c.completed_at.desc(), states.c.recording_session_id.desc())


def oldest_pending(connection: Connection, limit: int) -> list[tuple[UUID, bool]]:
    """The sessions that have waited longest: (id, has its partition key been registered)."""
    return _pending(connection, limit, states.c.completed_at, states.c.recording_session_id)


def _pending(connection: Connection, limit: int, *order: sa.ColumnElement[object]) -> list[tuple[UUID, bool]]:
    query = (
        sa.select(states.c.recording_session_id, states.c.registered_at.is_not(None))
        .where(*_FREE_PENDING)
        .order_by(*order)
        .limit(limit)
    )
    return [(row[0], bool(row[1])) for row in connection.execute(query)]


def due_retries(connection: Connection, limit: int) -> list[UUID]:
    """Failed sessions whose time has come, the longest due first."""
    query = (
        sa.select(states.c.recording_session_id)
        .where(
            states.c.state == "failed",
            states.c.reserved_by.is_(None),
            states.c.next_attempt_at <= sa.func.clock_timestamp(),
        )
        .order_by(states.c.next_attempt_at)
        .limit(limit)
    )
    return list(connection.scalars(query))


def reserve(connection: Connection, batch_id: str, session_ids: Collection[UUID]) -> None:
    """Mark sessions as planned in a batch; inside the transaction that holds the planner's lock."""
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id.in_(session_ids), states.c.reserved_by.is_(None))
        .values(reserved_by=batch_id, reserved_at=sa.func.clock_timestamp())
    )


def set_registered(connection: Connection, session_ids: Collection[UUID]) -> None:
    """Remember that these partition keys were given to Dagster."""
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id.in_(session_ids))
        .values(registered_at=sa.func.clock_timestamp())
    )


def open_batches(connection: Connection) -> Sequence[tuple[str, datetime, int]]:
    """Batches with sessions that are still reserved: (batch, since when, how many)."""
    query = (
        sa.select(states.c.reserved_by, sa.func.min(states.c.reserved_at), sa.func.count())
        .where(states.c.reserved_by.is_not(None))
        .group_by(states.c.reserved_by)
    )
    return [(str(row[0]), row[1], int(row[2])) for row in connection.execute(query)]


def release(connection: Connection, batch_ids: Collection[str]) -> int:
    """Take reservations back: the batches' runs ended, or never began, without having come to these sessions."""
    result = connection.execute(
        sa.update(states)
        .where(states.c.reserved_by.in_(batch_ids), states.c.state != "running")
        .values(reserved_by=None, reserved_at=None)
    )
    return int(result.rowcount)
