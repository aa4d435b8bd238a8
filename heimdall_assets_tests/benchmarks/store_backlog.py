"""The same backlog from local files and from a local S3 server, through the real daemon; and a server that dies.

    python -m heimdall_assets_tests.benchmarks.store_backlog [--sessions 300] [--receivers 7] [--batch-size 100]
        [--endpoint URL] [--latency-ms MS] [--outage SECONDS] [--json]

file_sessions_per_minute, s3_sessions_per_minute, ratio
    As ``throughput`` counts them: from the creation of the first run to the last session shown as materialized; each
    backlog is drained twice, files first and last, so that a machine that changes its speed slows both. The server is
    moto's, in a process of its own on the same cores, or the one at ``--endpoint``, with a bucket
    ``heimdall-benchmark`` and the credentials of ``AWS_*``. With ``--latency-ms``, moto's answers so much later, as
    one far away.
s3_peak_worker_mb
    Most memory of a run's process that reads from the server.
file_processor_ms, s3_processor_ms, server_processor_ms, processor_ratio
    Processor time a session of the pipeline with its PostgreSQL, and of the S3 server on this machine: the ratio of
    the first to the sum of the others is what ``ratio`` tends to where the cores do nothing else.
outage
    With ``--outage``: moto's server is killed when a tenth of another backlog is done, and is back, with the same
    objects, so many seconds later. What is counted is taken from the database when nothing is left to do: sessions by
    state, attempts by outcome, the most attempts of one session. Exit 1 unless every session is done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from statistics import harmonic_mean, mean
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
import psutil
from obstore.store import S3Store

from heimdall_assets_tests.benchmarks import backlog
from heimdall_assets_tests.benchmarks.drain import drain, running_daemon
from heimdall_assets_tests.benchmarks.stores import BUCKET, server_at
from heimdall_assets_tests.benchmarks.throughput import bench
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.object_store import ENVIRONMENT, serving

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets_tests.benchmarks.throughput import Bench

POLL_S = 0.5
LONGEST_S = 1200.0


def variables_of(endpoint: str, batch_size: int) -> dict[str, str]:
    """Settings with which recordings are read from a server."""
    return {
        "HEIMDALL_IQ_ROOT": f"s3://{BUCKET}",
        "HEIMDALL_S3_ENDPOINT_URL": endpoint,
        "HEIMDALL_BATCH_SIZE": str(batch_size),
    }


def upload(endpoint: str, folder: Path) -> None:
    """Put the recordings of a folder into the bucket."""
    client = S3Store(BUCKET, endpoint=endpoint, client_options={"allow_http": True})
    for path in sorted(folder.iterdir()):
        obstore.put(client, path.name, path)


def folder_of(made: Bench) -> Path:
    """Where the recordings lie as files."""
    return made.settings.home / "iq"


def drained(made: Bench, sessions: int) -> tuple[float, float, float]:
    """Drain a backlog; sessions a minute, processor time a session in ms, and most memory of a run in MB."""
    backlog.add_sessions(made.factory, made.sets, sessions)
    made.analyze()
    with running_daemon(made.settings, **made.variables) as processes:
        found = drain(made.settings, processes, sessions)
    return 60 * sessions / found.seconds, 1000 * found.processor_seconds / sessions, found.peak_worker_mb


def rates(endpoint: str, sessions: int, receivers: int, batch_size: int) -> dict[str, float | None]:
    """The same backlog from files and from the server, each twice."""
    of_files, of_store, server_ms = [], [], 0.0
    server = _server(endpoint)
    for is_in_store in (False, True, True, False):  # a machine that becomes slower meanwhile slows both
        if is_in_store:
            with bench(receivers, **variables_of(endpoint, batch_size)) as made:
                upload(endpoint, folder_of(made))
                before = sum(server.cpu_times()[:2])
                of_store.append(drained(made, sessions))
                server_ms += 1000 * (sum(server.cpu_times()[:2]) - before) / sessions / 2
        else:
            with bench(receivers, HEIMDALL_BATCH_SIZE=str(batch_size)) as made:
                of_files.append(drained(made, sessions))
    file_rate, store_rate = (harmonic_mean(each[0] for each in found) for found in (of_files, of_store))
    file_ms, store_ms = (mean(each[1] for each in found) for found in (of_files, of_store))
    return {
        "file_sessions_per_minute": round(file_rate, 1),
        "s3_sessions_per_minute": round(store_rate, 1),
        "ratio": round(store_rate / file_rate, 3),
        "s3_peak_worker_mb": round(max(each[2] for each in of_store), 1),
        "file_processor_ms": round(file_ms, 1),
        "s3_processor_ms": round(store_ms, 1),
        "server_processor_ms": round(server_ms, 1),
        "processor_ratio": round(file_ms / (store_ms + server_ms), 3),
    }


def _server(endpoint: str) -> psutil.Process:
    """The process that listens at an address of this machine."""
    port = urlsplit(endpoint).port
    pids = [entry.pid for entry in psutil.net_connections("inet") if entry.status == psutil.CONN_LISTEN
            and isinstance(entry.laddr, tuple) and entry.laddr[1:] == (port,)]  # fmt: skip
    if not pids or pids[0] is None:
        raise RuntimeError(f"nothing on this machine listens at {endpoint}")
    return psutil.Process(pids[0])


def outage(seconds: float, sessions: int, receivers: int, batch_size: int) -> dict[str, Any]:
    """Kill the server while a backlog drains; what became of it."""
    os.environ.update(ENVIRONMENT)
    with ExitStack() as first:
        store = first.enter_context(serving())
        store.make_bucket(BUCKET)
        with bench(receivers, **variables_of(store.endpoint, batch_size)) as made:
            upload(store.endpoint, folder_of(made))
            backlog.add_sessions(made.factory, made.sets, sessions)
            with running_daemon(made.settings, **made.variables):
                started = time.monotonic()
                wait_for(lambda: _done(made) >= sessions / 10, "the first sessions", timeout_s=300)
                done_before = _done(made)
                first.close()
                time.sleep(seconds)  # what is tried is that nothing is there for so long
                with serving(store.port) as again:
                    again.make_bucket(BUCKET)
                    upload(again.endpoint, folder_of(made))
                    wait_for(lambda: not _open(made), "all sessions to end", timeout_s=LONGEST_S)
                    return {
                        "outage_seconds": seconds,
                        "done_before": done_before,
                        "states": dict(made.factory.rows(_BY_STATE)),
                        "attempts": {f"{o} {r or ''}".strip(): n for o, r, n in made.factory.rows(_BY_OUTCOME)},
                        "most_attempts": made.factory.scalar(_MOST),
                        "seconds": round(time.monotonic() - started, 1),
                    }


_BY_STATE = "SELECT state, count(*) FROM heimdall.feature_states GROUP BY 1"
_BY_OUTCOME = "SELECT outcome, reason, count(*) FROM heimdall.feature_attempts GROUP BY 1, 2"
_MOST = "SELECT max(number) FROM heimdall.feature_attempts"


def _done(made: Bench) -> int:
    return int(made.factory.scalar("SELECT count(*) FROM heimdall.feature_states WHERE state = 'done'"))


def _open(made: Bench) -> int:
    query = "SELECT count(*) FROM heimdall.feature_states WHERE state IN ('pending', 'running', 'failed', 'partial')"
    return int(made.factory.scalar(query))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The same backlog from files and from S3; an outage of the store.")
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--receivers", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--endpoint", help="of another server than moto's")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="moto's server answers so much later")
    parser.add_argument("--outage", type=float, default=0.0, help="instead of rates: seconds without a server")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    sizes = arguments.sessions, arguments.receivers, arguments.batch_size
    figures: dict[str, Any] = {"sessions": arguments.sessions, "receivers": arguments.receivers}
    if arguments.outage:
        figures |= outage(arguments.outage, *sizes)
    else:
        with server_at(arguments.endpoint, arguments.latency_ms) as endpoint:
            figures |= {"endpoint": endpoint, "latency_ms": arguments.latency_ms, **rates(endpoint, *sizes)}
    if arguments.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:26s} {value}\n")
    if arguments.outage and figures["states"] != {"done": arguments.sessions}:
        sys.exit(1)


if __name__ == "__main__":
    main()
