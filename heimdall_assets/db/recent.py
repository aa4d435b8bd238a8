"""The latest sessions: the lists that people page through, and the sample that figures of quality are taken of.

Everything here walks ``feature_states_recent`` from its end, so that it costs the same at a million sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.coverage import FailureGroup

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
        Only those that failed for it.
    stale_before : int, optional
        Only those whose features are of an older version, or of none.
    after : Position, optional
        Only those behind it in the list.
    limit : int
        At most so many.
    """
    parameters: dict[str, object] = {"states": list(states), "limit": limit}
    conditions = ["true"]
    if reason is not None:
        parameters["reason"] = reason
        conditions.append("fs.reason = :reason")
    if stale_before is not None:
        parameters["version"] = stale_before
        conditions.append("(fs.feature_version IS NULL OR fs.feature_version < :version)")
    if after is not None:
        parameters.update(after_time=after.completed_at, after_id=after.session_id)
        conditions.append(
            "(fs.completed_at < :after_time OR fs.completed_at = :after_time AND fs.recording_session_id > :after_id)"
        )
    query = f"""
        SELECT latest.*, s.session_name, coalesce(s.session_start, s.created_at) AS started_at, mf.mean_snr_db
        FROM ({latest_sessions("states", "limit", " AND ".join(conditions))}) latest
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
