"""The real daemon at work on a backlog, and what can be seen of it from outside."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import dagster_url, heimdall_url
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes, start_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

POLL_S = 0.5
TIMEOUT_S = 1800.0


@dataclass
class Workers:
    """The processes of runs, seen from outside.

    Attributes
    ----------
    peaks_mb : dict of int to float
        Most memory that each has had, in 10^6 bytes.
    """

    peaks_mb: dict[int, float] = field(default_factory=dict)

    def look(self, daemon_pid: int) -> None:
        """See which run processes there are below the daemon, and how much each had at most so far.

        The code server spawns a process a run.
        """
        for process in psutil.Process(daemon_pid).children(recursive=True):
            try:
                if any("multiprocessing.spawn" in argument for argument in process.cmdline()):
                    self.peaks_mb[process.pid] = max(self.peaks_mb.get(process.pid, 0.0), _peak_mb(process.pid))
            except (psutil.Error, OSError):  # it has ended meanwhile
                continue

    @property
    def peak_mb(self) -> float:
        """Of the largest."""
        return max(self.peaks_mb.values(), default=0.0)


def _peak_mb(pid: int) -> float:
    """What the kernel remembers, so that no peak falls between two looks."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


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
    """

    seconds: float
    seconds_to_first: float
    runs: int
    peak_worker_mb: float


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
    try:
        while True:
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
    return Drained(last_at - created_at, first_at - created_at, runs, workers.peak_mb)


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
    return int(count), float(created)
