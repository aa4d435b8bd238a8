"""The latest sessions: the lists that people page through, and the sample that figures of quality are taken of.

Everything here walks an index of feature_states from its end, so that it costs the same at a million sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.coverage import FailureGroup
from heimdall_assets.db.values import NUMBER, is_sound

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

STATES = ("pending", "running", "done", "partial", "empty", "failed", "quarantined", "ignored")
TROUBLE = ("failed", "quarantined")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of a list ends: the next one begins behind it."""

    completed_at: datetime
    session_id: UUID


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session in a list."""

    id: UUID
    name: str | None
    started_at: datetime
    completed_at: datetime
    state: str
    reason: str | None
    message: str | None
    attempts: int
    run_id: str | None
    feature_version: int | None
    measurements_total: int
    measurements_with_features: int
    mean_snr_db: float | None

    @property
    def position(self) -> Position:
        """Its place in the list."""
        return Position(self.completed_at, self.id)


def latest_sessions(states: str, limit: str, condition: str = "true") -> str:
    """SQL for the latest sessions in any of some states, from the index alone.

    Parameters
    ----------
    states, limit : str
        Names of the bound parameters: an array of states, a number.
    condition : str
        On ``fs``, a row of feature_states.

    Returns
    -------
    str
        A SELECT of feature_states' columns, the latest first.
    """
    return f"""
        SELECT latest.* FROM unnest(CAST(:{states} AS text[])) AS wanted(state)
        CROSS JOIN LATERAL (
            SELECT fs.* FROM heimdall.feature_states fs
            WHERE fs.state = wanted.state AND {condition}
            ORDER BY fs.completed_at DESC, fs.recording_session_id LIMIT :{limit}) latest
        ORDER BY latest.completed_at DESC, latest.recording_session_id LIMIT :{limit}"""


_ORDER = "ORDER BY fs.completed_at DESC, fs.recording_session_id LIMIT :limit"
_BEHIND = "fs.completed_at <= :after_time AND (fs.completed_at < :after_time OR fs.recording_session_id > :after_id)"

_FAILED_FOR = """
    SELECT fs.* FROM heimdall.feature_states fs
    WHERE fs.state IN ('failed', 'quarantined') AND fs.reason = :reason AND fs.state = ANY (:states) AND {behind}
    {order}"""

_FEATURED = "fs.state IN ('done', 'partial') AND fs.state = ANY (:states)"

# Each part is a stretch of an index; the versions are found by as many looks as there are.
_STALE = f"""
    WITH RECURSIVE versions (version) AS (
        SELECT min(fs.feature_version) FROM heimdall.feature_states fs
        WHERE fs.state IN ('done', 'partial') AND fs.feature_version < :version
        UNION ALL
        SELECT (SELECT min(fs.feature_version) FROM heimdall.feature_states fs
                WHERE fs.state IN ('done', 'partial')
                  AND fs.feature_version > versions.version AND fs.feature_version < :version)
        FROM versions WHERE versions.version IS NOT NULL)
    SELECT older.* FROM versions CROSS JOIN LATERAL (
        SELECT fs.* FROM heimdall.feature_states fs
        WHERE {_FEATURED} AND fs.feature_version = versions.version AND {{behind}} {{order}}) older
    UNION ALL
    (SELECT fs.* FROM heimdall.feature_states fs
     WHERE {_FEATURED} AND fs.feature_version IS NULL AND {{behind}} {{order}})
    UNION ALL
    (SELECT fs.* FROM heimdall.feature_states fs
     WHERE {_FEATURED} AND fs.stale_reason IS NOT NULL AND fs.feature_version >= :version AND {{behind}} {{order}})"""


def list_sessions(
    connection: Connection,
    *,
    states: Collection[str] = STATES,
    reason: str | None = None,
    stale_before: int | None = None,
    after: Position | None = None,
    limit: int = 50,
) -> list[ListedSession]:
    """The latest sessions in some states.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    states : collection of str
        Any of these.
    reason : str, optional
        Of the failed and quarantined ones, only those that failed for it.
    stale_before : int, optional
        Only those whose features are stale where this is the current version; excludes a reason.
    after : Position, optional
        Only those behind it in the list.
    limit : int
        At most so many.
    """
    parameters: dict[str, object] = {"states": list(states), "limit": limit}
    behind = "true"
    if after is not None:
        parameters.update(after_time=after.completed_at, after_id=after.session_id)
        behind = _BEHIND
    if stale_before is not None:
        parameters["version"] = stale_before
        found = _STALE.format(behind=behind, order=_ORDER)
    elif reason is not None:
        parameters["reason"] = reason
        found = _FAILED_FOR.format(behind=behind, order=_ORDER)
    else:
        found = latest_sessions("states", "limit", behind)
    query = f"""
        SELECT latest.*, s.session_name, coalesce(s.session_start, s.created_at) AS started_at,
               CASE WHEN {is_sound("mf.mean_snr_db", NUMBER)} THEN mf.mean_snr_db END AS mean_snr_db
        FROM (SELECT * FROM ({found}) found ORDER BY completed_at DESC, recording_session_id LIMIT :limit) latest
        JOIN heimdall.recording_sessions s ON s.id = latest.recording_session_id
        LEFT JOIN heimdall.measurement_features mf ON mf.recording_session_id = latest.recording_session_id
        ORDER BY latest.completed_at DESC, latest.recording_session_id"""
    return [
        ListedSession(
            id=row.recording_session_id,
            name=row.session_name,
            started_at=row.started_at,
            completed_at=row.completed_at,
            state=row.state,
            reason=row.reason,
            message=row.message,
            attempts=row.attempts,
            run_id=row.run_id,
            feature_version=row.feature_version,
            measurements_total=row.measurements_total,
            measurements_with_features=row.measurements_with_features,
            mean_snr_db=row.mean_snr_db,
        )
        for row in connection.execute(sa.text(query), parameters)
    ]


_REASONS = """
    WITH reasons AS (
        SELECT reason, count(*) AS sessions, count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
               min(updated_at) AS first_seen, max(updated_at) AS last_seen,
               (array_agg(recording_session_id ORDER BY updated_at DESC))[1] AS example_session_id
        FROM heimdall.feature_states WHERE state IN ('failed', 'quarantined') GROUP BY reason)
    SELECT coalesce(r.reason, 'unknown') AS reason, r.sessions, r.quarantined, r.first_seen, r.last_seen,
           r.example_session_id, fs.message AS example_message, fs.run_id AS example_run_id
    FROM reasons r JOIN heimdall.feature_states fs ON fs.recording_session_id = r.example_session_id
    ORDER BY r.sessions DESC, reason"""


def trouble_by_reason(connection: Connection) -> list[FailureGroup]:
    """Failed and quarantined sessions by reason, as :func:`list_sessions` lists them; seen: their latest failures.

    Other than ``coverage.failure_groups``, which asks the other tables about each of them, and reads every attempt.
    """
    return [FailureGroup(**row) for row in connection.execute(sa.text(_REASONS)).mappings()]
