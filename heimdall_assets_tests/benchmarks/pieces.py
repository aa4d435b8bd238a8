"""What a measurements table of hundreds of pieces costs, beside a plain one.

    python -m heimdall_assets_tests.benchmarks.pieces [--sessions 20000] [--json]

An embedded PostgreSQL in a home of its own is filled for 0, 100 and 700 pieces with sessions spread evenly over 700
days (seven measurements each, all done but 250 that are pending, some of them years old), and asked. 0 is a plain
table. Times are medians in ms.

load_ms
    A session with its measurements, as a run reads it.
stats_ms
    ``heimdall stats``.
idle_tick_ms, tick_ms
    A whole evaluation of the planner, as the sensor makes it, on an instance of Dagster in memory: with nothing new;
    and with a session that was completed just now, and two batches to be planned.
schedule_ms
    The same as the schedule makes it, with its pass over all measurements.
reconciliation_ms
    ``heimdall reconcile --check``.

``ratios`` is each figure divided by that of the plain table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster import DagsterInstance

from heimdall_assets import embedded
from heimdall_assets.db import coverage, migrate, reconciliation, work
from heimdall_assets.db.engine import create_database_if_missing, open_engine, transaction
from heimdall_assets.db.sessions import load_session
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.planner import Plan, plan_tick
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings, load_settings
from heimdall_assets_tests.benchmarks.scale import PENDING, RECEIVERS, fill
from heimdall_assets_tests.pieces import create_measurements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

DAYS = 700
PIECES = (0, 100, 700)
REPETITIONS = 7
LOADS = 50
WARMING_UP = 6
"""PostgreSQL may keep a plan from the sixth time on."""

_COMPLETE_ONE = (
    """INSERT INTO heimdall.recording_sessions (status, session_start, duration_seconds)
       VALUES ('completed', now(), 10)""",
    """INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, recording_session_id, frequency_hz,
                                          iq_data_location)
       SELECT now(), w.id, (SELECT id FROM heimdall.recording_sessions ORDER BY created_at DESC LIMIT 1), 145500000, 'a'
       FROM heimdall.websdr_stations w""",
)


@dataclass(frozen=True)
class Measured:
    """A filled database, with an instance of Dagster of its own."""

    pieces: int
    engine: Engine
    instance: DagsterInstance
    settings: Settings
    ids: Iterator[UUID]

    def load(self) -> float:
        """Read a session."""
        session_id = next(self.ids)
        with transaction(self.engine) as connection:
            started = time.perf_counter()
            found = load_session(connection, session_id, source_tolerance_hz=self.settings.source_tolerance_hz)
            taken = time.perf_counter() - started
        assert len(found.measurements) == RECEIVERS
        return taken

    def stats(self) -> float:
        """Ask for the figures of coverage."""
        with transaction(self.engine) as connection:
            started = time.perf_counter()
            coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
            return time.perf_counter() - started

    def check(self) -> float:
        """Compare the ledger with the tables."""
        with transaction(self.engine) as connection:
            started = time.perf_counter()
            found = reconciliation.disagreements(connection)
            taken = time.perf_counter() - started
        assert not found
        return taken

    def busy_tick(self) -> float:
        """Plan with a new session; what was planned is taken back."""
        with transaction(self.engine) as connection:
            for statement in _COMPLETE_ONE:
                connection.execute(sa.text(statement))
        taken, plan = self._tick(is_schedule=False)
        assert plan.batches
        with transaction(self.engine) as connection:
            work.release(connection, [batch.batch_id for batch in plan.batches])
        return taken

    def idle_tick(self) -> float:
        """Plan with nothing new."""
        return self._idle(is_schedule=False)

    def schedule(self) -> float:
        """Plan with nothing new, as the schedule does."""
        return self._idle(is_schedule=True)

    def _idle(self, *, is_schedule: bool) -> float:
        with transaction(self.engine) as connection:
            waiting = [key for key, *_ in work.newest_pending(connection, 2 * PENDING)]
            work.reserve(connection, "fresh-0", waiting)
        taken, plan = self._tick(is_schedule=is_schedule)
        assert not plan.batches
        with transaction(self.engine) as connection:
            work.release(connection, ["fresh-0"])
        return taken

    def _tick(self, *, is_schedule: bool) -> tuple[float, Plan]:
        since = datetime.now(UTC) - timedelta(minutes=10)
        started = time.perf_counter()
        plan = plan_tick(self.instance, self.engine, self.settings, since=since, is_schedule=is_schedule)
        return time.perf_counter() - started, plan


FIGURES: dict[str, tuple[Callable[[Measured], float], int]] = {
    "load_ms": (Measured.load, LOADS),
    "stats_ms": (Measured.stats, REPETITIONS),
    "tick_ms": (Measured.busy_tick, REPETITIONS),
    "idle_tick_ms": (Measured.idle_tick, REPETITIONS),
    "schedule_ms": (Measured.schedule, REPETITIONS),
    "reconciliation_ms": (Measured.check, 3),
}
"""How each figure is measured, and how often."""


@contextmanager
def filled(settings: Settings, pieces: int, sessions: int) -> Iterator[Measured]:
    """A database with so many pieces and sessions."""
    url = heimdall_url(settings).set(database=f"pieces_{pieces}")
    create_database_if_missing(url)
    engine = open_engine(url)
    days = timedelta(days=DAYS)
    if pieces:
        with transaction(engine) as connection:
            create_measurements(connection, pieces, first=datetime.now(UTC) - days, piece=days / pieces)
    migrate.upgrade(engine)
    fill(engine, sessions, minutes_apart=days.total_seconds() / 60 / sessions)
    with transaction(engine) as connection:
        some = sa.text("SELECT id FROM heimdall.recording_sessions ORDER BY random() LIMIT :n")
        ids = connection.scalars(some, {"n": LOADS + WARMING_UP}).all()
    with DagsterInstance.ephemeral() as instance:
        yield Measured(pieces, engine, instance, settings, iter(ids))
    engine.dispose()


def benchmark(home: Path, sessions: int) -> dict[str, Any]:
    """A row of figures for each number of pieces, and their ratios to those of a plain table.

    The databases are asked in turns, so that whatever else the machine does meanwhile slows all of them.
    """
    settings = load_settings(home=home, database_url=None, max_batches=2)
    with embedded.database(settings), ExitStack() as stack:
        databases = [stack.enter_context(filled(settings, pieces, sessions)) for pieces in PIECES]
        rows: list[dict[str, float]] = [{"pieces": database.pieces} for database in databases]
        for name, (ask, repetitions) in FIGURES.items():
            taken = [[ask(database) for database in databases] for _ in range(repetitions + WARMING_UP)]
            for row, times in zip(rows, zip(*taken[WARMING_UP:], strict=True), strict=True):
                row[name] = round(1000 * statistics.median(times), 1)
            sys.stderr.write(f"{name}: {[row[name] for row in rows]}\n")
    ratios = {str(row["pieces"]): {name: round(row[name] / rows[0][name], 2) for name in FIGURES} for row in rows[1:]}
    return {"rows": rows, "ratios": ratios}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="Times of the planner and the figures as measurements has more pieces."
    )
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    current_settings.cache_clear()
    # PostgreSQL never runs as root and must reach its data, and the paths of its sockets are short.
    home = Path(tempfile.mkdtemp(prefix="heimdall-pieces-"))
    try:
        home.chmod(0o755)
        document = benchmark(home, arguments.sessions)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for row in document["rows"]:
        sys.stdout.write("  ".join(f"{name} {value:g}" for name, value in row.items()) + "\n")
    for pieces, ratios in document["ratios"].items():
        shown = "  ".join(f"{name.removesuffix('_ms')} {value:g}" for name, value in ratios.items())
        sys.stdout.write(f"{pieces} pieces / plain: {shown}\n")


if __name__ == "__main__":
    main()
