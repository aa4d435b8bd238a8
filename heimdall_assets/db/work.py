"""The planner's statements: what is waiting, reserving it for a batch, and taking reservations back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.locks import keep_settings
from heimdall_assets.db.sessions import classified, few_of, span_of
from heimdall_assets.db.suspects import contradicted
from heimdall_assets.db.tables import feature_states as states
from heimdall_assets.db.windows import EVER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

FRESH_SECONDS = 600.0
"""A session that was completed longer ago is one of the backlog: it has missed many ticks."""

_FREE_PENDING = (states.c.state == "pending", states.c.reserved_by.is_(None))


def newest_pending(connection: Connection, limit: int, *, grace_seconds: float = 0.0) -> list[tuple[UUID, bool, bool]]:
    """The sessions that were completed last: (id, has its partition key been registered, is it fresh).

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    limit : int
        Most sessions.
    grace_seconds : float
        A session waits so long after it was completed, for measurements that come late.
    """
    return _pending(
        connection, limit, grace_seconds, states.c.completed_at.desc(), states.c.recording_session_id.desc()
    )


def oldest_pending(connection: Connection, limit: int, *, grace_seconds: float = 0.0) -> list[tuple[UUID, bool, bool]]:
    """The sessions that have waited longest; see :func:`newest_pending`."""
    return _pending(connection, limit, grace_seconds, states.c.completed_at, states.c.recording_session_id)


def _pending(
    connection: Connection, limit: int, grace_seconds: float, *order: sa.ColumnElement[object]
) -> list[tuple[UUID, bool, bool]]:
    is_fresh = sa.not_(_is_older_than(FRESH_SECONDS))
    query = (
        sa.select(states.c.recording_session_id, states.c.registered_at.is_not(None), is_fresh)
        .where(*_FREE_PENDING)
        .order_by(*order)
        .limit(limit)
    )
    if grace_seconds > 0:
        query = query.where(_is_older_than(grace_seconds))
    return [(row[0], bool(row[1]), bool(row[2])) for row in connection.execute(query)]


def _is_older_than(seconds: float) -> sa.ColumnElement[bool]:
    """By our clock too: a session whose clock is ahead neither waits for ever nor stays fresh."""
    completed_at = sa.func.least(states.c.completed_at, states.c.first_seen_completed_at)
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(seconds, sa.Double))
    return completed_at <= sa.func.clock_timestamp() - age


def due_retries(connection: Connection, limit: int) -> list[UUID]:
    """Sessions whose next attempt's time has come, the longest due first: failed ones, and such with features.

    Those lack receivers that may have come since.
    """
    query = (
        sa.select(states.c.recording_session_id)
        .where(
            states.c.next_attempt_at.is_not(None),
            states.c.state.in_(("failed", "partial", "done")),
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
        Only these; None looks at all sessions, in a large database by the presence of rows alone.

    Returns
    -------
    set of UUID
        The sessions that changed and have features now.
    """
    if session_ids is None:
        return _featured(_set_as_is(connection, contradicted(connection), {}))
    found = contradicted(connection, session_ids)
    return _featured(_set_as_is(connection, found, {"session_ids": list(session_ids)}))


def absorb_changes(connection: Connection, limit: int) -> set[UUID]:
    """Notice what other code did to rows of measurement_features, as far as a trigger has queued it.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    limit : int
        Most changes that are looked at.

    Returns
    -------
    set of UUID
        The sessions that changed and have features now.
    """
    # What is being worked on, or about to be, is looked at when that has ended.
    query = """
        DELETE FROM heimdall.feature_changes WHERE id IN (
            SELECT c.id FROM heimdall.feature_changes c
            LEFT JOIN heimdall.feature_states fs USING (recording_session_id)
            WHERE fs.recording_session_id IS NULL OR (fs.state <> 'running' AND fs.reserved_by IS NULL)
            ORDER BY c.id LIMIT :limit)
        RETURNING recording_session_id"""
    touched = set(connection.scalars(sa.text(query), {"limit": limit}))
    return _featured(_set_as_is(connection, _THESE, {"session_ids": list(touched)})) if touched else set()


