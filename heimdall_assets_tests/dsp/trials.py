"""Seeded trials: many chunks of one waveform at one SNR, measured, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.front_end import FrontEnd
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.kernel import measure
from heimdall_assets.dsp.rows import Rows
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, WAVEFORMS, occupied_bandwidth_hz, with_snr

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from heimdall_assets.dsp.passband import Passband

BATCH = 20


@dataclass(frozen=True)
class Trials:
    """What was measured of some chunks, arrays of shape (chunks,).

    Attributes
    ----------
    rows : Rows
        All quantities.
    snr_error_db : ndarray
        Estimated less true SNR; NaN where no signal was found.
    bandwidth_ratio : ndarray
        Estimated over true occupied bandwidth; NaN where no signal was found.
    """

    rows: Rows
    snr_error_db: NDArray[np.float64]
    bandwidth_ratio: NDArray[np.float64]

    @property
    def detected(self) -> float:
        """Share of the chunks in which a signal was found."""
        return float(self.rows.is_present.mean())

    @property
    def snr_bias_db(self) -> float:
        """Mean error of the SNR, where one was found."""
        return float(np.nanmean(self.snr_error_db))

    @property
    def snr_rmse_db(self) -> float:
        """Root mean square error of the SNR, where one was found."""
        return float(np.sqrt(np.nanmean(self.snr_error_db**2)))

    @property
    def bandwidth_bias(self) -> float:
        """Mean relative error of the occupied bandwidth, where one was found."""
        return float(np.nanmean(self.bandwidth_ratio)) - 1


def measured(
    chunks: NDArray[np.complex128] | NDArray[np.complex64],
    *,
    rate_hz: float = RATE_HZ,
    false_alarm_probability: float = 1e-3,
    passband: Passband | None = None,
) -> Rows:
    """Measure chunks, shape (chunks, length), each by itself."""
    grid = grid_for(chunks.shape[1], rate_hz)
    single = np.ascontiguousarray(chunks, np.complex64)
    parts = [
        measure(single[row : row + 1], grid, false_alarm_probability, FrontEnd(passband), may_estimate=True)[0]
        for row in range(len(single))
    ]
    return Rows.concatenate(parts)


def trials(
    name: str,
    snr_db: float,
    count: int,
    *,
    seed: int = 1,
    length: int = LENGTH,
    true_bandwidth_hz: Callable[[NDArray[np.complex128]], float] | None = None,
) -> Trials:
    """Measure ``count`` chunks of a waveform over noise at this SNR; the seed fixes every sample."""
    rng = np.random.default_rng([seed, sorted(WAVEFORMS).index(name), round(10 * snr_db) + 1000, length])
    parts, bandwidths_hz = [], []
    for start in range(0, count, BATCH):
        waveforms = [WAVEFORMS[name](rng, length, RATE_HZ) for _ in range(min(BATCH, count - start))]
        parts.append(measured(np.array([with_snr(waveform, snr_db, rng) for waveform in waveforms])))
        bandwidths_hz += [
            true_bandwidth_hz(waveform) if true_bandwidth_hz else occupied_bandwidth_hz(waveform, RATE_HZ)
            for waveform in waveforms
        ]
    rows = Rows.concatenate(parts)
    present = rows.is_present > 0
    snr_db_found = 10 * np.log10(np.where(present, rows.signal_power / rows.noise_power, 1.0))
    return Trials(
        rows,
        np.where(present, snr_db_found - snr_db, np.nan),
        np.where(present, rows.bandwidth_hz / np.array(bandwidths_hz), np.nan),
    )


def noise_chunks(count: int, length: int, seed: int, *, rate_hz: float = RATE_HZ, probability: float = 1e-3) -> Rows:
    """Measure chunks of unit white noise, many at once."""
    rng = np.random.default_rng([seed, length])
    grid = grid_for(length, rate_hz)
    batch = max(1, (1 << 18) // length)
    parts = []
    for start in range(0, count, batch):
        pairs = rng.standard_normal((min(batch, count - start), 2 * length), np.float32) * np.float32(np.sqrt(0.5))
        parts.append(measure(pairs.view(np.complex64), grid, probability, FrontEnd(), may_estimate=True)[0])
    return Rows.concatenate(parts)
