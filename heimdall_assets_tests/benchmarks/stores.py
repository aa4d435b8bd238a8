"""How long the recordings of a session take from an S3 server: obstore beside fsspec with s3fs, and local files.

    python -m heimdall_assets_tests.benchmarks.stores [--sessions 20] [--receivers 7] [--seconds 10] [--json]

A recording is complex64 at 200 kHz, of one second in half of the sessions and longer in the others; of each, five
chunks of 200 ms are read. ``raw`` is the bare pattern with each library's own calls: the object's facts, its first
512 bytes, then the five chunks as one range each. ``read`` is what the pipeline does: the header and one read of the
five chunks, with the byte source of each library. The receivers of a session are read at the same time, by as many
threads. All take turns, session by session, in one process; the server is moto's, in a process of its own, or the one
at ``--endpoint``, with a bucket ``heimdall-benchmark`` and the credentials of ``AWS_*``.

Figures are medians of the milliseconds a session; ``ratio`` is fsspec's time over obstore's, so above 1 obstore is the
faster one. ``local`` is the same read from files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import obstore
from obstore.store import S3Store

from heimdall_assets.iq.header import Hints
from heimdall_assets.iq.objects import open_object
from heimdall_assets.iq.opening import IQFile
from heimdall_assets.iq.sources import LocalFile
from heimdall_assets.iq.stores import FsspecFile
from heimdall_assets.settings import load_settings
from heimdall_assets_tests.object_store import ENVIRONMENT, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUCKET = "heimdall-benchmark"
RATE_HZ = 200_000
CHUNKS = 5
CHUNK_BYTES = RATE_HZ // 5 * 8
HEAD_BYTES = 512
SEED = 1


def write_recordings(folder: Path, receivers: int, seconds: int) -> list[list[str]]:
    """Write the recordings of two sessions, of one second and of more; their names."""
    rng = np.random.default_rng(SEED)
    sessions = []
    for name, duration_s in (("short", 1), ("long", seconds)):
        names = [f"{name}-{receiver}.cf32" for receiver in range(receivers)]
        for each in names:
            rng.normal(size=2 * duration_s * RATE_HZ).astype(np.float32).tofile(folder / each)
        sessions.append(names)
    return sessions


def raw_by_obstore(store: S3Store, name: str) -> int:
    """Read with obstore alone; the bytes that came."""
    obstore.head(store, name)
    obstore.get_range(store, name, start=0, end=HEAD_BYTES)
    starts = [chunk * CHUNK_BYTES for chunk in range(CHUNKS)]
    return sum(len(obstore.get_range(store, name, start=start, length=CHUNK_BYTES)) for start in starts)


def raw_by_fsspec(filesystem: Any, name: str) -> int:
    """Read with s3fs alone; the bytes that came."""
    path = f"{BUCKET}/{name}"
    filesystem.invalidate_cache(BUCKET)
    filesystem.info(path)
    filesystem.cat_file(path, start=0, end=HEAD_BYTES)
    starts = [chunk * CHUNK_BYTES for chunk in range(CHUNKS)]
    return sum(len(filesystem.cat_file(path, start=start, end=start + CHUNK_BYTES)) for start in starts)


def read(source: Any) -> int:
    """Read as the pipeline does; the bytes that came."""
    with IQFile(source, Hints()) as recording:
        return recording.read(0, CHUNKS * CHUNK_BYTES // 8).nbytes


def benchmark(endpoint: str, sessions: int, receivers: int, seconds: int) -> dict[str, Any]:
    """Measure all in turns."""
    settings = load_settings(s3_endpoint_url=endpoint)
    client = S3Store(BUCKET, endpoint=endpoint, client_options={"allow_http": True})
    filesystem = fsspec.filesystem("s3", endpoint_url=endpoint, use_listings_cache=False)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(receivers) as pool:
        recordings = write_recordings(Path(folder), receivers, seconds)
        for path in Path(folder).iterdir():
            obstore.put(client, path.name, path)
        ways: dict[str, Callable[[str], int]] = {
            "obstore_raw": partial(raw_by_obstore, client),
            "fsspec_raw": partial(raw_by_fsspec, filesystem),
            "obstore_read": lambda name: read(open_object(f"s3://{BUCKET}/{name}", settings)),
            "fsspec_read": lambda name: read(FsspecFile(filesystem, f"{BUCKET}/{name}", name)),
            "local": lambda name: read(LocalFile(Path(folder) / name)),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(-2, sessions):  # the first two open connections
            for way, function in ways.items():
                started = time.perf_counter()
                counts = list(pool.map(function, recordings[number % 2]))
                if number >= 0:
                    taken[way].append(1000 * (time.perf_counter() - started))
                if set(counts) != {CHUNKS * CHUNK_BYTES}:
                    raise RuntimeError(f"{way} read {counts} bytes")
    medians = {f"{way}_ms": statistics.median(times) for way, times in taken.items()}
    return {
        **medians,
        "raw_ratio": medians["fsspec_raw_ms"] / medians["obstore_raw_ms"],
        "ratio": medians["fsspec_read_ms"] / medians["obstore_read_ms"],
        "sessions": sessions,
        "receivers": receivers,
        "endpoint": endpoint,
    }


@contextmanager
def server_at(endpoint: str | None, latency_ms: float = 0.0) -> Iterator[str]:
    """The server that is given; else moto's with the bucket, so far away, and credentials in the environment."""
    if endpoint is not None:
        yield endpoint
        return
    os.environ.update(ENVIRONMENT)
    with serving(latency_ms=latency_ms) as store:
        store.make_bucket(BUCKET)
        yield store.endpoint


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time of a session's recordings from S3, by two libraries.")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--receivers", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=10, help="duration of the longer recordings")
    parser.add_argument("--endpoint", help="of another server than moto's")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with server_at(arguments.endpoint) as endpoint:
        document = benchmark(endpoint, arguments.sessions, arguments.receivers, arguments.seconds)
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    sys.stdout.write(f"a session of {document['receivers']} receivers, in ms\n{'':12} {'obstore':>8}  {'fsspec':>8}\n")
    for title, way, ratio in (("bare calls", "raw", "raw_ratio"), ("as is read", "read", "ratio")):
        times = "  ".join(f"{document[f'{library}_{way}_ms']:8.1f}" for library in ("obstore", "fsspec"))
        sys.stdout.write(f"{title:12} {times}  {document[ratio]:.1f} x\n")
    sys.stdout.write(f"{'from files':12} {document['local_ms']:8.1f}\n")


if __name__ == "__main__":
    main()
