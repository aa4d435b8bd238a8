"""Signals over white noise in the accuracy report: what is measured of which, and the bar that it has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.notes import TRUSTED_FLOOR
from heimdall_assets_tests.benchmarks.intervals import Line, bias_line, rate_line, rmse_line
from heimdall_assets_tests.dsp.plain import PlainFigures, plain_figures
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, WAVEFORMS, qpsk_bandwidth_hz, with_snr
from heimdall_assets_tests.dsp.trials import Trials, trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

PLAIN_CHUNKS = 10
"""Chunks that the replaced estimators are shown: their errors are not subtle."""

LEAST_DETECTED = 0.95
SURE = 0.5
"""A confidence above this claims that the figures are right."""


@dataclass(frozen=True)
class Row:
    """A row of the project's table of bars; a bar is None where none was set."""

    waveform: str
    snrs_db: tuple[float, ...]
    bias_db: float | None = None
    rmse_db: float | None = None
    bandwidth: float | None = None
    true_bandwidth_hz: float | None = None
    detected: float | None = LEAST_DETECTED


QPSK_HZ = qpsk_bandwidth_hz(RATE_HZ)

ROWS = (
    Row("cw", (-10, 0, 10, 20, 30, 40), rmse_db=0.2),
    Row("two_tones", (10, 20, 30, 40), bias_db=0.1, bandwidth=0.005, true_bandwidth_hz=0.1 * RATE_HZ),
    Row("nbfm", (0,), bias_db=0.1, bandwidth=0.05),
    Row("nbfm", (10, 20, 30, 40), bias_db=0.1, bandwidth=0.02),
    Row("qpsk", (-10,), bias_db=0.3),
    Row("qpsk", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.02, true_bandwidth_hz=QPSK_HZ),
    Row("burst", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.02),
    Row("noise_like", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.005, true_bandwidth_hz=0.99 * 0.8 * RATE_HZ),
    Row("ofdm", (-5, 0, 5, 10), bias_db=0.3),
    Row("wlan_ofdm", (-5,), detected=None),  # see docs/accuracy.md: its flanks pass for a front end's
    Row("wlan_ofdm", (0, 5, 10)),  # and its sidelobes reach the noise from 5 dB on
)

SHORT_LENGTH = 2400
SHORT_CHUNKS = 4
"""So many times as many short chunks are measured: chance moves each of them more."""

SHORT_ROWS = (
    Row("cw", (-10, 0)),  # without bars here and below: too few samples for any estimate, see docs/accuracy.md
    Row("cw", (10, 20, 30, 40), rmse_db=0.2),
    Row("two_tones", (10, 20, 30, 40), bias_db=0.1),  # a bin is 0.4 % of the spacing
    Row("nbfm", (0,), bias_db=0.1, bandwidth=0.05),
    Row("nbfm", (10, 20, 30, 40), bias_db=0.1, bandwidth=0.02),
    Row("qpsk", (-10,), detected=None),
    Row("qpsk", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.02, true_bandwidth_hz=QPSK_HZ),
    Row("burst", (0,), bias_db=0.1),
    Row("burst", (10, 20, 30, 40), bias_db=0.1, bandwidth=0.02),
    Row("noise_like", (0,), detected=None),
    Row("noise_like", (10, 20, 30, 40), bandwidth=0.005, true_bandwidth_hz=0.99 * 0.8 * RATE_HZ),
    Row("ofdm", (-5, 0), detected=None),
    Row("ofdm", (5, 10), bias_db=0.3),
)
"""The same signals in chunks of 2400 samples, with the bars that can hold there."""

WEAK_DB = {
    "cw": (-34.0, -31.0, -28.0),
    "two_tones": (-28.0, -25.0),
    "nbfm": (-20.0, -15.0),
    "qpsk": (-20.0, -15.0),
    "burst": (-20.0, -15.0),
    "noise_like": (-15.0, -10.0),
    "ofdm": (-20.0, -15.0),
}
"""Where detection begins."""


def signal_lines(row: Row, snr_db: float, seed: int, count: int, length: int = LENGTH) -> Iterator[Line]:
    """One signal at one SNR."""
    name, exact_hz = row.waveform, row.true_bandwidth_hz
    title = name if length == LENGTH else f"{name}, {length} samples"
    truth: Callable[[NDArray[np.complex128]], float] | None = None if exact_hz is None else lambda _: exact_hz
    result = trials(name, snr_db, count, seed=seed, length=length, true_bandwidth_hz=truth)
    plain = _plain(name, snr_db, seed, length)
    errors_db = np.array([figures.snr_db - snr_db for figures in plain])
    yield bias_line(title, "SNR bias dB", snr_db, result.snr_error_db, row.bias_db, float(errors_db.mean()))
    plain_rmse_db = float(np.sqrt(np.mean(errors_db**2)))
    yield rmse_line(title, "SNR rmse dB", snr_db, result.snr_error_db, row.rmse_db, plain_rmse_db)
    if row.bandwidth is not None:
        true_hz = _bandwidth_hz(result)
        plain_ratio = float(np.mean([figures.bandwidth_hz for figures in plain])) / true_hz - 1
        yield bias_line(title, "bandwidth bias", snr_db, result.bandwidth_ratio - 1, row.bandwidth, plain_ratio)
    yield _detection_line(title, snr_db, result, row.detected, plain)


def weak_lines(seed: int, count: int) -> Iterator[Line]:
    """Where detection begins, and the bar of the weakest carrier."""
    for name, snrs_db in WEAK_DB.items():
        for snr_db in snrs_db:
            bar = LEAST_DETECTED if (name, snr_db) == ("cw", -28.0) else None
            result = trials(name, snr_db, 3 * count if bar else count, seed=seed)
            yield _detection_line(name, snr_db, result, bar, _plain(name, snr_db, seed))


def _detection_line(name: str, snr_db: float, result: Trials, bar: float | None, plain: list[PlainFigures]) -> Line:
    present = float(np.mean([figures.is_present for figures in plain]))
    return rate_line(name, "detected", snr_db, result.rows.is_present, bar, at_least=True, plain=present)


def _plain(waveform: str, snr_db: float, seed: int, length: int = LENGTH) -> list[PlainFigures]:
    rng = np.random.default_rng([seed, 99])
    signals = (WAVEFORMS[waveform](rng, length, RATE_HZ) for _ in range(PLAIN_CHUNKS))
    return [plain_figures(with_snr(signal, snr_db, rng), RATE_HZ) for signal in signals]


def _bandwidth_hz(result: Trials) -> float:
    return float(np.nanmean(result.rows.bandwidth_hz / result.bandwidth_ratio))


def buried_lines(seed: int, count: int) -> Iterator[Line]:
    """OFDM whose sidelobes bury the noise: the floor has to be called an upper bound, not an SNR claimed."""
    for snr_db in (20.0, 30.0, 40.0):
        is_buried = snr_db >= 30  # at 20 dB the SNR is 1 dB off, and right as often as not
        result = trials("ofdm", snr_db, count, seed=seed)
        wrong = (np.abs(result.snr_error_db) > 1) & (result.rows.confidence > SURE)
        bar = 1 - LEAST_DETECTED if is_buried else None
        yield rate_line("ofdm", "sure but 1 dB off", snr_db, wrong, bar, at_least=False, plain=1.0)
        bar = LEAST_DETECTED if is_buried else None
        is_bound = result.rows.floor_trust < TRUSTED_FLOOR
        yield rate_line("ofdm", "floor said to be bound", snr_db, is_bound, bar, at_least=True)
