"""Which sessions the ledger holds: completed ones come in with their first state, those that have gone leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.locks import keep_settings
from heimdall_assets.db.sessions import classified, few_of, span_of
from heimdall_assets.db.windows import EVER

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection


def discover(
    connection: Connection, *, since: datetime | None = None, session_ids: Collection[UUID] | None = None
) -> int:
    """Give completed sessions that have no state yet their first one.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    since : datetime, optional
        Only sessions that Heimdall touched after this; None looks at all (an anti-join over the whole table).
    session_ids : collection of UUID, optional
        Only these.

    Returns
    -------
    int
        Number of sessions that were new.
    """
    keep_settings(connection)  # a session whose features are found may be stale by them
    conditions = ["s.status = 'completed'"]
    if since is not None:
        conditions.append("(s.updated_at >= :since OR s.created_at >= :since)")
    if session_ids is not None:
        conditions.append("s.id = ANY (:session_ids)")
    conditions.append("NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs WHERE fs.recording_session_id = s.id)")
    given = {"since": since, "session_ids": None if session_ids is None else list(session_ids)}
    parameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    # A statement of its own, since PostgreSQL uses one processor alone where the same statement writes.
    few = few_of(
        connection, f"SELECT s.id FROM heimdall.recording_sessions s WHERE {' AND '.join(conditions)}", parameters
    )
    if few is not None and not few:
        return 0
    span = EVER
    if few is not None:  # else the database is new to us
        span = span_of(connection, few)
        conditions.append("s.id = ANY (:few)")
        parameters["few"] = few
    query = f"""
        WITH wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s WHERE {" AND ".join(conditions)})
        INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, measurements_total,
                                             measurements_with_features, feature_version, stale_reason,
                                             known_source_id, frequency_hz, measurements_used)
        SELECT c.id, c.state, c.completed_at, c.measurements_total, c.measurements_with_features, c.feature_version,
               c.stale_reason, c.known_source_id, c.frequency_hz, c.measurements_used
        FROM ({classified(connection, "wanted", span)}) c
        ON CONFLICT DO NOTHING"""
    return connection.execute(sa.text(query), parameters).rowcount


def forget(connection: Connection, session_id: UUID) -> None:
    """Drop the state of a session that was deleted or is not completed any more, or it would be planned for ever.

    Completed again, it is discovered again; one that somebody took out of the work list stays out. That Dagster has
    a partition of it is remembered: reconciliation takes it away.
    """
    query = """
        WITH forgotten AS (
            DELETE FROM heimdall.feature_states WHERE recording_session_id = :id AND state <> 'ignored'
            RETURNING recording_session_id, registered_at)
        INSERT INTO heimdall.feature_vanished_partitions (recording_session_id)
        SELECT recording_session_id FROM forgotten WHERE registered_at IS NOT NULL
        ON CONFLICT DO NOTHING"""
    connection.execute(sa.text(query), {"id": session_id})


def forget_gone(connection: Connection, *, since: datetime | None = None) -> int:
    """:func:`forget` every session that was deleted or is not completed any more; returns how many that were.

    What is being worked on is left to its worker, which finds out by itself.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    since : datetime, optional
        Only sessions that Heimdall touched after this, and such that other code took features from; None looks at all.
    """
    among = (
        "true"
        if since is None
        else """
        fs.recording_session_id IN (
            SELECT s.id FROM heimdall.recording_sessions s WHERE s.status <> 'completed' AND s.updated_at >= :since
            UNION ALL SELECT c.recording_session_id FROM heimdall.feature_changes c)""".strip()
    )
    query = f"""
        WITH forgotten AS (
            DELETE FROM heimdall.feature_states fs
            WHERE fs.state NOT IN ('running', 'ignored') AND {among}
              AND NOT EXISTS (SELECT 1 FROM heimdall.recording_sessions s
                              WHERE s.id = fs.recording_session_id AND s.status = 'completed')
            RETURNING fs.recording_session_id, fs.registered_at),
        remembered AS (
            INSERT INTO heimdall.feature_vanished_partitions (recording_session_id)
            SELECT recording_session_id FROM forgotten WHERE registered_at IS NOT NULL
            ON CONFLICT DO NOTHING)
        SELECT count(*) FROM forgotten"""
    return int(connection.scalar(sa.text(query), {} if since is None else {"since": since}) or 0)


def has_gone(connection: Connection) -> bool:
    """True if sessions that have a state were deleted or are not completed any more.

    Asked after every completed session was discovered: then there are as many states as sessions, or some have gone.
    Counting both takes a tenth of the time of comparing them.
    """
    query = """
        SELECT (SELECT count(*) FROM heimdall.recording_sessions WHERE status = 'completed')
               <> (SELECT coalesce(sum(sessions), 0) FROM heimdall.feature_totals)"""
    return bool(connection.scalar(sa.text(query)))
