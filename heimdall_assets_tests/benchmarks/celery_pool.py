"""The same work as a plain Celery task a session, on a Redis server of its own.

``python -m celery -A heimdall_assets_tests.benchmarks.celery_pool worker`` finds the application here; its broker is
what REDIS_VARIABLE names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis
from celery import Celery, group
from celery.signals import worker_process_init
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from heimdall_assets.dsp import keep_freed_memory
from heimdall_assets_tests.benchmarks import bare
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.system import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from uuid import UUID

REDIS_VARIABLE = "HEIMDALL_BENCHMARK_REDIS_URL"
TIMEOUT_S = 600.0

app = Celery("benchmark", broker=os.environ.get(REDIS_VARIABLE), backend=os.environ.get(REDIS_VARIABLE))
app.conf.update(worker_prefetch_multiplier=1, task_acks_late=True, broker_connection_retry_on_startup=True)


measure = app.task(bare.measure_and_insert, name="measure")


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _prepare(**_: object) -> None:
    """As in the other processes that are compared."""
    keep_freed_memory()


def is_possible() -> bool:
    """True where a Redis server is installed."""
    return shutil.which("redis-server") is not None


def pool_seconds(session_ids: Sequence[UUID], folder: Path) -> float:
    """Work on sessions with a Celery worker process a core, after one each for warming up; seconds for the rest."""
    workers = os.cpu_count() or 1
    with _redis_server(folder) as url, _worker(url, workers, folder):
        app.conf.update(broker_url=url, result_backend=url)
        keys = [str(key) for key in session_ids]
        for key in keys[: 2 * workers]:  # which process takes it is not ours to say
            measure.delay(key).get(timeout=TIMEOUT_S)
        started = time.perf_counter()
        group(measure.s(key) for key in keys[2 * workers :]).apply_async().get(timeout=TIMEOUT_S)
        return time.perf_counter() - started


@contextmanager
def _redis_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            client = redis.Redis(port=port, retry=Retry(ConstantBackoff(0.1), 100))
            client.ping()
            client.close()
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


@contextmanager
def _worker(url: str, processes: int, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "heimdall_assets_tests.benchmarks.celery_pool", "worker"]
    command += ["--concurrency", str(processes), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    environment = {**os.environ, REDIS_VARIABLE: url}
    with (
        (folder / "celery.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as worker,
    ):
        try:
            yield
        finally:
            worker.terminate()
            wait_for(lambda: worker.poll() is not None, "the Celery worker to end")
