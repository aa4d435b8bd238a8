"""Sessions a minute through the real daemon, queue and PostgreSQL, beside what the machine could do without them.

    python -m heimdall_assets_tests.benchmarks.throughput [--sessions 1000] [--receivers 7] [--batch-size 500]
        [--max-batches 5] [--latency] [--backlog 5000] [--json]

Everything happens in a temporary home with a PostgreSQL of its own. Every session has a recording of a second at
200 kHz, complex64, a receiver, which lie in the page cache.

sessions_per_minute
    A daemon finds a backlog: from the creation of the first run to the last session shown as materialized.
pool_sessions_per_minute
    As many sessions by a process a core that loads, computes and inserts (``bare.py``): the bound.
celery_pool_sessions_per_minute
    The same as a plain Celery task a session, with Redis; null where celery or redis-server is missing.
ratio_to_pool, ratio_to_celery_pool
    The first divided by the others, all measured in this run.
peak_worker_mb
    The most memory that a run's process had, in 10^6 bytes.
processor_ms_per_session, pool_processor_ms_per_session
    Processor time with PostgreSQL's, the daemon's and the starts of runs; it says more than the rates where the machine
    has other work.
heimdall_bytes_per_session, dagster_bytes_per_session
    What the two databases grew by while the backlog drained, indexes included.
p50_latency_seconds, p95_latency_seconds
    With ``--latency``: from a session's completion to its stored features, at ten sessions a minute for two minutes.
p50_backlog_latency_seconds, p95_backlog_latency_seconds
    With ``--backlog N``: the same while N old sessions drain.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from heimdall_assets import embedded
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.db.urls import dagster_url, heimdall_url
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.settings import current_settings, load_settings
from heimdall_assets_tests.benchmarks import backlog, bare, trickle
from heimdall_assets_tests.benchmarks.drain import drain, running_daemon
from heimdall_assets_tests.benchmarks.usage import processor_seconds, server_pid
from heimdall_assets_tests.factory import SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.settings import Settings

NOT_COMPLETED = "in_progress"
"""Sessions that the daemon must not see."""


@dataclass(frozen=True)
class Bench:
    """A home of its own: its PostgreSQL runs, its recordings are written."""

    settings: Settings
    factory: SessionFactory
    sets: list[tuple[str, ...]]
    variables: dict[str, str]

    def database_bytes(self) -> tuple[int, int]:
        """Sizes of all tables with their indexes: Heimdall's database, Dagster's."""
        sizes = []
        for url in (heimdall_url(self.settings), dagster_url(self.settings)):
            engine = open_engine(url, pool_size=1)
            with transaction(engine) as connection:
                query = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
                sizes.append(int(connection.scalar(sa.text(query)) or 0))
            engine.dispose()
        return sizes[0], sizes[1]

    def analyze(self) -> None:
        """Do what autovacuum does in its own time; plans must not depend on when."""
        with autocommit(self.factory.engine) as connection:
            connection.execute(sa.text("ANALYZE"))


@contextmanager
def bench(receivers: int, **variables: str) -> Iterator[Bench]:
    """Make one; the process's environment is that of the home's processes inside the block."""
    with tempfile.TemporaryDirectory(prefix="heimdall-") as name:
        settings = load_settings(home=Path(name), database_url=None)
        root = Path(settings.resolved_iq_root)
        root.mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as environment:
            for variable, value in {**dagster_environment(settings), **variables}.items():
                environment.setenv(variable, value)
            current_settings.cache_clear()
            with embedded.database(settings):
                engine = open_engine(heimdall_url(settings))
                with DagsterInstance.get():  # makes its tables
                    pass
                yield Bench(
                    settings, SessionFactory(engine, settings), backlog.write_recordings(root, receivers), variables
                )
                engine.dispose()
        current_settings.cache_clear()


def rates(made: Bench, sessions: int) -> dict[str, Any]:
    """Drain the same number of sessions by the bare pool, by Celery tasks and by the daemon."""
    pool, pool_processor_s = _pool(made, sessions)
    celery = _celery_rate(made, sessions)
    backlog.add_sessions(made.factory, made.sets, sessions)
    made.analyze()
    before = made.database_bytes()
    with running_daemon(made.settings, **made.variables) as processes:
        drained = drain(made.settings, processes, sessions)
    grown = [after - then for after, then in zip(made.database_bytes(), before, strict=True)]
    rate = 60 * sessions / drained.seconds
    return {
        "sessions_per_minute": round(rate, 1),
        "pool_sessions_per_minute": round(pool, 1),
        "celery_pool_sessions_per_minute": None if celery is None else round(celery, 1),
        "ratio_to_pool": round(rate / pool, 3),
        "ratio_to_celery_pool": None if celery is None else round(rate / celery, 3),
        "peak_worker_mb": round(drained.peak_worker_mb, 1),
        "processor_ms_per_session": round(1000 * drained.processor_seconds / sessions, 1),
        "pool_processor_ms_per_session": round(1000 * pool_processor_s / sessions, 1),
        "seconds": round(drained.seconds, 2),
        "seconds_to_first": round(drained.seconds_to_first, 2),
        "runs": drained.runs,
        "heimdall_bytes_per_session": round(grown[0] / sessions),
        "dagster_bytes_per_session": round(grown[1] / sessions),
    }


def _pool(made: Bench, sessions: int) -> tuple[float, float]:
    """Sessions a minute, and seconds of processor time of the pool and PostgreSQL."""
    cores = os.cpu_count() or 1
    keys = backlog.add_sessions(made.factory, made.sets, sessions + cores, status=NOT_COMPLETED)
    made.analyze()
    before_s = processor_seconds(server_pid(made.settings))
    seconds, processor_s = bare.pool_seconds(keys)
    return 60 * sessions / seconds, processor_s + processor_seconds(server_pid(made.settings)) - before_s


def _celery_rate(made: Bench, sessions: int) -> float | None:
    if find_spec("celery") is None or find_spec("redis") is None:
        return None
    # Celery is no dependency of the project.
    from heimdall_assets_tests.benchmarks import celery_pool  # noqa: PLC0415

    if not celery_pool.is_possible():
        return None
    warming = 2 * (os.cpu_count() or 1)
    keys = backlog.add_sessions(made.factory, made.sets, sessions + warming, status=NOT_COMPLETED)
    return 60 * sessions / celery_pool.pool_seconds(keys, made.settings.home)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Sessions a minute through the daemon, and without it.")
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--receivers", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--max-batches", type=int, default=5)
    parser.add_argument("--latency", action="store_true", help="also the latency of ten sessions a minute")
    parser.add_argument("--backlog", type=int, default=0, help="also that latency while so many sessions drain")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    variables = {
        "HEIMDALL_BATCH_SIZE": str(arguments.batch_size),
        "HEIMDALL_MAX_BATCHES": str(arguments.max_batches),
    }
    figures: dict[str, Any] = {
        "sessions": arguments.sessions,
        "receivers": arguments.receivers,
        "batch_size": arguments.batch_size,
        "cores": os.cpu_count(),
    }
    with bench(arguments.receivers, **variables) as made:
        figures |= rates(made, arguments.sessions)
        for name, is_asked, old in (("", arguments.latency, 0), ("backlog_", arguments.backlog, arguments.backlog)):
            latencies = trickle.latencies(made, old) if is_asked else None
            for percent in (50, 95):
                value = None if latencies is None else trickle.percentile(latencies, percent)
                figures[f"p{percent}_{name}latency_seconds"] = value
    if arguments.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:34s} {'-' if value is None else value}\n")


if __name__ == "__main__":
    main()
