"""How much is covered, what is failing and since when: figures of the tables as they are when asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.sessions import HAS_FEATURES, STARTS, classified
from heimdall_assets.db.staleness import is_stale
from heimdall_assets.db.suspects import WAITING_SINCE, current_sessions, suspects
from heimdall_assets.db.tables import feature_attempts as attempts
from heimdall_assets.db.tables import feature_coverage_reports as reports
from heimdall_assets.db.values import TIME, is_sound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed sessions with the same reason."""

    reason: str
    sessions: int
    quarantined: int
    first_seen: datetime | None
    last_seen: datetime | None
    example_session_id: UUID
    example_message: str | None
    example_run_id: str | None


_STATS = f"""
    WITH suspects AS MATERIALIZED ({{suspects}}),
    wanted AS MATERIALIZED (
        SELECT s.* FROM heimdall.recording_sessions s JOIN suspects USING (id) WHERE s.status = 'completed'),
    looked_at AS MATERIALIZED (
        SELECT c.*, {WAITING_SINCE} AS waiting_since
        FROM ({{classified}}) c LEFT JOIN heimdall.feature_states k ON k.recording_session_id = c.id),
    sums AS (
        SELECT state, feature_version, CASE WHEN is_marked_stale THEN '' END AS stale_reason,
               sessions, measurements, with_features, used
        FROM heimdall.feature_totals
        UNION ALL
        SELECT k.state, k.feature_version, k.stale_reason, -1, -k.measurements_total, -k.measurements_with_features,
               -k.measurements_used
        FROM suspects x
        -- row by row, by the primary key: suspects are few
        CROSS JOIN LATERAL (SELECT * FROM heimdall.feature_states fs WHERE fs.recording_session_id = x.id LIMIT 1) k
        UNION ALL
        SELECT state, feature_version, stale_reason, 1, measurements_total, measurements_with_features,
               measurements_used
        FROM looked_at)
    SELECT state, sum(sessions) AS sessions, sum(measurements) AS measurements, sum(with_features) AS with_features,
           sum(used) AS used, coalesce(sum(sessions) FILTER (WHERE {is_stale("sums")}), 0) AS stale,
           CASE WHEN state = 'pending' THEN extract(epoch FROM clock_timestamp() - least(
               (SELECT fs.first_seen_completed_at FROM heimdall.feature_states fs
                WHERE fs.state = 'pending'
                  AND NOT EXISTS (SELECT 1 FROM suspects x WHERE x.id = fs.recording_session_id)
                ORDER BY fs.first_seen_completed_at LIMIT 1),
               (SELECT min(waiting_since) FROM looked_at WHERE looked_at.state = 'pending'))) END AS oldest_seconds
    FROM sums GROUP BY state HAVING sum(sessions) <> 0"""
"""The sums of feature_states, with the suspects' rows taken out and what the tables say of them put in."""

# From one day's latest session to that of the day before: an index is asked as often as there are days.
_LATEST_DAYS = f"""
    WITH RECURSIVE latest (start) AS (
        SELECT max({STARTS.format("s")}) FROM heimdall.recording_sessions s
        WHERE s.status = 'completed' AND {is_sound(STARTS.format("s"), TIME)}
        UNION ALL
        SELECT (SELECT {STARTS.format("s")} FROM heimdall.recording_sessions s
                WHERE s.status = 'completed'
                  AND {STARTS.format("s")} < date_trunc('day', latest.start, 'UTC')
                  AND {is_sound(STARTS.format("s"), TIME)}
                ORDER BY {STARTS.format("s")} DESC LIMIT 1)
        FROM latest WHERE latest.start IS NOT NULL)
    SELECT date_trunc('day', start, 'UTC') AS day FROM latest WHERE start IS NOT NULL LIMIT :days"""

_BY_DAY = f"""
    SELECT (start AT TIME ZONE 'UTC')::date AS day,
           count(*) AS total,
           count(*) FILTER (WHERE state IN ('done', 'partial')) AS with_features,
           count(*) FILTER (WHERE state IN ('failed', 'quarantined')) AS failed
    FROM sessions WHERE start >= :since AND {is_sound("start", TIME)}
    GROUP BY 1 ORDER BY 1 DESC LIMIT :days"""

_FAILED = f"""
    WITH failed AS (
        SELECT fs.* FROM heimdall.feature_states fs
        WHERE fs.state IN ('failed', 'quarantined')
          AND EXISTS (SELECT 1 FROM heimdall.recording_sessions s
                      WHERE s.id = fs.recording_session_id AND s.status = 'completed')
          AND (fs.new_inputs IS NOT NULL
               OR NOT EXISTS (SELECT 1 FROM heimdall.measurement_features mf
                              WHERE mf.recording_session_id = fs.recording_session_id AND {HAS_FEATURES})))"""
"""Those that stats counts as failed: completed, and nobody has computed their features since."""


