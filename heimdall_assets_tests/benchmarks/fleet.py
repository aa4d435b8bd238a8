"""Two warm workers drain a backlog, and lose nothing when one of them is killed.

    python -m heimdall_assets_tests.benchmarks.fleet [--broker redis|rabbitmq|none] [--sessions 500] [--batch-size 250]
        [--kill] [--compare] [--json]

Everything happens in a temporary home with a PostgreSQL and a broker of its own; the recordings are those of the
throughput benchmark. With ``--broker none`` the default launcher does the same. Exits with 1 if a session was lost or
stored twice, or if a worker had no part.

sessions_per_minute
    From the creation of the first run to the last session shown as materialized, the workers warm before.
shares
    Sessions that each worker stored.
run_start_seconds
    Of the first run, when the workers were idle: from its launch to the first session that it began.
stored_twice, lost
    Sessions that were stored more than once; sessions that are not stored at the end.
seconds_to_find_dead
    With ``--kill``: from the SIGKILL of a worker to the end of its run.
celery_pool_sessions_per_minute
    With ``--compare``: the same work as a plain Celery task a session.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.services import start_workers
from heimdall_assets_tests.benchmarks import backlog, throughput
from heimdall_assets_tests.benchmarks.drain import running_daemon
from heimdall_assets_tests.brokers import broker
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.fleet import WORKERS, await_workers, kill_worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.processes import Processes
    from heimdall_assets_tests.benchmarks.throughput import Bench

TIMEOUT_S = 900.0
WARMING = 40
"""Sessions before the measured ones: compiled code is loaded, statements are prepared."""

EXTRACTION = "pipeline_name IN ('extract_features', 'extract_sessions')"


@dataclass(frozen=True)
class Ledger:
    """The two databases, asked for what happened."""

    made: Bench
    dagster: Engine

    def stored(self, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How often each of the sessions was stored."""
        rows = self.made.factory.rows(
            "SELECT recording_session_id, count(*) FROM heimdall.feature_attempts "
            "WHERE outcome IN ('done', 'partial') AND recording_session_id = ANY (:ids) GROUP BY 1",
            ids=list(session_ids),
        )
        return {key: count for key, count in rows}  # noqa: C416  # two columns

    def shares(self, session_ids: Sequence[UUID]) -> dict[str, int]:
        """Sessions that each worker stored, by its name."""
        rows = self.made.factory.rows(
            "SELECT run_id, count(*) FROM heimdall.feature_attempts "
            "WHERE outcome IN ('done', 'partial') AND recording_session_id = ANY (:ids) GROUP BY 1",
            ids=list(session_ids),
        )
        workers = dict(self._dagster("SELECT run_id, value FROM run_tags WHERE key = 'heimdall/worker'"))
        shares: dict[str, int] = {}
        for run_id, count in rows:
            name = workers.get(run_id, "a process a run")
            shares[name] = shares.get(name, 0) + count
        return shares

    def open_runs(self) -> int:
        """Runs that extract and have not ended."""
        query = f"SELECT count(*) FROM runs WHERE {EXTRACTION} AND status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
        return int(self._dagster(query)[0][0])

    def failed_runs(self) -> int:
        """Runs that extract and failed."""
        return int(self._dagster(f"SELECT count(*) FROM runs WHERE {EXTRACTION} AND status = 'FAILURE'")[0][0])

    def seconds(self, session_ids: Sequence[UUID]) -> tuple[float, float]:
        """From the creation of the first run to the last materialization; from that run's launch to its first session.

        Dagster's times are in UTC.
        """
        runs = self.made.factory.rows(
            "SELECT run_id, extract(epoch FROM min(started_at)) FROM heimdall.feature_attempts "
            "WHERE recording_session_id = ANY (:ids) GROUP BY 1 ORDER BY 2",
            ids=list(session_ids),
        )
        first_run, began_at = str(runs[0][0]), float(runs[0][1])
        ((created_at,),) = self._dagster(
            "SELECT extract(epoch FROM min(create_timestamp AT TIME ZONE current_setting('TimeZone'))) FROM runs "
            "WHERE run_id = ANY (:runs)",
            runs=[row[0] for row in runs],
        )
        ((launched_at,),) = self._dagster(
            "SELECT extract(epoch FROM timestamp) FROM event_logs "
            "WHERE run_id = :run AND dagster_event_type = 'PIPELINE_STARTING'",
            run=first_run,
        )
        ((ended_at,),) = self._dagster(
            "SELECT extract(epoch FROM max(timestamp)) FROM event_logs "
            "WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND partition = ANY (:keys)",
            keys=[str(key) for key in session_ids],
        )
        return float(ended_at) - float(created_at), began_at - float(launched_at)

    def _dagster(self, query: str, **parameters: Any) -> list[Any]:
        with transaction(self.dagster) as connection:
            return list(connection.execute(sa.text(query), parameters))


