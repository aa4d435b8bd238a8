"""What Dagster has of the sessions, and what it should have: keys, reports of features, and the window of both.

Dagster is told three things of a session: its partition key (``registered_at``), that it has features
(``reported_at``), and, once the newest ``window`` sessions with features are all younger, that the key is gone again
(``retired_at``). Storing other features clears ``reported_at`` in the same transaction, so what a killed run did not
report is found here, exactly, and without asking Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.locks import live_runs
from heimdall_assets.db.tables import feature_states as states

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy.engine import Connection

_IS_COMPLETED = """
    EXISTS (SELECT 1 FROM heimdall.recording_sessions s
            WHERE s.id = fs.recording_session_id AND s.status = 'completed')""".strip()

_IS_INSIDE = """
    coalesce((fs.completed_at, fs.recording_session_id) > (
        SELECT f.completed_at, f.recording_session_id FROM heimdall.feature_states f
        WHERE f.state IN ('done', 'partial') AND f.retired_at IS NULL
        ORDER BY f.completed_at DESC, f.recording_session_id DESC OFFSET :window LIMIT 1), true)""".strip()
"""Among the newest ``window`` sessions that have features; all are while there are no more."""

_UNREPORTED = "fs.state IN ('done', 'partial') AND fs.reported_at IS NULL AND fs.retired_at IS NULL"

_VANISHED = f"""
    SELECT fs.recording_session_id AS id FROM heimdall.feature_states fs
    WHERE fs.registered_at IS NOT NULL AND fs.state <> 'running' AND fs.reserved_by IS NULL AND NOT {_IS_COMPLETED}
    UNION
    SELECT v.recording_session_id FROM heimdall.feature_vanished_partitions v
    WHERE NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs
                      WHERE fs.recording_session_id = v.recording_session_id)"""


def unreported(connection: Connection, *, window: int, limit: int) -> list[tuple[UUID, bool]]:
    """Sessions whose features Dagster was not told of, inside the window, the oldest first: (id, has it the key).

    Those that a live run has stored are left to it: it is about to report them.
    """
    last_runs = f"SELECT DISTINCT fs.run_id FROM heimdall.feature_states fs WHERE {_UNREPORTED} AND run_id IS NOT NULL"
    alive = live_runs(connection, list(connection.scalars(sa.text(last_runs))))
    query = f"""
        SELECT fs.recording_session_id, fs.registered_at IS NOT NULL FROM heimdall.feature_states fs
        WHERE {_UNREPORTED} AND fs.reserved_by IS NULL AND (fs.run_id IS NULL OR fs.run_id <> ALL (:alive))
          AND {_IS_INSIDE} AND {_IS_COMPLETED}
        ORDER BY fs.completed_at, fs.recording_session_id LIMIT :limit"""
    rows = connection.execute(sa.text(query), {"alive": list(alive), "window": window, "limit": limit})
    return [(row[0], bool(row[1])) for row in rows]


def set_reported(connection: Connection, session_ids: Collection[UUID]) -> None:
    """Dagster has been told of the features of these."""
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id.in_(session_ids))
        .values(reported_at=sa.func.clock_timestamp())
    )


def retire(connection: Connection, *, window: int, limit: int, used: Collection[UUID]) -> list[tuple[UUID, bool]]:
    """Mark sessions as retired that have features and are older than the newest ``window`` of those.

    Parameters
    ----------
    connection : Connection
        In a transaction that holds the planner's lock: what is planned is left alone.
    window : int
        How many are kept.
    limit : int
        How many are marked, at most; the oldest first.
    used : collection of UUID
        These keep their keys: runs or backfills that have not ended cover them.

    Returns
    -------
    list of (UUID, bool)
        The sessions, and whether Dagster has their key.
    """
    query = f"""
        WITH old AS MATERIALIZED (
            SELECT fs.recording_session_id AS id, fs.registered_at IS NOT NULL AS is_registered
            FROM heimdall.feature_states fs
            WHERE fs.state IN ('done', 'partial') AND fs.retired_at IS NULL AND fs.reserved_by IS NULL
              AND fs.recording_session_id <> ALL (:used) AND NOT {_IS_INSIDE}
            ORDER BY fs.completed_at, fs.recording_session_id LIMIT :limit)
        UPDATE heimdall.feature_states fs SET retired_at = clock_timestamp(), registered_at = NULL
        FROM old WHERE fs.recording_session_id = old.id
        RETURNING old.id, old.is_registered"""
    rows = connection.execute(sa.text(query), {"used": list(used), "window": window, "limit": limit})
    return [(row[0], bool(row[1])) for row in rows]


def take_vanished(connection: Connection, *, limit: int, used: Collection[UUID]) -> list[UUID]:
    """Forget sessions that were deleted or are not completed any more, and of which Dagster has the key.

    In a transaction that holds the planner's lock. One that somebody ignored stays so, without a key.
    """
    chosen = f"SELECT v.id FROM ({_VANISHED}) v WHERE v.id <> ALL (:used) ORDER BY v.id LIMIT :limit"
    ids = list(connection.scalars(sa.text(chosen), {"used": list(used), "limit": limit}))
    for statement in (
        "DELETE FROM heimdall.feature_vanished_partitions WHERE recording_session_id = ANY (:ids)",
        "DELETE FROM heimdall.feature_states WHERE recording_session_id = ANY (:ids) AND state <> 'ignored'",
        "UPDATE heimdall.feature_states SET registered_at = NULL WHERE recording_session_id = ANY (:ids)",
    ):
        connection.execute(sa.text(statement), {"ids": ids})
    return ids


def unwanted(connection: Connection, keys: Collection[UUID]) -> set[UUID]:
    """Those of Dagster's keys that it should not have: of no completed session, or of a retired one.

    A key that is planned or being worked on is not among them.
    """
    query = """
        SELECT k.id FROM unnest(CAST(:keys AS uuid[])) AS k (id)
        LEFT JOIN heimdall.feature_states fs ON fs.recording_session_id = k.id
        LEFT JOIN heimdall.recording_sessions s ON s.id = k.id AND s.status = 'completed'
        WHERE (s.id IS NULL OR fs.retired_at IS NOT NULL)
          AND fs.reserved_by IS NULL AND fs.state IS DISTINCT FROM 'running'"""
    return set(connection.scalars(sa.text(query), {"keys": list(keys)}))


def shown(connection: Connection) -> set[UUID]:
    """Sessions that Dagster should show as materialized, as far as is known here."""
    query = sa.select(states.c.recording_session_id).where(
        states.c.state.in_(("done", "partial")),
        states.c.registered_at.is_not(None),
        states.c.reported_at.is_not(None),
        states.c.retired_at.is_(None),
    )
    return set(connection.scalars(query))


def overdue(connection: Connection, *, grace: timedelta, limit: int) -> list[UUID]:
    """Sessions that have had features for longer than a grace period, and Dagster was not told of; at most so many."""
    query = f"""
        SELECT fs.recording_session_id FROM heimdall.feature_states fs
        WHERE {_UNREPORTED} AND fs.reserved_by IS NULL
          AND fs.updated_at < clock_timestamp() - make_interval(secs => :grace_seconds)
        LIMIT :limit"""
    parameters = {"grace_seconds": grace.total_seconds(), "limit": limit}
    return list(connection.scalars(sa.text(query), parameters))


def latest_shown(connection: Connection, *, grace: timedelta, limit: int) -> list[UUID]:
    """Of the latest sessions those that Dagster has had to show as materialized for longer than a grace period."""
    query = """
        SELECT latest.recording_session_id FROM (
            SELECT fs.* FROM heimdall.feature_states fs
            WHERE fs.state IN ('done', 'partial') AND fs.retired_at IS NULL
            ORDER BY fs.completed_at DESC, fs.recording_session_id DESC LIMIT :limit) latest
        WHERE latest.registered_at IS NOT NULL
          AND latest.reported_at < clock_timestamp() - make_interval(secs => :grace_seconds)"""
    parameters = {"grace_seconds": grace.total_seconds(), "limit": limit}
    return list(connection.scalars(sa.text(query), parameters))


def set_lost(connection: Connection, session_ids: Collection[UUID], *, has_key: bool) -> None:
    """Dagster does not show the features of these after all, or not even their key: they are to be reported again."""
    values: dict[str, object] = {"reported_at": None} if has_key else {"reported_at": None, "registered_at": None}
    connection.execute(sa.update(states).where(states.c.recording_session_id.in_(session_ids)).values(**values))


def differences(connection: Connection, *, window: int) -> dict[str, int]:
    """What reconciliation would do, as far as PostgreSQL alone can tell.

    Returns
    -------
    dict
        unreported: sessions with features that Dagster was not told of; vanished: partitions without a completed
        session; beyond_window: sessions with features to be retired.
    """
    counted = {
        "unreported": f"""
            SELECT count(*) FROM heimdall.feature_states fs
            WHERE {_UNREPORTED} AND fs.reserved_by IS NULL AND {_IS_INSIDE} AND {_IS_COMPLETED}""",
        "vanished": f"SELECT count(*) FROM ({_VANISHED}) v",
        "beyond_window": f"""
            SELECT count(*) FROM heimdall.feature_states fs
            WHERE fs.state IN ('done', 'partial') AND fs.retired_at IS NULL AND NOT {_IS_INSIDE}""",
    }
    return {
        name: int(connection.scalar(sa.text(query), {"window": window} if ":window" in query else {}) or 0)
        for name, query in counted.items()
    }
