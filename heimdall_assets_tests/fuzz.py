"""Thousands of damaged recordings through the readers, in a process of bounded memory.

``python -m heimdall_assets_tests.fuzz [--mutations 10000] [--seed 1] [--json]`` exits with 1 unless every one was
read or refused by one of the project's errors, soon, and without the memory that a lying length asks for. Each
mutation has a generator of its own, seeded by the seed and its number: ``--first N --mutations 1`` repeats one.

The mutations run in a child process, so that a crash of the interpreter is counted and not suffered.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp import analyze
from heimdall_assets.errors import HeimdallError, RecordingError
from heimdall_assets.iq import open_iq
from heimdall_assets_tests.iq.mutations import bombs, case
from heimdall_assets_tests.iq.specimens import memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from heimdall_assets_tests.iq.mutations import Case

MUTATION_SECONDS = 20
"""Far above what the costliest takes, a bomb of 300 MB, also on a busy machine."""
SILENCE_SECONDS = 60
"""A child that says nothing for so long hangs where no alarm reaches it."""
EXTRA_MEMORY_BYTES = 256 * 1024**2
"""Address space beyond that of the process at rest; files are of some kB, bombs ask for 300 MB and more."""
MOST_DEATHS = 10
"""After so many dead children the rest is not tried: something is wrong with all of them."""
MOST_SAMPLES = 1_000_000
MOST_ANALYSED = 20_000
MAX_BYTES = 2**32
WORKER = (sys.executable, "-m", "heimdall_assets_tests.fuzz", "--worker")
BAD = ("crashes", "hangs", "over_memory", "inconsistent")


class Hang(BaseException):
    """A mutation took too long; no ``except Exception`` may take it for a store's failure."""


def place(damaged: Case, folder: Path) -> str:
    """Write a damaged recording to where it is to be opened; its path or URL."""
    specimen, kind = damaged.specimen, damaged.place
    if kind in {"memory", "zip-memory"}:
        for name, content in specimen.files.items():
            memory().pipe_file(f"/fuzz/{name}", content)
        outer = "memory://fuzz"
    else:
        for name, content in specimen.files.items():
            (folder / name).write_bytes(content)
        outer = str(folder)
    return f"zip://{specimen.opened}::{outer}/all.zip" if kind.startswith("zip") else f"{outer}/{specimen.opened}"


def outcome(url: str, with_features: bool) -> str:
    """What became of one recording: read, the reason of its refusal, or a word of ``BAD``."""
    try:
        with open_iq(url, max_bytes=MAX_BYTES) as recording:
            samples = recording.read(0, MOST_SAMPLES)
            whole = min(recording.num_samples, MOST_SAMPLES)
            half = whole // 2
            again = recording.read(half, 3)
            rate = recording.sample_rate_hz or 200_000.0
        if len(samples) != whole or whole < 1 or samples.dtype != np.complex64 or rate <= 0:
            return "inconsistent"
        if again.tobytes() != samples[half : half + 3].tobytes():
            return "inconsistent"
    except RecordingError as error:
        return "over_memory" if _lacked_memory(error) else error.reason
    if with_features:
        try:
            analyze(samples[:MOST_ANALYSED], rate, chunk_duration_ms=2000.0 * 1024 / rate, num_chunks=5)
        except HeimdallError:
            return "read"
    return "read"


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether an error stands for one of memory."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def judged(url: str, with_features: bool) -> tuple[str, float]:
    """The outcome of one recording, what must not happen included, and the seconds that it took."""
    began = time.perf_counter()
    previous = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, MUTATION_SECONDS)
    try:
        word = outcome(url, with_features)
    except Hang:
        word = "hangs"
    except MemoryError:
        word = "over_memory"
    except Exception:  # noqa: BLE001  # what is being looked for
        word = "crashes"
        traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return word, time.perf_counter() - began


def _work(seed: int, first: int, mutations: int) -> None:
    """The child: a line of JSON a mutation on standard output."""
    bombs()
    analyze(np.ones(4096, np.complex64) + np.arange(4096), 48_000.0)
    _warm_up()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + EXTRA_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(first, first + mutations):
            damaged = case(random.Random(f"{seed}:{number}"))  # repeatable, not secret
            url = place(damaged, folder)
            word, seconds = judged(url, with_features=number % 10 == 0)
            line = {"number": number, "case": damaged.name, "outcome": word, "seconds": round(seconds, 4)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            memory().store.clear()
            for name in damaged.specimen.files:
                (folder / name).unlink(missing_ok=True)


def _warm_up() -> None:
    """Let every library be imported, and every pool be made, before the memory is bounded."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(300):
            damaged = case(random.Random(f"warm:{number}"))  # repeatable, not secret
            with contextlib.suppress(Exception):  # it will be met, and counted, later
                outcome(place(damaged, Path(folder)), with_features=False)


def _alarm(number: int, frame: FrameType | None) -> None:
    raise Hang


def results(seed: int, first: int, mutations: int) -> Iterator[dict[str, object]]:
    """Lines of the children; one that died is counted against its mutation and followed by another child."""
    end, deaths = first + mutations, 0
    while first < end and deaths < MOST_DEATHS:
        command = [*WORKER, "--seed", str(seed), "--first", str(first), "--mutations", str(end - first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
            word = "crashes"
            assert child.stdout is not None
            while True:
                if not select.select([child.stdout], [], [], SILENCE_SECONDS)[0]:
                    child.kill()
                    word = "hangs"
                    break
                line = child.stdout.readline()
                if not line:
                    break
                result = json.loads(line)
                first = result["number"] + 1
                yield result
        if first < end:
            yield {"number": first, "case": "the process", "outcome": word, "seconds": 0.0}
            first += 1
            deaths += 1


def main() -> int:
    """Run the mutations, print the counts; 1 if one of ``BAD`` was met."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options.seed, options.first, options.mutations)
        return 0
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for result in results(options.seed, options.first, options.mutations):
        word = str(result["outcome"])
        outcomes[word] += 1
        slowest = max(slowest, float(str(result["seconds"])))
        if word in BAD:
            sys.stderr.write(f"mutation {result['number']} of seed {options.seed}, {result['case']}: {word}\n")
    report = {
        "mutations": sum(outcomes.values()),
        "seed": options.seed,
        **{word: outcomes.pop(word, 0) for word in BAD},
        "outcomes": dict(outcomes.most_common()),
        "slowest_seconds": slowest,
        "seconds": round(time.monotonic() - began, 1),
    }
    lines = [json.dumps(report)] if options.json else [f"{key:16} {value}" for key, value in report.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if any(report[word] for word in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
