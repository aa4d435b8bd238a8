"""``/metrics`` for Prometheus: read from PostgreSQL when it is scraped, so that every server tells the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from heimdall_assets.db import activity
from heimdall_assets.db.heartbeats import PLANNER, seconds_since
from heimdall_assets.db.pauses import current_pause
from heimdall_assets.db.recent import STATES
from heimdall_assets.web.problems import REFUSALS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from heimdall_assets.web.auth import Guard
    from heimdall_assets.web.database import Database


class Figures(Collector):
    """What the database says now.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def collect(self) -> Iterable[Metric]:
        """Every metric with its values."""
        counts = activity.state_counts(self._connection)
        sessions = GaugeMetricFamily("heimdall_sessions", "Completed sessions by state.", labels=["state"])
        for state in STATES:
            sessions.add_metric([state], counts.get(state, 0))
        yield sessions
        oldest_s = activity.oldest_pending_seconds(self._connection)
        yield GaugeMetricFamily(
            "heimdall_oldest_pending_seconds",
            "Wait of the pending session that waits longest; 0 where none does.",
            value=oldest_s or 0.0,
        )
        silence_s = seconds_since(self._connection, PLANNER)
        yield GaugeMetricFamily(
            "heimdall_planner_silence_seconds",
            "Time since the planner was last at work; infinite where it never was.",
            value=float("inf") if silence_s is None else silence_s,
        )
        held = current_pause(self._connection)
        yield GaugeMetricFamily(
            "heimdall_paused", "1 while somebody holds planning, else 0.", value=float(held is not None)
        )
        attempts = CounterMetricFamily(
            "heimdall_attempts", "Attempts that ended, by outcome and reason.", labels=["outcome", "reason"]
        )
        seconds = SummaryMetricFamily("heimdall_session_seconds", "Time that an attempt took.", labels=["outcome"])
        by_outcome: dict[str, tuple[int, float]] = {}
        for total in activity.attempt_totals(self._connection):
            attempts.add_metric([total.outcome, total.reason or ""], total.attempts)
            count, spent_s = by_outcome.get(total.outcome, (0, 0.0))
            by_outcome[total.outcome] = count + total.attempts, spent_s + total.seconds
        for outcome, (count, spent_s) in by_outcome.items():
            seconds.add_metric([outcome], count, spent_s)
        yield attempts
        yield seconds


def metrics_router(database: Database, guard: Guard) -> APIRouter:
    """``/metrics``; needs the token (``authorization`` in Prometheus' scrape_config)."""
    router = APIRouter(tags=["health"], dependencies=[Depends(guard)], responses=REFUSALS)

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
    )
    def metrics() -> Response:
        """Sessions by state, oldest pending, attempts by outcome and reason, seconds a session."""
        registry = CollectorRegistry(auto_describe=False)
        with database.transaction() as connection:
            registry.register(Figures(connection))
            text = generate_latest(registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
