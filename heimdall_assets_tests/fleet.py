"""Everything running with a broker and two workers, and what tests and benchmarks ask of the workers."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import psutil

from heimdall_assets.defs.fleet.execution import WORKER_TAG
from heimdall_assets.services import start_workers
from heimdall_assets_tests.brokers import broker
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.system import running_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heimdall_assets.processes import Processes
    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.system import System

WORKERS = 2
JOBS = ("extract_features", "extract_sessions")


@contextmanager
def running_fleet(kind: str, settings: Settings, folder: Path, **variables: str) -> Iterator[System]:
    """Webserver, daemon and two workers on a broker of a kind."""
    with (
        broker(kind, folder / kind) as url,
        running_system(settings, folder, HEIMDALL_CELERY_BROKER_URL=url, **variables) as system,
    ):
        start_workers(system.processes, WORKERS)
        await_workers(system.processes)
        yield system


def await_workers(processes: Processes) -> None:
    """Wait until both take runs: one that is ready first would have them all."""
    for number in range(1, WORKERS + 1):
        log = processes.log_path(f"worker-{number}")
        wait_for(partial(_says_ready, log), f"{log.stem} to be ready", timeout_s=120)


def _says_ready(log: Path) -> bool:
    return " ready." in log.read_text(encoding="utf-8")


def worker_of(system: System, run_id: str) -> str | None:
    """Name of the worker that carries out a run, or did; None before one has taken it up."""
    tags = {tag["key"]: tag["value"] for tag in system.api.run(run_id)["tags"]}
    return tags.get(WORKER_TAG)


def runs_by_worker(system: System) -> Counter[str | None]:
    """How many of the runs that extract each worker carried out."""
    return Counter(worker_of(system, run["runId"]) for job in JOBS for run in system.api.runs(pipelineName=job))


def pid_of(worker: str) -> int:
    """The number of a worker's main process, which its name holds."""
    return int(worker.partition("@")[0].removeprefix("heimdall-"))


def kill_worker(pid: int) -> None:
    """End a worker and its processes at once, without a word."""
    main = psutil.Process(pid)
    killed = [main, *main.children(recursive=True)]
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=10)
