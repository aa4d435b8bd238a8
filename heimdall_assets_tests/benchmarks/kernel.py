"""How long the features of a chunk take, as a ratio to a bare FFT of the same samples in the same run.

    python -m heimdall_assets_tests.benchmarks.kernel [--repetitions 15] [--json]

Seven receivers with five chunks of 40,000 complex64 samples each. ``ms_per_chunk`` is the whole of
``heimdall_assets.dsp.extract_features``, called once a receiver as the pipeline does: checks, all features, aggregates.
``fft_ms_per_chunk`` is ``scipy.fft.fft`` over the 35 chunks in one call. ``numpy_*`` is the same call with the
implementation in plain numpy, and ``replaced_*`` the estimators of the job that was replaced, which make fewer
figures. All run in turns on one thread; times are that thread's processor time, so that other work on the machine
counts less, and medians; ratios are medians of the ratios of each turn. ``lengths`` holds the same for chunks of 2400
and 400,000 samples.

``threads_speedup`` is what a second thread gains: the elapsed time of the 7 receivers, measured twice by one thread
and once by each of two, the least of each; at most 2. ``threads_speedup_of_fft`` is that of the bare FFT: what the
machine had to give, less where its cores are busy with other work.
``peak_memory_ratio`` is the most memory that a call takes beyond the samples that it is given, over their size.
``first_use_seconds`` is what a new process pays once for loading the compiled implementation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from heimdall_assets.dsp import extract_features
from heimdall_assets.dsp.passes import PLAIN, current, using
from heimdall_assets_tests.dsp.plain import plain_figures
from heimdall_assets_tests.dsp.signals import RATE_HZ, WAVEFORMS, noise, with_snr

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RECEIVERS = ("cw", "two_tones", "nbfm", "qpsk", "burst", "noise_like", "noise")
CHUNKS = 5
LENGTHS = (40_000, 2400, 400_000)
SNR_DB = 20.0
SEED = 1
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
SHORT_RUN_SECONDS = 0.05
"""A turn repeats what is shorter than this."""

LOAD = """
import time
import heimdall_assets.dsp.passes as passes
started = time.process_time()
passes.compiled()
print(time.process_time() - started)
"""


def recordings(length: int) -> list[NDArray[np.complex64]]:
    """Return one recording a receiver, of five chunks."""
    rng = np.random.default_rng([SEED, length])
    count = CHUNKS * length
    return [
        (noise(rng, count) if name == "noise" else with_snr(WAVEFORMS[name](rng, count, RATE_HZ), SNR_DB, rng)).astype(
            np.complex64
        )
        for name in RECEIVERS
    ]


def in_turns(functions: list[Callable[[], object]], repetitions: int) -> list[list[float]]:
    """Return the seconds that each function took in each repetition, after one for warming up.

    In a turn each function runs as often as it takes to fill some hundredths of a second.
    """
    calls = []
    for function in functions:
        started = time.thread_time()
        function()
        calls.append(max(1, int(SHORT_RUN_SECONDS / max(time.thread_time() - started, 1e-9))))
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repetitions):
        for function, count, taken in zip(functions, calls, seconds, strict=True):
            started = time.thread_time()
            for _ in range(count):
                function()
            taken.append((time.thread_time() - started) / count)
    return seconds


def measure_all(samples: list[NDArray[np.complex64]], duration_ms: float) -> None:
    """Measure every receiver, as the pipeline does."""
    for each in samples:
        extract_features(each, RATE_HZ, chunk_duration_ms=duration_ms, num_chunks=CHUNKS)


def measure_all_plainly(samples: list[NDArray[np.complex64]], duration_ms: float) -> None:
    """Measure every receiver with numpy alone."""
    with using(PLAIN):
        measure_all(samples, duration_ms)


def measure_all_as_before(chunks: NDArray[np.complex64]) -> None:
    """Measure every chunk with the estimators that were replaced, in double precision as they did."""
    for chunk in chunks:
        plain_figures(chunk.astype(np.complex128), RATE_HZ)


def benchmark(length: int, repetitions: int) -> dict[str, float]:
    """Measure chunks of one length."""
    samples = recordings(length)
    chunks = np.concatenate(samples).reshape(-1, length)
    duration_ms = 1000 * length / RATE_HZ
    whole, plain, replaced, bare = in_turns(
        [
            lambda: measure_all(samples, duration_ms),
            lambda: measure_all_plainly(samples, duration_ms),
            lambda: measure_all_as_before(chunks),
            lambda: fft.fft(chunks, axis=1),
        ],
        repetitions,
    )

    def per_chunk(seconds: list[float]) -> float:
        return 1000 * statistics.median(seconds) / len(chunks)

    def ratio(seconds: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(seconds, bare, strict=True))

    return {
        "ms_per_chunk": per_chunk(whole),
        "fft_ms_per_chunk": per_chunk(bare),
        "ratio_to_fft": ratio(whole),
        "numpy_ms_per_chunk": per_chunk(plain),
        "numpy_ratio_to_fft": ratio(plain),
        "replaced_ms_per_chunk": per_chunk(replaced),
        "replaced_ratio_to_fft": ratio(replaced),
        "peak_memory_ratio": peak_memory_ratio(samples[0], duration_ms),
    }


def peak_memory_ratio(samples: NDArray[np.complex64], duration_ms: float) -> float:
    """Return the most memory that a call allocates, over the size of the samples."""
    tracemalloc.start()
    try:
        extract_features(samples, RATE_HZ, chunk_duration_ms=duration_ms, num_chunks=CHUNKS)
        return tracemalloc.get_traced_memory()[1] / samples.nbytes
    finally:
        tracemalloc.stop()


def threads_speedup(function: Callable[[], object], repetitions: int) -> float:
    """Return how much sooner two threads are done with twice the function than one."""
    alone, together = [], []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(repetitions):
            started = time.perf_counter()
            for _ in range(2):
                function()
            alone.append(time.perf_counter() - started)
            started = time.perf_counter()
            for done in [pool.submit(function) for _ in range(2)]:
                done.result()
            together.append(time.perf_counter() - started)
    return min(alone) / min(together)


def first_use_seconds() -> float:
    """Return the processor time that a new process takes to load the compiled implementation."""
    return float(subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Run on one thread and print."""
    if any(os.environ.get(variable) != "1" for variable in THREAD_VARIABLES):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # read when numpy is loaded: start again
        os.execv(sys.executable, [sys.executable, "-m", "heimdall_assets_tests.benchmarks.kernel", *sys.argv[1:]])
    parser = argparse.ArgumentParser(description="Time of the features of a chunk, as a ratio to a bare FFT.")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    results = {length: benchmark(length, arguments.repetitions) for length in LENGTHS}
    samples = recordings(LENGTHS[0])
    chunks = np.concatenate(samples).reshape(-1, LENGTHS[0])
    duration_ms = 1000 * LENGTHS[0] / RATE_HZ
    document: dict[str, Any] = {
        **results[LENGTHS[0]],
        "implementation": current().name,
        "threads_speedup": threads_speedup(lambda: measure_all(samples, duration_ms), arguments.repetitions),
        "threads_speedup_of_fft": threads_speedup(lambda: fft.fft(chunks, axis=1), arguments.repetitions),
        "first_use_seconds": first_use_seconds(),
        "receivers": len(RECEIVERS),
        "chunks": CHUNKS,
        "length": LENGTHS[0],
        "lengths": {str(length): result for length, result in results.items()},
    }
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{'samples':>8} {'FFT':>9} {'features':>16} {'in numpy alone':>16} {'as before':>16} {'memory':>8}\n"
    )
    for length, result in results.items():
        columns = [
            f"{result[f'{name}ms_per_chunk']:6.3f} ms {result[f'{name}ratio_to_fft']:4.1f} x"
            for name in ("", "numpy_", "replaced_")
        ]
        sys.stdout.write(
            f"{length:8d} {result['fft_ms_per_chunk']:6.3f} ms {columns[0]:>16} {columns[1]:>16} {columns[2]:>16} "
            f"{result['peak_memory_ratio']:6.2f} x\n"
        )
    sys.stdout.write(
        f"a chunk, by {document['implementation']}; two threads are {document['threads_speedup']:.2f} x as fast as "
        f"one (the FFT: {document['threads_speedup_of_fft']:.2f} x); first use {document['first_use_seconds']:.2f} s\n"
    )


if __name__ == "__main__":
    main()
