"""How long the planner, the sensor and the figures take as the number of sessions grows.

    python -m heimdall_assets_tests.benchmarks.scale [--sessions 1000000] [--home DIR] [--json]

For a hundredth, a tenth and the whole of the sessions (seven measurements each, all done but 250 that are pending, some
of them years old): an embedded PostgreSQL in a home of its own is filled, analyzed, and asked. Times are medians in ms.

planner_ms
    What a tick asks about work: the newest, the oldest, due retries, and reserving two batches (rolled back).
sensor_ms
    A whole evaluation of the planner with nothing new, as the sensor makes it, on an instance of Dagster in memory.
stats_ms, by_day_ms, count_ms
    ``heimdall stats``; coverage by day; ``heimdall backfill --all --dry-run``.
discover_ms, schedule_ms
    The comparison of all sessions with all states; a whole evaluation as the schedule makes it.
dashboard_ms, sessions_ms, session_ms, metrics_ms, api_stats_ms
    The dashboard, the slowest of its lists of sessions, a session's page, Prometheus' metrics and the API's ``stats``,
    over HTTP.

``growth`` is each figure at the whole, divided by that at a tenth. With ``--home`` the filled databases stay there and
are used again; about 4 GB at a million sessions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster import DagsterInstance

from heimdall_assets import embedded
from heimdall_assets.db import coverage, discovery, migrate, requests, states, work
from heimdall_assets.db.engine import autocommit, create_database_if_missing, open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.planner import plan_tick
from heimdall_assets.dsp import FEATURES
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings, load_settings
from heimdall_assets_tests.benchmarks.pages import measure_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.settings import Settings

PENDING = 250
RECEIVERS = 7
REPETITIONS = 5
# Nobody needs these rows after a crash of the machine.
SERVER = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "'4GB'"}

_AGGREGATE = {"mean": 1.2345, "std": 0.1234, "min": 0.9, "max": 1.5}
_INPUT = {"measurement_id": "", "iq_data_location": "sessions/2026/a.npy", "size": 1_600_000, "etag": "e"}


def fill(engine: Engine, sessions: int, *, minutes_apart: float = 1.0) -> None:
    """Write sessions some time apart, the last one an hour ago, all known and done but some."""
    receivers = [
        json.dumps({"rx_id": f"RX{i + 1}", "rx_lat": 45.1, "rx_lon": 7.5, **{f.name: _AGGREGATE for f in FEATURES}})
        for i in range(RECEIVERS)
    ]
    metadata = {
        "extraction_method": "recorded",
        "feature_version": FEATURE_VERSION,
        "receivers": {f"RX{i + 1}": _INPUT for i in range(RECEIVERS)},
    }
    statements = (
        f"""INSERT INTO heimdall.websdr_stations (name, latitude, longitude)
            SELECT 'RX' || i, 45 + i * 0.1, 7 + i * 0.1 FROM generate_series(1, {RECEIVERS}) i""",
        # an hour ago at the latest: nothing is new
        f"""INSERT INTO heimdall.recording_sessions (status, session_start, created_at, updated_at, duration_seconds)
            SELECT 'completed', t, t, t, 10 FROM generate_series(0, {sessions - 1}) i,
                 LATERAL (SELECT now() - interval '1 hour' - i * interval '{minutes_apart} minutes' AS t) x""",
        """INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, recording_session_id, frequency_hz,
                                              iq_data_location, created_at)
           SELECT s.created_at, w.id, s.id, 145500000, 'sessions/2026/a.npy', s.created_at
           FROM heimdall.recording_sessions s, heimdall.websdr_stations w""",
        f"""INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, first_seen_completed_at,
                measurements_total, measurements_with_features, feature_version, registered_at, inputs_tried)
            SELECT id, CASE WHEN is_open THEN 'pending' ELSE 'done' END, updated_at, updated_at, {RECEIVERS},
                   CASE WHEN is_open THEN 0 ELSE {RECEIVERS} END, CASE WHEN NOT is_open THEN {FEATURE_VERSION} END,
                   CASE WHEN NOT is_open THEN now() END, CASE WHEN NOT is_open THEN '0123456789ab' END
            FROM (SELECT *, row_number() OVER (ORDER BY random()) <= {PENDING} AS is_open
                  FROM heimdall.recording_sessions) s""",
        """INSERT INTO heimdall.measurement_features (recording_session_id, "timestamp", receiver_features,
               extraction_metadata, overall_confidence, mean_snr_db, num_receivers_detected, gdop)
           SELECT recording_session_id, completed_at, CAST(:receivers AS jsonb[]), CAST(:metadata AS jsonb),
                  0.5, 10, 7, 2
           FROM heimdall.feature_states WHERE state = 'done'""",
        """INSERT INTO heimdall.feature_attempts (recording_session_id, number, run_id, started_at, finished_at,
                                                  outcome, feature_version, seconds)
           SELECT recording_session_id, 1, 'a-run', completed_at, completed_at, 'done', feature_version, 0.5
           FROM heimdall.feature_states WHERE state = 'done'""",
    )
    for statement in statements:
        with transaction(engine) as connection:
            # no foreign key is checked, and no trigger notes what nobody changed
            if "feature_states (" not in statement:
                connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            parameters = {"receivers": receivers, "metadata": json.dumps(metadata)} if ":receivers" in statement else {}
            connection.execute(sa.text(statement), parameters)
    with autocommit(engine) as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


@contextmanager
def filled(settings: Settings, sessions: int) -> Iterator[Engine]:
    """Engine of a database with so many sessions; filled unless it is there."""
    url = heimdall_url(settings).set(database=f"scale_{sessions}")
    create_database_if_missing(url)
    engine = open_engine(url)
    try:
        migrate.upgrade(engine)
        with transaction(engine) as connection:
            is_filled = connection.scalar(sa.text("SELECT EXISTS (SELECT 1 FROM heimdall.feature_states)"))
        if not is_filled:
            started = time.perf_counter()
            fill(engine, sessions)
            sys.stderr.write(f"{sessions} sessions were filled in {time.perf_counter() - started:.0f} s\n")
        yield engine
    finally:
        engine.dispose()


def median_ms(engine: Engine, ask: Callable[[Connection], object]) -> float:
    """Median time of a question in a transaction that is rolled back, after one for warming up."""
    taken = []
    for _ in range(REPETITIONS + 1):
        with transaction(engine) as connection, connection.begin_nested() as attempt:
            started = time.perf_counter()
            ask(connection)
            taken.append(1000 * (time.perf_counter() - started))
            attempt.rollback()
    return round(statistics.median(taken[1:]), 1)


def plan_queries(connection: Connection, settings: Settings) -> None:
    """What a tick asks about work, and two of the batches that it would plan."""
    slots = settings.batch_size * settings.max_batches
    newest = work.newest_pending(connection, slots)
    work.oldest_pending(connection, slots)
    work.due_retries(connection, slots)
    work.open_batches(connection)
    for number in range(2):
        batch = newest[number * settings.batch_size : (number + 1) * settings.batch_size]
        work.reserve(connection, f"fresh-{number}", [session_id for session_id, *_ in batch])


def measure(engine: Engine, instance: DagsterInstance, settings: Settings, sessions: int) -> dict[str, Any]:
    """All figures at one size."""
    version = FEATURE_VERSION
    with transaction(engine) as connection:
        now = states.database_time(connection)
        # What is pending is planned, and stays so: a tick finds nothing new.
        keys = [session_id for session_id, *_ in work.newest_pending(connection, PENDING)]
    everything = requests.Selection(pending=True)
    row: dict[str, Any] = {"sessions": sessions}
    row["planner_ms"] = median_ms(engine, lambda c: plan_queries(c, settings))
    row["discover_ms"] = median_ms(engine, discovery.discover)
    with transaction(engine) as connection:
        work.reserve(connection, "fresh-0", keys)

    def tick(*, is_schedule: bool) -> float:
        taken = []
        for _ in range(REPETITIONS + 1):
            started = time.perf_counter()
            plan = plan_tick(instance, engine, settings, since=now - timedelta(minutes=10), is_schedule=is_schedule)
            taken.append(1000 * (time.perf_counter() - started))
            assert not plan.batches
        return round(statistics.median(taken[1:]), 1)

    row["schedule_ms"] = tick(is_schedule=True)
    row["sensor_ms"] = tick(is_schedule=False)
    with transaction(engine) as connection:
        work.release(connection, ["fresh-0"])
    row["stats_ms"] = median_ms(engine, lambda c: coverage.coverage_figures(c, feature_version=version))
    row["by_day_ms"] = median_ms(engine, coverage.coverage_by_day)
    row["count_ms"] = median_ms(engine, lambda c: requests.count(c, everything, feature_version=version))
    return row | measure_pages(engine, settings, sessions)


def benchmark(home: Path, sessions: int) -> dict[str, Any]:
    """Rows of figures at three sizes, and their growth from a tenth to the whole."""
    settings = load_settings(home=home, database_url=None)
    sizes = [max(PENDING, sessions // 100), max(PENDING, sessions // 10), sessions]
    with embedded.database(settings), DagsterInstance.ephemeral() as instance:
        server = open_engine(heimdall_url(settings))
        with autocommit(server) as connection:
            for name, value in SERVER.items():
                connection.execute(sa.text(f"ALTER SYSTEM SET {name} = {value}"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        server.dispose()
        rows = []
        for size in sizes:
            with filled(settings, size) as engine:
                rows.append(measure(engine, instance, settings, size))
                sys.stderr.write(f"{rows[-1]}\n")
    growth = {
        name: round(value / max(rows[1][name], 0.1), 2) for name, value in rows[2].items() if name.endswith("_ms")
    }
    return {"rows": rows, "growth": growth}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Times of the planner and the figures as sessions grow in number.")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="keep the databases here; else they are removed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    current_settings.cache_clear()
    # PostgreSQL never runs as root and must reach its data, and the paths of its sockets are short.
    home = arguments.home or Path(tempfile.mkdtemp(prefix="heimdall-scale-"))
    try:
        home.chmod(0o755) if arguments.home is None else home.mkdir(parents=True, exist_ok=True)
        document = benchmark(home, arguments.sessions)
    finally:
        if arguments.home is None:
            shutil.rmtree(home, ignore_errors=True)
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for row in document["rows"]:
        sys.stdout.write("  ".join(f"{name} {value:g}" for name, value in row.items()) + "\n")
    sys.stdout.write("growth: " + "  ".join(f"{name} {value:g}" for name, value in document["growth"].items()) + "\n")


if __name__ == "__main__":
    main()
