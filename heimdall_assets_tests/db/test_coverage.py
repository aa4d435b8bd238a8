"""The figures of coverage: exact for every mixture of states, and of the tables as they are when asked."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, coverage, discovery, states, work
from heimdall_assets.db.coverage import FailureGroup, coverage_figures
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.states import RetryRule
from heimdall_assets.errors import HeimdallError, RecordingNotFound, StoreUnavailable, TruncatedRecording
from heimdall_assets_tests.db.rows import add_features, add_measurement, add_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection, Engine

VERSION = 3
RULE = RetryRule(max_attempts=2, base_seconds=1000.0, max_seconds=1000.0)
START = datetime(2025, 6, 1, 12, tzinfo=UTC)
OURS = {"feature_version": VERSION}


def add(
    connection: Connection,
    receivers: int = 3,
    *,
    start: datetime = START,
    status: str = "completed",
    features: Sequence[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    failed: bool = False,
) -> uuid.UUID:
    """A session whose receivers A, B, C, ... have IQ data, and the last one a measurement without any."""
    key = add_session(connection, status=status, session_start=start, created_at=start, updated_at=start)
    names = [chr(ord("A") + index) for index in range(receivers)]
    for name, location in [*((name, "a.npy") for name in names), ("without IQ", None)]:
        add_measurement(connection, start, station=name, location=location, recording_session_id=key)
    if features is not None:
        add_features(connection, key, features, metadata=metadata, failed=failed)
    return key


def fail(connection: Connection, key: uuid.UUID, error: HeimdallError, *, run_id: str = "run") -> str:
    """An attempt that fails."""
    number = attempts.begin_attempt(connection, key, run_id=run_id, feature_version=VERSION)
    state = states.set_failed(connection, key, error, RULE)
    attempts.finish_attempt(connection, key, number, outcome="failed", seconds=0.1, error=error)
    return state


def figures_of(connection: Connection) -> dict[str, int | float | None]:
    """The figures, without the age."""
    figures = coverage_figures(connection, feature_version=VERSION)
    figures.pop("oldest_pending_age_seconds")
    return figures


RX: Mapping[str, Mapping[str, Any]] = {name: {"rx_id": name} for name in "ABC"}
BROKEN = {"rx_id": "C", "error": {"reason": "truncated"}}


def test_every_state_counts_once_and_every_measurement_with_iq_once(engine: Engine) -> None:
    everyone = list(RX.values())
    with transaction(engine) as connection:
        add(connection, features=everyone, metadata=OURS)  # done
        add(connection, features=everyone, metadata={"feature_version": VERSION - 1})  # done, stale
        add(connection, 4, features=everyone)  # done by other code, stale; of four receivers it knows three
        add(connection, features=[RX["A"], RX["B"], BROKEN], metadata=OURS)  # partial
        add(connection, features=[RX["A"], BROKEN], metadata={"feature_version": VERSION - 1})  # partial, stale
        add(connection, 0)  # no IQ
        add(connection, 2, features=[], failed=True)  # what other code could not do is pending
        ignored = add(connection, 1)
        for status in ("pending", "recording", "source_assigned", "in_progress", "failed"):
            add(connection, status=status)
        connection.execute(
            sa.text(
                "ALTER TABLE heimdall.measurement_features "
                "DROP CONSTRAINT measurement_features_recording_session_id_fkey"
            )
        )
        add_features(connection, uuid.uuid4(), everyone, metadata=OURS)  # synthetic, of no session
        states.ignore(connection, [ignored])
        discovery.discover(connection)
        running, failed, quarantined = (add(connection) for _ in range(3))
        discovery.discover(connection)
        attempts.begin_attempt(connection, running, run_id=None, feature_version=VERSION)
        assert fail(connection, failed, RecordingNotFound("gone")) == "failed"
        assert fail(connection, quarantined, TruncatedRecording("cut")) == "quarantined"
        add(connection, 5)  # pending, and nobody has looked yet
        figures = figures_of(connection)
    assert figures == {
        "total_recordings": 12,
        "recordings_with_features": 5,
        "recordings_without_features": 7,
        "recordings_pending": 2,
        "recordings_running": 1,
        "recordings_failed": 1,
        "recordings_quarantined": 1,
        "recordings_partial": 2,
        "recordings_without_iq": 1,
        "recordings_ignored": 1,
        "recordings_stale": 3,
        "total_measurements": 3 + 3 + 4 + 3 + 3 + 0 + 2 + 1 + 3 * 3 + 5,
        "measurements_with_features": 3 + 3 + 3 + 2 + 1,
        "measurements_without_features": 33 - 12,
        "measurements_used": 12,
        "coverage_percent": 41.67,  # 5 of 12
        "computable_coverage_percent": 50.0,  # 5 of 10
    }


def test_the_figures_are_the_same_before_and_after_anybody_has_looked(engine: Engine) -> None:
    with transaction(engine) as connection:
        add(connection, features=[RX["A"], BROKEN], metadata=OURS)
        add(connection, features=[RX["A"]])
        add(connection, 0)
        add(connection)
        before = figures_of(connection)
        assert discovery.discover(connection) == 4
        assert figures_of(connection) == before
    assert before["recordings_pending"] == 1


def test_features_of_other_code_count_at_once_whatever_the_session_was(engine: Engine) -> None:
    with transaction(engine) as connection:
        pending, failed, quarantined, ignored = (add(connection, 1) for _ in range(4))
        empty = add(connection, 0)
        discovery.discover(connection)
        fail(connection, failed, RecordingNotFound("gone"))
        fail(connection, quarantined, TruncatedRecording("cut"))
        states.ignore(connection, [ignored])
        for key in (pending, failed, quarantined, ignored, empty):
            add_features(connection, key, [RX["A"]])
        figures = figures_of(connection)
        assert coverage.failure_groups(connection) == []
        assert coverage.failed_sessions(connection) == []
        assert [day["with_features"] for day in coverage.coverage_by_day(connection)] == [4]
    assert (figures["recordings_with_features"], figures["recordings_ignored"]) == (4, 1)
    assert (figures["recordings_failed"], figures["recordings_quarantined"], figures["recordings_without_iq"]) == (
        0,
        0,
        0,
    )
    assert (figures["total_measurements"], figures["measurements_with_features"]) == (4, 3)


def test_a_session_that_is_not_completed_any_more_or_gone_counts_no_more(engine: Engine) -> None:
    with transaction(engine) as connection:
        reopened, deleted, _ = (add(connection) for _ in range(3))
        discovery.discover(connection)
        for key in (reopened, deleted):
            fail(connection, key, TruncatedRecording("cut"))
        connection.execute(
            sa.text("UPDATE heimdall.recording_sessions SET status = 'recording' WHERE id = :id"), {"id": reopened}
        )
        connection.execute(sa.text("DELETE FROM heimdall.recording_sessions WHERE id = :id"), {"id": deleted})
        assert figures_of(connection)["total_recordings"] == 1
        assert figures_of(connection)["recordings_quarantined"] == 0
        assert coverage.failure_groups(connection) == []


def test_where_there_is_nothing_to_divide_by_the_percentages_are_zero(engine: Engine) -> None:
    with transaction(engine) as connection:
        figures = coverage_figures(connection, feature_version=VERSION)
        assert all(figures.pop(name) == 0.0 for name in ("coverage_percent", "computable_coverage_percent"))
        assert figures.pop("oldest_pending_age_seconds") is None
        assert set(figures.values()) == {0}
        add(connection, 0)
        figures = coverage_figures(connection, feature_version=VERSION)
    assert (figures["total_recordings"], figures["recordings_without_iq"]) == (1, 1)
    assert (figures["coverage_percent"], figures["computable_coverage_percent"]) == (0.0, 0.0)


@pytest.mark.parametrize(("done", "total", "percent"), [(1, 3, 33.33), (2, 3, 66.67), (1, 8, 12.5), (3, 3, 100.0)])
def test_percentages_have_two_decimals(engine: Engine, done: int, total: int, percent: float) -> None:
    with transaction(engine) as connection:
        for index in range(total):
            add(connection, 1, features=[RX["A"]] if index < done else None)
        figures = coverage_figures(connection, feature_version=VERSION)
    assert (figures["coverage_percent"], figures["computable_coverage_percent"]) == (percent, percent)


def test_the_age_is_that_of_the_pending_session_that_has_waited_longest(engine: Engine) -> None:
    with transaction(engine) as connection:
        now = states.database_time(connection)
        old, older, oldest = (add(connection, start=now - timedelta(hours=hours)) for hours in (1, 2, 3))
        # nobody has looked yet: since Heimdall touched it
        age = coverage_figures(connection, feature_version=VERSION)["oldest_pending_age_seconds"]
        assert age == pytest.approx(3 * 3600, abs=60)  # a minute for the test itself
        discovery.discover(connection)
        connection.execute(
            sa.text(
                "UPDATE heimdall.feature_states SET first_seen_completed_at = now() - interval '10 minutes' "
                "WHERE recording_session_id = :id"
            ),
            {"id": older},
        )
        states.ignore(connection, [oldest])
        age = coverage_figures(connection, feature_version=VERSION)["oldest_pending_age_seconds"]
        assert age == pytest.approx(600, abs=60)  # known ones wait since they were seen
        for key in (old, older):
            fail(connection, key, TruncatedRecording("cut"))
        assert coverage_figures(connection, feature_version=VERSION)["oldest_pending_age_seconds"] is None


def test_the_age_is_never_negative_whatever_the_clocks_of_others_say(engine: Engine) -> None:
    with transaction(engine) as connection:
        add(connection, start=states.database_time(connection) + timedelta(days=1))
        assert coverage_figures(connection, feature_version=VERSION)["oldest_pending_age_seconds"] == 0.0


def test_days_are_those_of_utc_and_of_the_start_the_latest_first(engine: Engine) -> None:
    midnight = datetime(2025, 6, 2, tzinfo=UTC)
    with transaction(engine) as connection:
        connection.execute(sa.text("SET LOCAL TIME ZONE 'Pacific/Auckland'"))
        add(connection, start=midnight - timedelta(seconds=1), features=[RX["A"]])
        broken = add(connection, start=midnight - timedelta(hours=1))
        add(connection, start=midnight)
        add(connection, start=midnight + timedelta(days=1), status="recording")
        started_later = add_session(connection, session_start=None, created_at=midnight + timedelta(days=2))
        discovery.discover(connection)
        fail(connection, broken, TruncatedRecording("cut"))
        assert started_later
        days = coverage.coverage_by_day(connection)
        assert coverage.coverage_by_day(connection, days=1) == days[:1]
    keys = ("day", "total", "with_features", "failed", "coverage_percent")
    assert [tuple(day[key] for key in keys) for day in days] == [
        ("2025-06-04", 1, 0, 0, 0.0),
        ("2025-06-02", 1, 0, 0, 0.0),
        ("2025-06-01", 2, 1, 1, 50.0),
    ]
    assert all(date.fromisoformat(day["day"]) for day in days)


def test_failures_are_grouped_by_reason_the_most_frequent_first_with_the_latest_as_example(engine: Engine) -> None:
    with transaction(engine) as connection:
        cut = [add(connection) for _ in range(3)]
        gone, retried, recovered = (add(connection) for _ in range(3))
        discovery.discover(connection)
        moments = [states.database_time(connection)]
        for index, key in enumerate(cut):
            fail(connection, key, TruncatedRecording(f"cut {index}"), run_id=f"run-{index}")
            moments.append(states.database_time(connection))
        for key in (gone, recovered):
            fail(connection, key, RecordingNotFound("gone"))
        # failed for one reason, then for another: it is in the second's group, since its first failure of that kind
        fail(connection, retried, StoreUnavailable("away"))
        moments.append(states.database_time(connection))
        fail(connection, retried, RecordingNotFound("still gone"))
        states.set_back(connection, recovered, state="done")
        add_features(connection, recovered, [RX["A"]])
        groups = coverage.failure_groups(connection)
        listed = [tuple(row) for row in coverage.failed_sessions(connection)]
    assert [(group.reason, group.sessions, group.quarantined) for group in groups] == [
        ("truncated", 3, 3),
        ("not_found", 2, 1),
    ]
    first, second = groups
    assert first == FailureGroup("truncated", 3, 3, first.first_seen, first.last_seen, cut[2], "cut 2", "run-2")
    assert first.first_seen is not None
    assert first.last_seen is not None
    assert moments[0] < first.first_seen < moments[1] < moments[2] < first.last_seen < moments[3]
    assert (second.example_session_id, second.example_message) == (retried, "still gone")
    assert second.last_seen is not None
    assert second.last_seen > moments[4]
    assert listed == [
        (retried, "quarantined", "not_found", "still gone"),
        (gone, "failed", "not_found", "gone"),
        *((cut[index], "quarantined", "truncated", f"cut {index}") for index in (2, 1, 0)),
    ]


def test_a_session_that_kills_its_workers_is_a_failure_with_a_reason(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add(connection)
        discovery.discover(connection)
        for _ in range(RULE.max_attempts):
            attempts.begin_attempt(connection, key, run_id="run", feature_version=VERSION)
            assert attempts.recover_lost(connection, RULE) == [key]
        (group,) = coverage.failure_groups(connection)
        tried = coverage.attempts_of(connection, key)
    assert (group.reason, group.quarantined, group.example_session_id) == ("worker_lost", 1, key)
    assert [(row.number, row.outcome) for row in tried] == [(1, "lost"), (2, "lost")]


def test_a_report_is_current_until_another_attempt_ends(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add(connection)
        discovery.discover(connection)
        assert coverage.last_attempt_finished(connection) is None
        fail(connection, key, RecordingNotFound("gone"))
        assert not coverage.is_report_current(connection)
        figures = coverage.report_coverage(connection, feature_version=VERSION)
        assert coverage.is_report_current(connection)
        fail(connection, key, RecordingNotFound("gone"))
        assert not coverage.is_report_current(connection)
        coverage.report_coverage(connection, feature_version=VERSION)
        reports = connection.execute(
            sa.text("SELECT figures FROM heimdall.feature_coverage_reports ORDER BY reported_at")
        ).scalars()
        assert coverage.last_attempt_finished(connection) is not None
        found = list(reports)
    assert figures["recordings_failed"] == 1
    assert found[0] == figures
    assert found[1]["recordings_quarantined"] == 1


def test_asking_for_coverage_changes_nothing(engine: Engine) -> None:
    with transaction(engine) as connection:
        add(connection)
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        coverage_figures(connection, feature_version=VERSION)
        coverage.coverage_by_day(connection)
        coverage.failure_groups(connection)
        assert work.newest_pending(connection, 9) == []
