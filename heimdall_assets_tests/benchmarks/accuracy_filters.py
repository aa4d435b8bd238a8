"""Receivers' filters and lost samples in the accuracy report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets_tests.benchmarks.intervals import Line, bias_line, rate_line
from heimdall_assets_tests.dsp.receiver_trials import KIWI_RATE_HZ, filter_readings, gap_readings
from heimdall_assets_tests.dsp.receivers import WITHIN
from heimdall_assets_tests.dsp.signals import RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator

WRONG_SHARE = 0.02
"""Recordings with a wrong figure, at most."""
MAX_SNR_DB = 60.0
"""No receiver of 16 bits has such an SNR; rounding and skirts have more."""

SMOOTH = ("wide_fm",)
"""Signals without a bar, see docs/accuracy.md: they may be taken for the front end's response."""

SHARES = (0.03, 0.05, 0.08, 0.12, 0.2, 0.35, 0.5, 0.7, 0.85, 0.93, 0.97)
"""Widths of filters over the sampled band."""
RATES_HZ = (KIWI_RATE_HZ, RATE_HZ)

GAP_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
GAP_PIECES = (1, 3, 8, 20)
GAP_SNRS_DB = (0.0, 10.0, 20.0, 30.0)
GAP_BIAS_DB = 0.3
FEWEST_READINGS = 2
"""With fewer SNRs than this there is no bias: all others are null, as they may be."""


def filter_lines(share: float, rate_hz: float, seed: int, count: int) -> Iterator[Line]:
    """A filter of one width: noise alone, and signals inside of it; ``count`` recordings of either."""
    name = f"{share:.0%} filter, {rate_hz / 1000:g} kHz"
    noise = filter_readings((None,), share, rate_hz, count, seed)
    title = f"noise in {name}"
    yield rate_line(title, "present", None, noise.is_present, WRONG_SHARE, at_least=False)
    yield rate_line(title, "with an SNR", None, ~noise.is_null, WRONG_SHARE, at_least=False)
    for signal in WITHIN:
        readings = filter_readings((signal,), share, rate_hz, count, seed)
        title = f"{signal} in {name}"
        bar = None if signal in SMOOTH else WRONG_SHARE
        yield rate_line(title, "wrong figure", None, readings.is_wrong, bar, at_least=False)
        yield rate_line(title, "SNR null", None, readings.is_null, None, at_least=False)
        yield rate_line(title, "above 60 dB", None, readings.snr_db > MAX_SNR_DB, 0.0, at_least=False)


def gap_lines(share: float, pieces: int, length: int, seed: int, count: int) -> Iterator[Line]:
    """Chunks that lost this share of their samples; ``count`` recordings of noise, and of signals at each SNR."""
    name = f"{share:.0%} lost in {pieces}, {length}"
    noise = gap_readings(None, share, pieces, length, count, seed)
    yield rate_line(f"noise, {name}", "present", None, noise.is_present, WRONG_SHARE, at_least=False)
    yield rate_line(f"noise, {name}", "with an SNR", None, ~noise.is_null, WRONG_SHARE, at_least=False)
    for snr_db in GAP_SNRS_DB:
        readings = gap_readings(snr_db, share, pieces, length, count, seed)
        bar = None if np.isfinite(readings.error_db).sum() < FEWEST_READINGS else GAP_BIAS_DB
        yield bias_line(name, "SNR bias dB", snr_db, readings.error_db, bar)
        yield rate_line(name, "SNR null", snr_db, readings.is_null, None, at_least=False)
        unexplained = readings.is_null & ~readings.has_reason
        yield rate_line(name, "null without reason", snr_db, unexplained, 0.0, at_least=False)
