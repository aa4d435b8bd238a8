"""Everything that the dashboard shows, read from PostgreSQL in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from heimdall_assets.db import activity, network
from heimdall_assets.db.condition import Condition
from heimdall_assets.db.condition import condition as condition_of
from heimdall_assets.db.coverage import FailureGroup, coverage_figures
from heimdall_assets.db.recent import trouble_by_reason
from heimdall_assets.db.states import database_time
from heimdall_assets.db.suspects import is_small
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.web import charts
from heimdall_assets.web.charts import Band, Column
from heimdall_assets.web.maps import network_map
from heimdall_assets.web.rendering import duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection

    from heimdall_assets.db.activity import Interval, Report
    from heimdall_assets.db.network import ReceiverHealth

FIGURE_SESSIONS = 5000
FEATURED = ("done", "partial")
WIDE, NARROW = 760.0, 350.0
HALF = 400.0

STATES = (
    ("done", "done", "has features"),
    ("partial", "partial", "has features; some receivers failed"),
    ("running", "running", "being worked on"),
    ("pending", "pending", "waiting"),
    ("failed", "failed", "will be tried again"),
    ("quarantined", "given up", "its input is broken, or it failed too often"),
    ("empty", "without IQ", "no measurement has IQ data"),
    ("ignored", "ignored", "somebody said so"),
)
"""Name, name for people, meaning; in the order in which they are stacked."""


@dataclass(frozen=True, slots=True)
class StateLine:
    """A state with its number of sessions."""

    state: str
    name: str
    meaning: str
    sessions: int
    percent: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The dashboard's content; charts are drawn already.

    Attributes
    ----------
    now : datetime
        The database's time.
    as_of : datetime
        When the figures of coverage were taken: now, or at the last report where the tables are large.
    """

    now: datetime
    as_of: datetime
    is_daemon_alive: bool
    condition: Condition
    figures: Mapping[str, Any]
    states: Sequence[StateLine]
    bar: Markup
    history: Sequence[Markup]
    history_since: datetime | None
    rate_per_minute: float
    eta_seconds: float | None
    throughput: Sequence[Markup]
    attempts_24h: int
    failed_24h: int
    failures: Sequence[FailureGroup]
    receivers: Sequence[ReceiverHealth]
    sampled_sessions: int
    snr: Markup | None
    gdop: Markup | None
    num_figures: int
    map: Markup | None
    versions: Sequence[tuple[int | None, int]]
    feature_version: int

    @property
    def quiet(self) -> list[ReceiverHealth]:
        """Receivers that have gone quiet."""
        return [receiver for receiver in self.receivers if receiver.is_quiet]

    @property
    def is_empty(self) -> bool:
        """True where there is no session to show."""
        return not self.figures["total_recordings"]


def read_overview(connection: Connection) -> Overview:
    """Read it; every statement costs about the same at a thousand and at a million sessions."""
    now = database_time(connection)
    condition = condition_of(connection)
    figures, as_of = _figures(connection, now)
    reports = activity.coverage_history(connection)
    rate = activity.sessions_per_minute(connection)
    waiting = int(figures["recordings_pending"]) + int(figures["recordings_running"])
    intervals = activity.attempts_by_hour(connection)
    receivers = network.receiver_health(connection, latest=network.SAMPLE_SESSIONS)
    values = network.session_figures(connection, latest=FIGURE_SESSIONS)
    lines = _state_lines(figures)
    return Overview(
        now=now,
        as_of=as_of,
        is_daemon_alive=condition.daemon == "ok",
        condition=condition,
        figures=figures,
        states=lines,
        bar=charts.share_bar([(f"state-{line.state}", line.name, line.sessions) for line in lines], _in_words(lines)),
        history=[_history(reports, width) for width in (WIDE, NARROW)] if reports else [],
        history_since=reports[0].reported_at if reports else None,
        rate_per_minute=rate,
        eta_seconds=60.0 * waiting / rate if waiting and rate else None,
        throughput=[_throughput(intervals, width) for width in (HALF,)],
        attempts_24h=sum(interval.succeeded + interval.failed for interval in intervals),
        failed_24h=sum(interval.failed for interval in intervals),
        failures=trouble_by_reason(connection),
        receivers=receivers,
        sampled_sessions=max((receiver.sessions for receiver in receivers), default=0),
        snr=_histogram([snr for snr, _ in values], "mean SNR of a session", "dB", high=None),
        gdop=_histogram([gdop for _, gdop in values], "GDOP of a session", "", high=20.0),
        num_figures=len(values),
        map=_map(connection, receivers),
        versions=activity.version_counts(connection),
        feature_version=FEATURE_VERSION,
    )


