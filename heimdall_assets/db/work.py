"""The planner's statements: what is waiting, reserving it for a batch, and taking reservations back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.sessions import HAS_FEATURES, classified, outdated
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


def absorb(connection: Connection, session_ids: Collection[UUID] | None = None) -> set[UUID]:
    """Notice what other code did: features that it wrote for sessions that were waiting, replaced or took away.

    A session that it wrote features for is done, and not planned; one that has none any more waits again, and so does
    one that had no recordings and now has.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    session_ids : collection of UUID, optional
        Only these; None looks at all sessions.

    Returns
    -------
    set of UUID
        The sessions that changed and have features now.
    """
    among = "true" if session_ids is None else "{0}.recording_session_id = ANY (:session_ids)"
    query = f"""
        WITH found AS MATERIALIZED (
            SELECT fs.recording_session_id AS id FROM heimdall.feature_states fs
            LEFT JOIN heimdall.measurement_features mf
                ON mf.recording_session_id = fs.recording_session_id AND {HAS_FEATURES} AND {among.format("mf")}
            WHERE fs.reserved_by IS NULL AND {among.format("fs")} AND {outdated(connection)}),
        wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s JOIN found USING (id))
        UPDATE heimdall.feature_states fs
        SET state = c.state, measurements_total = c.measurements_total,
            measurements_with_features = c.measurements_with_features, feature_version = c.feature_version,
            stale_reason = c.stale_reason,
            attempts = 0, next_attempt_at = NULL, reason = NULL, message = NULL, reported_at = NULL,
            updated_at = clock_timestamp()
        FROM ({classified(connection, "wanted")}) c
        WHERE fs.recording_session_id = c.id
          -- looked at again: a worker may have begun since
          AND fs.state NOT IN ('running', 'ignored') AND fs.reserved_by IS NULL
        RETURNING fs.recording_session_id AS id, fs.state"""
    parameters = {} if session_ids is None else {"session_ids": list(session_ids)}
    changed = connection.execute(sa.text(query), parameters)
    return {row.id for row in changed if row.state in {"done", "partial"}}


def reserve(connection: Connection, batch_id: str, session_ids: Collection[UUID]) -> None:
    """Mark sessions as planned in a batch; inside the transaction that holds the planner's lock."""
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id.in_(session_ids), states.c.reserved_by.is_(None))
        .values(reserved_by=batch_id, reserved_at=sa.func.clock_timestamp())
    )


def set_registered(connection: Connection, session_ids: Collection[UUID]) -> None:
    """Remember that these partition keys were given to Dagster; a retired one is back."""
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id.in_(session_ids))
        .values(registered_at=sa.func.clock_timestamp(), retired_at=None)
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
