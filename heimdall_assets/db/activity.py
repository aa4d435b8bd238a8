"""What happens over time: coverage as it was reported, attempts as they ended, how many sessions are where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class Report:
    """Coverage at a moment: the keys of ``heimdall stats``."""

    reported_at: datetime
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interval:
    """Attempts that ended within a stretch of time."""

    begin: datetime
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class AttemptTotal:
    """All attempts with the same outcome and reason."""

    outcome: str
    reason: str | None
    attempts: int
    seconds: float


_HISTORY = """
    WITH bounds AS (
        SELECT max(reported_at) AS newest,
               greatest(min(reported_at), max(reported_at) - make_interval(secs => :span_seconds)) AS oldest
        FROM heimdall.feature_coverage_reports),
    chosen AS (
        SELECT max(c.reported_at) AS reported_at
        FROM heimdall.feature_coverage_reports c, bounds b
        WHERE c.reported_at >= b.oldest
        GROUP BY floor(extract(epoch FROM c.reported_at - b.oldest)
                       / greatest(extract(epoch FROM b.newest - b.oldest) / :points, 0.001)))
    SELECT reported_at, c.figures FROM chosen
    JOIN heimdall.feature_coverage_reports c USING (reported_at) ORDER BY reported_at"""


def coverage_history(
    connection: Connection, *, span: timedelta = timedelta(days=30), points: int = 200
) -> list[Report]:
    """Coverage over time, the oldest first: at most so many reports, the last one of each stretch.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    span : timedelta
        Before the newest report.
    points : int
        Stretches that it is divided into.
    """
    parameters = {"span_seconds": span.total_seconds(), "points": points}
    return [Report(row.reported_at, row.figures) for row in connection.execute(sa.text(_HISTORY), parameters)]


def latest_report(connection: Connection) -> Report | None:
    """The newest report; None where there is none."""
    query = "SELECT reported_at, figures FROM heimdall.feature_coverage_reports ORDER BY reported_at DESC LIMIT 1"
    row = connection.execute(sa.text(query)).one_or_none()
    return None if row is None else Report(row.reported_at, row.figures)


def attempts_by_hour(connection: Connection, *, hours: int = 24) -> list[Interval]:
    """Attempts that ended in each of the last hours, the oldest first; the last one is this hour's so far."""
    query = """
        SELECT h.begin, count(t.finished_at) FILTER (WHERE t.outcome IN ('done', 'partial', 'kept')) AS succeeded,
               count(t.finished_at) FILTER (WHERE t.outcome IN ('failed', 'lost')) AS failed
        FROM generate_series(date_trunc('hour', now()) - make_interval(hours => :hours - 1),
                             date_trunc('hour', now()), interval '1 hour') AS h(begin)
        LEFT JOIN heimdall.feature_attempts t
            ON t.finished_at >= h.begin AND t.finished_at < h.begin + interval '1 hour'
        GROUP BY h.begin ORDER BY h.begin"""
    rows = connection.execute(sa.text(query), {"hours": hours})
    return [Interval(row.begin, row.succeeded, row.failed) for row in rows]


def sessions_per_minute(connection: Connection, *, window: timedelta = timedelta(minutes=15)) -> float:
    """Sessions whose attempt ended within the last minutes, a minute."""
    query = """
        SELECT count(*) FROM heimdall.feature_attempts
        WHERE finished_at >= now() - make_interval(secs => :seconds) AND outcome <> 'lost'"""
    ended = connection.scalar(sa.text(query), {"seconds": window.total_seconds()})
    return float(ended or 0) / (window.total_seconds() / 60.0)


def attempt_totals(connection: Connection) -> list[AttemptTotal]:
    """All attempts that ended, by outcome and reason."""
    query = """
        SELECT outcome, reason, count(*) AS attempts, coalesce(sum(seconds), 0) AS seconds
        FROM heimdall.feature_attempts WHERE outcome IS NOT NULL
        GROUP BY outcome, reason ORDER BY outcome, reason"""
    return [AttemptTotal(**row) for row in connection.execute(sa.text(query)).mappings()]


def version_counts(connection: Connection) -> list[tuple[int | None, int]]:
    """Sessions with features by the version of the estimators, the newest first; None: by other code."""
    query = """
        SELECT feature_version, sum(sessions)::bigint AS sessions FROM heimdall.feature_totals
        WHERE state IN ('done', 'partial') GROUP BY feature_version HAVING sum(sessions) <> 0
        ORDER BY feature_version DESC NULLS LAST"""
    return [(row.feature_version, row.sessions) for row in connection.execute(sa.text(query))]


def state_counts(connection: Connection) -> dict[str, int]:
    """Sessions by state, as the planner knows them."""
    query = """
        SELECT state, sum(sessions)::bigint AS sessions FROM heimdall.feature_totals
        GROUP BY state HAVING sum(sessions) <> 0"""
    return {row.state: row.sessions for row in connection.execute(sa.text(query))}


def oldest_pending_seconds(connection: Connection) -> float | None:
    """How long the session has waited that waits longest; None where none does."""
    query = """
        SELECT extract(epoch FROM clock_timestamp() - min(first_seen_completed_at))
        FROM heimdall.feature_states WHERE state = 'pending'"""
    seconds = connection.scalar(sa.text(query))
    return None if seconds is None else float(seconds)