def _figures(connection: Connection, now: datetime) -> tuple[Mapping[str, Any], datetime]:
    """The figures of ``stats``: of now where that is cheap, else as the sensor reported them last."""
    report = None if is_small(connection) else activity.latest_report(connection)
    if report is not None:
        return report.figures, report.reported_at
    return coverage_figures(connection, feature_version=FEATURE_VERSION), now


def _by_state(figures: Mapping[str, Any]) -> dict[str, int]:
    partial = int(figures["recordings_partial"])
    return {
        "done": int(figures["recordings_with_features"]) - partial,
        "partial": partial,
        "running": int(figures["recordings_running"]),
        "pending": int(figures["recordings_pending"]),
        "failed": int(figures["recordings_failed"]),
        "quarantined": int(figures["recordings_quarantined"]),
        "empty": int(figures["recordings_without_iq"]),
        "ignored": int(figures["recordings_ignored"]),
    }


def _state_lines(figures: Mapping[str, Any]) -> list[StateLine]:
    counts, total = _by_state(figures), int(figures["total_recordings"])
    return [
        StateLine(state, name, meaning, counts[state], 100.0 * counts[state] / total if total else 0.0)
        for state, name, meaning in STATES
    ]


def _in_words(lines: Sequence[StateLine]) -> str:
    return "Sessions by state: " + ", ".join(f"{line.sessions:,} {line.name}" for line in lines if line.sessions)


def _history(reports: Sequence[Report], width: float) -> Markup:
    counts = [_by_state(report.figures) for report in reports]
    bands = [Band(f"state-{state}", name, [count[state] for count in counts]) for state, name, _ in STATES]
    first, last = reports[0].figures, reports[-1].figures
    label = (
        f"Sessions by state over time: coverage went from {first['coverage_percent']} % "
        f"of {first['total_recordings']:,} to {last['coverage_percent']} % of {last['total_recordings']:,} sessions"
    )
    return charts.stacked([report.reported_at for report in reports], bands, label, width=width)


def _throughput(intervals: Sequence[Interval], width: float) -> Markup:
    data = [
        Column(
            label=f"{interval.begin:%H}",
            parts=[("state-done", interval.succeeded), ("state-failed", interval.failed)],
            title=f"{interval.begin:%d %b %H}:00 UTC: {interval.succeeded:,} succeeded, {interval.failed:,} failed",
        )
        for interval in intervals
    ]
    total = sum(interval.succeeded + interval.failed for interval in intervals)
    best = max(intervals, key=lambda interval: interval.succeeded + interval.failed)
    label = (
        f"Attempts that ended in each of the last {len(intervals)} hours: {total:,} in all, most of them "
        f"({best.succeeded + best.failed:,}) from {best.begin:%H}:00 UTC"
    )
    return charts.columns(data, label, width=width, unit="hour (UTC)")


def _histogram(values: Sequence[float | None], what: str, unit: str, *, high: float | None) -> Markup | None:
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    quartiles = [known[round((len(known) - 1) * share)] for share in (0.25, 0.5, 0.75)]
    low, middle, top = (number(value, 3) for value in quartiles)
    label = f"Distribution of the {what}: median {middle} {unit}, half of them from {low} to {top} {unit}".rstrip()
    return charts.histogram(known, "measured", label, width=HALF, unit=unit, high=high)


def _map(connection: Connection, receivers: Sequence[ReceiverHealth]) -> Markup | None:
    stations, sources = network.places(connection)
    if not stations and not sources:
        return None
    return network_map(stations, sources, {receiver.name for receiver in receivers if receiver.is_quiet})


def backlog_in_words(overview: Overview) -> str:
    """What waits, since when, and until when at the present pace."""
    waiting = int(overview.figures["recordings_pending"]) + int(overview.figures["recordings_running"])
    if not waiting:
        return "nothing waits"
    pace = f"about {duration(overview.eta_seconds)} left at this pace" if overview.eta_seconds else "nothing moves"
    return f"oldest {duration(overview.figures['oldest_pending_age_seconds'])}, {pace}"
