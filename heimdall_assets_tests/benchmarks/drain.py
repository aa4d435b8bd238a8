"""The real daemon at work on a backlog, and what can be seen of it from outside."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import dagster_url, heimdall_url
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes
from heimdall_assets.services import CODE_SERVER, start_daemon
from heimdall_assets_tests.benchmarks.usage import Workers, processor_seconds, server_pid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

POLL_S = 0.5
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Drained:
    """What a drain took.

    Attributes
    ----------
    seconds : float
        From the creation of the first run until the last session was shown as materialized.
    seconds_to_first : float
        From the creation of the first run until the first session was.
    runs : int
        How many runs there were.
    peak_worker_mb : float
        Most memory of a run's process.
    processor_seconds : float
        Of the daemon, its code server, the runs and PostgreSQL from about the creation of the first run.
    """

    seconds: float
    seconds_to_first: float
    runs: int
    peak_worker_mb: float
    processor_seconds: float


@contextmanager
def running_daemon(settings: Settings, **variables: str) -> Iterator[Processes]:
    """Dagster's daemon on the database of the settings, with more variables."""
    environment = {**dagster_environment(settings), **variables}
    with Processes(environment, settings.home / "logs") as processes:
        start_daemon(processes)
        yield processes


def drain(settings: Settings, processes: Processes, sessions: int) -> Drained:
    """Wait until so many sessions are stored and shown as materialized, watching the workers.

    Raises
    ------
    RuntimeError
        A session failed, or the time ran out.
    """
    heimdall = open_engine(heimdall_url(settings), pool_size=1)
    dagster = open_engine(dagster_url(settings), pool_size=1)
    workers = Workers()
    deadline = time.monotonic() + TIMEOUT_S
    used_s: float | None = None
    try:
        while True:
            if used_s is None and _runs(dagster)[0]:
                used_s = _processor_seconds(settings, processes)
            workers.look(processes.pid("daemon"))
            stored, failed = _attempts(heimdall)
            if failed or time.monotonic() > deadline:
                raise RuntimeError(f"{stored} of {sessions} sessions were stored, {failed} attempts failed")
            if stored >= sessions and _materialized(dagster)[0] >= sessions:
                break
            time.sleep(POLL_S)
        _, first_at, last_at = _materialized(dagster)
        runs, created_at = _runs(dagster)
    finally:
        heimdall.dispose()
        dagster.dispose()
    used_s = _processor_seconds(settings, processes) - (used_s or 0.0)
    return Drained(last_at - created_at, first_at - created_at, runs, workers.peak_mb, used_s)


def _processor_seconds(settings: Settings, processes: Processes) -> float:
    pids = (processes.pid("daemon"), processes.pid(CODE_SERVER), server_pid(settings))
    return sum(processor_seconds(pid) for pid in pids)


def _attempts(engine: Engine) -> tuple[int, int]:
    query = """
        SELECT count(*) FILTER (WHERE outcome IN ('done', 'partial')),
               count(*) FILTER (WHERE outcome IN ('failed', 'lost'))
        FROM heimdall.feature_attempts"""
    with transaction(engine) as connection:
        stored, failed = connection.execute(sa.text(query)).one()
    return int(stored), int(failed)


def _materialized(engine: Engine) -> tuple[int, float, float]:
    """How many partitions were shown as materialized, and the times of the first and last, in seconds since 1970."""
    query = """
        SELECT count(DISTINCT partition), extract(epoch FROM min(timestamp)), extract(epoch FROM max(timestamp))
        FROM event_logs
        WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = '["measurement_features"]'"""
    with transaction(engine) as connection:
        count, first, last = connection.execute(sa.text(query)).one()
    return int(count), float(first or 0), float(last or 0)


def _runs(engine: Engine) -> tuple[int, float]:
    """How many runs worked on sessions, and when the first was created; Dagster's times are in UTC."""
    query = """
        SELECT count(*), extract(epoch FROM min(create_timestamp AT TIME ZONE current_setting('TimeZone')))
        FROM runs WHERE pipeline_name IN ('extract_features', 'extract_sessions')"""
    with transaction(engine) as connection:
        count, created = connection.execute(sa.text(query)).one()
    return int(count), float(created or 0)
