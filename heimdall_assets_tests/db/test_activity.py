"""What happened over time: coverage as reported, attempts as they ended, counts of the planner's table."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import activity
from heimdall_assets.db.activity import AttemptTotal
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.tables import feature_attempts, feature_coverage_reports, feature_states

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

START = datetime(2025, 6, 1, 12, tzinfo=UTC)


def report(connection: Connection, moments: list[datetime]) -> None:
    """Reports at these moments, numbered."""
    connection.execute(
        sa.insert(feature_coverage_reports),
        [{"reported_at": moment, "figures": {"number": index}} for index, moment in enumerate(moments)],
    )


def attempt(connection: Connection, outcome: str | None, minutes_ago: float, reason: str | None = None) -> None:
    """An attempt that ended so long ago."""
    connection.execute(
        sa.insert(feature_attempts).values(
            recording_session_id=uuid.uuid4(),
            number=1,
            finished_at=None
            if outcome is None
            else sa.text("now() - make_interval(secs => :ago)").bindparams(ago=60.0 * minutes_ago),
            outcome=outcome,
            reason=reason,
            feature_version=1,
            seconds=0.5,
        )
    )


def test_history_is_every_report_while_they_are_few(engine: Engine) -> None:
    moments = [START + timedelta(minutes=index) for index in range(5)]
    with transaction(engine) as connection:
        assert activity.coverage_history(connection) == []
        assert activity.latest_report(connection) is None
        report(connection, moments)
        history = activity.coverage_history(connection)
        latest = activity.latest_report(connection)
    assert [entry.reported_at for entry in history] == moments
    assert [entry.figures["number"] for entry in history] == [0, 1, 2, 3, 4]
    assert latest == history[-1]


def test_of_many_reports_the_last_of_each_stretch_is_shown_and_older_ones_are_left_out(engine: Engine) -> None:
    with transaction(engine) as connection:
        report(connection, [START + timedelta(minutes=index) for index in range(2000)])
        history = activity.coverage_history(connection, span=timedelta(minutes=1000), points=100)
    numbers = [entry.figures["number"] for entry in history]
    assert numbers == sorted(numbers)
    assert 100 <= len(numbers) <= 101
    assert numbers[0] >= 999
    assert numbers[-1] == 1999


def test_attempts_are_counted_in_the_hour_in_which_they_ended(engine: Engine) -> None:
    with transaction(engine) as connection:
        attempt(connection, "done", 0)
        attempt(connection, "partial", 0)
        attempt(connection, "failed", 0, "truncated")
        attempt(connection, "done", 60)
        attempt(connection, "done", 60 * 30)  # before the first hour
        attempt(connection, None, 0)  # under way
        intervals = activity.attempts_by_hour(connection, hours=24)
        rate = activity.sessions_per_minute(connection, window=timedelta(minutes=15))
    assert len(intervals) == 24
    assert [(each.succeeded, each.failed) for each in intervals[-2:]] == [(1, 0), (2, 1)]
    assert sum(each.succeeded + each.failed for each in intervals) == 4
    assert intervals[1].begin - intervals[0].begin == timedelta(hours=1)
    assert rate == 3 / 15


def test_totals_are_by_outcome_and_reason(engine: Engine) -> None:
    with transaction(engine) as connection:
        for outcome, reason in (("done", None), ("done", None), ("failed", "truncated"), ("failed", "not_found")):
            attempt(connection, outcome, 1, reason)
        attempt(connection, None, 0)
        assert activity.attempt_totals(connection) == [
            AttemptTotal("done", None, 2, 1.0),
            AttemptTotal("failed", "not_found", 1, 0.5),
            AttemptTotal("failed", "truncated", 1, 0.5),
        ]


def test_counts_by_state_and_version_and_the_longest_wait(engine: Engine) -> None:
    with transaction(engine) as connection:
        assert activity.oldest_pending_seconds(connection) is None
        for state, version in (("done", 2), ("done", 1), ("partial", None), ("pending", None), ("pending", None)):
            connection.execute(
                sa.insert(feature_states).values(
                    recording_session_id=uuid.uuid4(),
                    state=state,
                    completed_at=START,
                    first_seen_completed_at=sa.text("now() - interval '1 hour'"),
                    measurements_total=1,
                    feature_version=version,
                )
            )
        assert activity.state_counts(connection) == {"done": 2, "partial": 1, "pending": 2}
        assert activity.version_counts(connection) == [(2, 1), (1, 1), (None, 1)]
        oldest_s = activity.oldest_pending_seconds(connection)
    assert oldest_s is not None
    assert 3600 <= oldest_s < 3700