def coverage_figures(connection: Connection, *, feature_version: int) -> dict[str, int | float | None]:
    """The keys of ``heimdall stats`` (CONTRACT), of the tables as they are now.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    feature_version : int
        Rows with an older one, or with none, are stale; so are those that are marked so.
    """
    found, parameters, span = suspects(connection)
    query = sa.text(_STATS.format(suspects=found, classified=classified(connection, "wanted", span)))
    rows = connection.execute(query, {**parameters, "version": feature_version})
    by_state: dict[str, Any] = {row.state: row for row in rows}

    def sessions(*names: str) -> int:
        return sum(int(by_state[name].sessions) for name in names if name in by_state)

    total = sum(int(row.sessions) for row in by_state.values())
    featured = sessions("done", "partial")
    computable = total - sessions("empty", "ignored")
    measurements = sum(int(row.measurements) for row in by_state.values())
    measured = sum(int(row.with_features) for row in by_state.values())
    pending = by_state.get("pending")
    return {
        "total_recordings": total,
        "recordings_with_features": featured,
        "recordings_without_features": total - featured,
        "recordings_pending": sessions("pending"),
        "recordings_running": sessions("running"),
        "recordings_failed": sessions("failed"),
        "recordings_quarantined": sessions("quarantined"),
        "recordings_partial": sessions("partial"),
        "recordings_without_iq": sessions("empty"),
        "recordings_ignored": sessions("ignored"),
        "recordings_stale": sum(int(row.stale) for row in by_state.values()),
        "total_measurements": measurements,
        "measurements_with_features": measured,
        "measurements_without_features": measurements - measured,
        "coverage_percent": _percent(featured, total),
        "computable_coverage_percent": _percent(featured, computable),
        "measurements_used": sum(int(row.used) for row in by_state.values()),
        "oldest_pending_age_seconds": round(max(0.0, float(pending.oldest_seconds)), 3) if pending else None,
    }


def report_coverage(connection: Connection, *, feature_version: int) -> dict[str, int | float | None]:
    """Take the figures and keep them with their time: coverage over time is read from these reports."""
    figures = coverage_figures(connection, feature_version=feature_version)
    connection.execute(sa.insert(reports).values(figures=figures))
    return figures


def is_report_current(connection: Connection) -> bool:
    """True if coverage was reported after the last attempt ended."""
    newest = sa.select(sa.func.max(reports.c.reported_at)).scalar_subquery()
    last = sa.select(sa.func.max(attempts.c.finished_at)).scalar_subquery()
    return bool(connection.scalar(sa.select(newest >= last)))


def coverage_by_day(connection: Connection, *, days: int = 60) -> list[dict[str, Any]]:
    """Completed sessions a day (UTC, by their start), the latest days first: total, with_features, failed.

    A session whose start is not of a day that Python knows is on none of them.
    """
    since = connection.scalars(sa.text(_LATEST_DAYS), {"days": days}).all()
    if not since:
        return []
    sessions, parameters = current_sessions(connection)
    rows = connection.execute(sa.text(sessions + _BY_DAY), {**parameters, "since": since[-1], "days": days})
    return [
        {
            "day": row.day.isoformat(),
            "total": row.total,
            "with_features": row.with_features,
            "failed": row.failed,
            "coverage_percent": _percent(row.with_features, row.total),
        }
        for row in rows
    ]


def failure_groups(connection: Connection) -> list[FailureGroup]:
    """Failed and quarantined sessions grouped by reason, the most frequent first."""
    query = f"""
        {_FAILED}
        SELECT fs.reason, count(*) AS sessions, count(*) FILTER (WHERE fs.state = 'quarantined') AS quarantined,
               min(a.first_seen) AS first_seen, max(a.last_seen) AS last_seen,
               (array_agg(fs.recording_session_id ORDER BY fs.updated_at DESC))[1] AS example_session_id,
               (array_agg(fs.message ORDER BY fs.updated_at DESC))[1] AS example_message,
               (array_agg(fs.run_id ORDER BY fs.updated_at DESC))[1] AS example_run_id
        FROM failed fs
        LEFT JOIN LATERAL (
            SELECT min(t.finished_at) AS first_seen, max(t.finished_at) AS last_seen
            FROM heimdall.feature_attempts t
            WHERE t.recording_session_id = fs.recording_session_id AND t.reason = fs.reason) a ON true
        GROUP BY fs.reason ORDER BY sessions DESC, fs.reason"""
    return [
        FailureGroup(
            reason=row.reason or "unknown",
            sessions=row.sessions,
            quarantined=row.quarantined,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            example_session_id=row.example_session_id,
            example_message=row.example_message,
            example_run_id=row.example_run_id,
        )
        for row in connection.execute(sa.text(query))
    ]


def failed_sessions(connection: Connection) -> Sequence[Any]:
    """(session_id, state, reason, message) of every failed or quarantined session, the latest first."""
    query = f"""
        {_FAILED}
        SELECT recording_session_id, state, reason, message FROM failed
        ORDER BY updated_at DESC, recording_session_id"""
    return connection.execute(sa.text(query)).all()


def attempts_of(connection: Connection, session_id: UUID) -> Sequence[Any]:
    """Every attempt at a session, in order."""
    query = sa.select(attempts).where(attempts.c.recording_session_id == session_id).order_by(attempts.c.number)
    return connection.execute(query).all()


def last_attempt_finished(connection: Connection) -> datetime | None:
    """When the last attempt at any session ended: what is shown is current if it is newer."""
    moment: datetime | None = connection.scalar(sa.select(sa.func.max(attempts.c.finished_at)))
    return moment


def _percent(part: int, whole: int) -> float:
    return round(100.0 * part / whole, 2) if whole else 0.0
