"""Signals behind front ends that are not flat, in the accuracy report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets_tests.benchmarks.accuracy_noise import title
from heimdall_assets_tests.benchmarks.accuracy_rows import LEAST_DETECTED, SHORT_LENGTH
from heimdall_assets_tests.benchmarks.intervals import Line, bias_line, rate_line
from heimdall_assets_tests.dsp.front_end_trials import RECORDING_CHUNKS, Front, snr_trials

if TYPE_CHECKING:
    from collections.abc import Iterator

BIAS_DB = 0.3

SIGNALS = ("cw", "two_tones", "nbfm", "qpsk", "burst", "hopping", "noise_like_30", "noise_like_50", "noise_like")
SNRS_DB = (0.0, 10.0, 20.0, 30.0)
FRONTS: tuple[Front, ...] = (
    None,
    *(
        (name, depth_db)
        for name in ("quadratic", "cic", "half_band", "roll_off", "tilt", "one_sided")
        for depth_db in (3.0, 9.0)
    ),
    ("quadratic", 1.0),
    ("kink", 6.0),
)


STEEP = (("half_band", 9.0), ("roll_off", 9.0))
"""Front ends that fall where wide signals end."""


def _is_limit(signal: str, front: Front, length: int) -> bool:
    """Return whether docs/accuracy.md lists this among what cannot be told apart."""
    if signal == "hopping":  # five bursts at five frequencies add up to a smooth spectrum
        return True
    return signal.startswith("noise_like") and (front in STEEP or length == SHORT_LENGTH)


def signal_lines(signal: str, snr_db: float, seed: int, length: int, count: int) -> Iterator[Line]:
    """One signal at one SNR behind all front ends; ``count`` chunks behind each."""
    recordings = -(-count // RECORDING_CHUNKS)
    results = snr_trials(signal, snr_db, FRONTS, recordings, length, seed)
    for front, result in results.items():
        bar = None if _is_limit(signal, front, length) else BIAS_DB
        yield bias_line(f"{signal} {title(front)}, {length}", "SNR bias dB", snr_db, result.error_db, bar)
    present = np.concatenate([result.is_present for result in results.values()])
    bar = None if _is_limit(signal, None, length) else LEAST_DETECTED
    yield rate_line(f"{signal} behind these, {length}", "detected", snr_db, present, bar, at_least=True)