def refresh(connection: Connection, session_ids: Collection[UUID] | None = None) -> int:
    """Set states to what the tables say without asking first, as :func:`absorb` does, whether they can be wrong.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    session_ids : collection of UUID, optional
        Only these; None: all, which reads every row of features.

    Returns
    -------
    int
        Number of sessions that changed.
    """
    if session_ids is None:
        return len(_set_as_is(connection, "SELECT recording_session_id AS id FROM heimdall.feature_states", {}))
    return len(_set_as_is(connection, _THESE, {"session_ids": list(session_ids)}))


_THESE = "SELECT unnest(CAST(:session_ids AS uuid[])) AS id"


def _featured(changed: Mapping[UUID, str]) -> set[UUID]:
    return {session_id for session_id, state in changed.items() if state in {"done", "partial"}}


_IS_SAME = "fs.state = c.state AND fs.feature_version IS NOT DISTINCT FROM c.feature_version"
# A retry whose worker was lost waits as if it were new; with the features that it had, its attempts go on counting.
_IS_RETRY = "fs.state = 'pending' AND c.state = 'partial' AND fs.feature_version = c.feature_version"


def _set_as_is(connection: Connection, found: str, parameters: dict[str, Any]) -> dict[UUID, str]:
    """Set states to what the tables say, for the sessions that a SELECT of (id) finds; returns those that changed."""
    keep_settings(connection)
    span, few = EVER, few_of(connection, found, parameters)
    if few is not None:
        if not few:
            return {}
        found, parameters, span = _THESE, {"session_ids": few}, span_of(connection, few)
    kept = f"{_IS_SAME} OR {_IS_RETRY}"
    query = f"""
        WITH found AS MATERIALIZED ({found}),
        wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s JOIN found USING (id) WHERE s.status = 'completed')
        UPDATE heimdall.feature_states fs
        SET state = c.state, measurements_total = c.measurements_total,
            measurements_with_features = c.measurements_with_features, feature_version = c.feature_version,
            stale_reason = c.stale_reason, new_inputs = c.new_inputs, known_source_id = c.known_source_id,
            frequency_hz = c.frequency_hz, measurements_used = c.measurements_used,
            attempts = CASE WHEN {kept} THEN fs.attempts ELSE 0 END,
            next_attempt_at = CASE WHEN {kept} THEN fs.next_attempt_at END,
            reason = CASE WHEN {_IS_SAME} THEN fs.reason END, message = CASE WHEN {_IS_SAME} THEN fs.message END,
            first_seen_completed_at = CASE WHEN c.state = 'pending' AND fs.state <> 'pending' THEN clock_timestamp()
                                           ELSE fs.first_seen_completed_at END,
            reported_at = CASE WHEN {_IS_SAME} THEN fs.reported_at END,
            updated_at = clock_timestamp()
        FROM ({classified(connection, "wanted", span)}) c
        WHERE fs.recording_session_id = c.id
          -- looked at again: a worker may have begun since
          AND fs.state NOT IN ('running', 'ignored') AND fs.reserved_by IS NULL
          AND (fs.state, fs.measurements_total, fs.measurements_with_features, fs.feature_version, fs.new_inputs,
               fs.stale_reason, fs.known_source_id, fs.frequency_hz, fs.measurements_used)
              IS DISTINCT FROM
              (c.state, c.measurements_total, c.measurements_with_features, c.feature_version, c.new_inputs,
               c.stale_reason, c.known_source_id, c.frequency_hz, c.measurements_used)
        RETURNING fs.recording_session_id AS id, fs.state"""
    return {row.id: row.state for row in connection.execute(sa.text(query), parameters)}


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
