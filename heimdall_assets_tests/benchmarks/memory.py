"""The memory of a run's process over many sessions, one of which has a huge recording.

    python -m heimdall_assets_tests.benchmarks.memory [--sessions 2000] [--large-mb 960] [--json]

A process runs ``extract_features`` over one range, as the daemon has it done, in a home of its own; it is watched from
outside. Megabytes are 10^6 bytes.

peak_mb
    The most that it had.
after_tenth_mb, at_end_mb, growth_mb
    What it had after a tenth of the sessions, at the end, and what came in between: flat means near to nothing.
large_mb, large_seconds
    Size of the recording in the middle of the range, and how long its session took: only its chunks are read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dagster import DagsterInstance
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from heimdall_assets.definitions import defs
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets_tests.benchmarks import backlog
from heimdall_assets_tests.benchmarks.throughput import bench
from heimdall_assets_tests.benchmarks.usage import memory_mb

if TYPE_CHECKING:
    from heimdall_assets_tests.benchmarks.throughput import Bench

POLL_S = 0.2
LARGE = "large.npy"


def run_range(first: str, last: str) -> None:
    """Run the asset over a range in this process, as the process of a run does."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with DagsterInstance.get() as instance:
        job = defs.resolve_job_def("extract_features")
        run = instance.create_run_for_job(job, tags=tags)
        for _ in execute_run_iterator(InMemoryJob(job), run, instance):
            pass


def write_large(made: Bench, size_mb: int) -> None:
    """Write a recording of this size whose first second is real; the rest is a hole in the file."""
    root = Path(made.settings.resolved_iq_root)
    samples = np.load(root / made.sets[0][0])
    total = size_mb * 10**6 // samples.itemsize
    with (root / LARGE).open("wb") as file:
        header = {"descr": "<c8", "fortran_order": False, "shape": (total,)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.write(samples.tobytes())
        file.truncate(start + total * samples.itemsize)


def measure(made: Bench, sessions: int, large_mb: int) -> dict[str, Any]:
    """Run over so many sessions in a child and watch it."""
    write_large(made, large_mb)
    keys = backlog.add_sessions(made.factory, made.sets, sessions)
    large = keys[len(keys) // 2]
    made.factory.replace_file(large, LARGE)
    with DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(str(recording_sessions_partitions.name), [str(key) for key in keys])
    command = [sys.executable, "-m", "heimdall_assets_tests.benchmarks.memory", "--run", str(keys[0]), str(keys[-1])]
    after_tenth, now, peak = None, 0.0, 0.0
    log = made.settings.home / "run.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as child:
        while child.poll() is None:
            time.sleep(POLL_S)
            try:
                now, peak = memory_mb(child.pid, "VmRSS") or now, max(peak, memory_mb(child.pid, "VmHWM"))
            except OSError:  # it has ended meanwhile
                break
            if after_tenth is None and _stored(made) * 10 >= sessions:
                after_tenth = now
        if child.wait() != 0 or _stored(made) != sessions:
            raise RuntimeError(f"the run ended with code {child.returncode}: {log.read_text()[-2000:]}")
    seconds = made.factory.scalar(
        "SELECT seconds FROM heimdall.feature_attempts WHERE recording_session_id = :id", id=large
    )
    first = after_tenth or now
    return {
        "sessions": sessions,
        "peak_mb": round(peak, 1),
        "after_tenth_mb": round(first, 1),
        "at_end_mb": round(now, 1),
        "growth_mb": round(now - first, 1),
        "large_mb": large_mb,
        "large_seconds": round(float(seconds), 3),
    }


def _stored(made: Bench) -> int:
    return int(made.factory.scalar("SELECT count(*) FROM heimdall.feature_attempts WHERE outcome = 'done'"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The memory of a run's process over many sessions.")
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--receivers", type=int, default=7)
    parser.add_argument("--large-mb", type=int, default=960)
    parser.add_argument("--run", nargs=2, metavar=("FIRST", "LAST"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    if arguments.run:
        run_range(*arguments.run)
        return
    with bench(arguments.receivers, HEIMDALL_WORKERS=str(os.cpu_count() or 1)) as made:
        figures = measure(made, arguments.sessions, arguments.large_mb)
    if arguments.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:20s} {value}\n")


if __name__ == "__main__":
    main()
