"""How long the features of a chunk take, as a ratio to a bare FFT of the same samples in the same run.

    python -m heimdall_assets_tests.benchmarks.kernel [--repetitions 15] [--json]

Seven receivers with five chunks of 40,000 complex64 samples each. ``ms_per_chunk`` is the whole of
``heimdall_assets.dsp.analyze``, called once a receiver: checks, all features, aggregates, notes.
``kernel_ms_per_chunk`` is what it spends on all 35 chunks at once, without the rest. ``fft_ms_per_chunk`` is
``scipy.fft.fft`` over the 35 chunks in one call. The three run in turns on one thread; times are that thread's
processor time, so that other work on the machine counts less, and medians; ratios are medians of the ratios of each
turn. ``lengths`` holds the same for chunks of 2400 and 400,000 samples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from heimdall_assets.dsp import analyze
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.kernel import measure
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
    """Return the seconds that each function took in each repetition, after one for warming up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repetition in range(repetitions + 1):
        for function, taken in zip(functions, seconds, strict=True):
            started = time.thread_time()
            function()
            if repetition:
                taken.append(time.thread_time() - started)
    return seconds


def benchmark(length: int, repetitions: int) -> dict[str, float]:
    """Measure chunks of one length."""
    samples = recordings(length)
    chunks = np.concatenate(samples).reshape(-1, length)
    grid = grid_for(length, RATE_HZ)
    duration_ms = 1000 * length / RATE_HZ
    whole, kernel, bare = in_turns(
        [
            lambda: [analyze(each, RATE_HZ, chunk_duration_ms=duration_ms, num_chunks=CHUNKS) for each in samples],
            lambda: measure(chunks, grid, 1e-3, None, may_estimate=True),
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
        "kernel_ms_per_chunk": per_chunk(kernel),
        "fft_ms_per_chunk": per_chunk(bare),
        "ratio_to_fft": ratio(whole),
        "kernel_ratio_to_fft": ratio(kernel),
    }


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
    if arguments.json:
        document: dict[str, Any] = {
            **results[LENGTHS[0]],
            "receivers": len(RECEIVERS),
            "chunks": CHUNKS,
            "length": LENGTHS[0],
            "lengths": {str(length): result for length, result in results.items()},
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for length, result in results.items():
        sys.stdout.write(
            f"{length:7d} samples: {result['ms_per_chunk']:.3f} ms a chunk, {result['ratio_to_fft']:.1f} x the FFT "
            f"({result['fft_ms_per_chunk']:.3f} ms); the kernel alone {result['kernel_ratio_to_fft']:.1f} x\n"
        )


if __name__ == "__main__":
    main()