def drained(made: Bench, kind: str, sessions: int, *, kill: bool, variables: dict[str, str]) -> dict[str, Any]:
    """Drain a backlog and look at what happened."""
    found_dead_s = None
    with ExitStack() as stack:
        if kind != "none":
            url = stack.enter_context(broker(kind, made.settings.home / kind))
            variables = {**variables, "HEIMDALL_CELERY_BROKER_URL": url}
        ledger = Ledger(made, open_engine(dagster_url(made.settings), pool_size=1))
        stack.callback(ledger.dagster.dispose)
        processes = stack.enter_context(running_daemon(made.settings, **variables))
        if kind != "none":
            start_workers(processes, WORKERS)
            await_workers(processes)
        _await(ledger, backlog.add_sessions(made.factory, made.sets, WARMING))
        ids = backlog.add_sessions(made.factory, made.sets, sessions)
        if kill:
            found_dead_s = _kill_one(ledger, processes, ids)
        _await(ledger, ids)
        seconds, start_seconds = ledger.seconds(ids)
        stored = ledger.stored(ids)
        shares = ledger.shares(ids)
    return {
        "broker": kind,
        "sessions": sessions,
        "seconds": round(seconds, 2),
        "sessions_per_minute": round(60 * sessions / seconds, 1),
        "run_start_seconds": round(start_seconds, 2),
        "shares": shares,
        "stored_twice": sum(count > 1 for count in stored.values()),
        "lost": sessions - len(stored),
        "seconds_to_find_dead": found_dead_s,
    }


def _kill_one(ledger: Ledger, processes: Processes, ids: Sequence[UUID]) -> float:
    """Kill the first worker when a fifth is stored, and start it again when its run was found dead."""
    wait_for(
        lambda: len(ledger.stored(ids)) > len(ids) / 5, "a fifth of the sessions", timeout_s=TIMEOUT_S, poll_s=0.05
    )
    kill_worker(processes.pid("worker-1"))
    killed_at = time.monotonic()
    wait_for(ledger.failed_runs, "the dead run to be found", timeout_s=TIMEOUT_S, poll_s=0.2)
    found_s = time.monotonic() - killed_at
    processes.check()
    return round(found_s, 1)


def _await(ledger: Ledger, ids: Sequence[UUID]) -> None:
    def is_done() -> bool:
        return len(ledger.stored(ids)) == len(ids) and not ledger.open_runs()

    wait_for(is_done, f"{len(ids)} sessions", timeout_s=TIMEOUT_S)


def main() -> None:
    """Measure and print; exits 1 if a session was lost or stored twice, or a worker had no part."""
    parser = argparse.ArgumentParser(description="Two warm workers drain a backlog.")
    parser.add_argument("--broker", choices=("redis", "rabbitmq", "none"), default="redis")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--receivers", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--max-batches", type=int, default=5)
    parser.add_argument("--kill", action="store_true", help="kill a worker in the middle of a batch")
    parser.add_argument(
        "--compare", action="store_true", help="also without Dagster: bare processes, plain Celery tasks"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    variables = {
        "HEIMDALL_BATCH_SIZE": str(arguments.batch_size),
        "HEIMDALL_MAX_BATCHES": str(arguments.max_batches),
    }
    with throughput.bench(arguments.receivers, **variables) as made:
        figures = drained(made, arguments.broker, arguments.sessions, kill=arguments.kill, variables=variables)
        figures |= {"batch_size": arguments.batch_size, "cores": os.cpu_count()}
        if arguments.compare:
            rate = throughput._celery_rate(made, arguments.sessions)
            figures["celery_pool_sessions_per_minute"] = None if rate is None else round(rate, 1)
    if arguments.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:34s} {'-' if value is None else value}\n")
    is_shared = arguments.broker == "none" or len(figures["shares"]) >= WORKERS
    sys.exit(0 if not figures["lost"] and not figures["stored_twice"] and is_shared else 1)


if __name__ == "__main__":
    main()
