"""The estimators of the job that was replaced, stated anew: what the benchmark of accuracy compares with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEAKEST_SHARE = 0.3


@dataclass(frozen=True)
class PlainFigures:
    """Figures of one chunk; powers in dB of |x|^2 = 1."""

    noise_db: float
    snr_db: float
    is_present: bool
    frequency_hz: float
    bandwidth_hz: float


def plain_figures(samples: NDArray[np.complex128], rate_hz: float) -> PlainFigures:
    """Measure a chunk, shape (n,).

    Noise is the median of the weakest 30 % of the bins, which in white noise of power 1 is -ln(1 - 0.15), 7.9 dB too
    low; its ratio to the total power is called the SNR, and a signal present where that is above 0 dB, always.
    """
    size = samples.size
    power = np.abs(np.fft.fft(samples)) ** 2 / size
    weakest = np.sort(power)[: int(WEAKEST_SHARE * size)]
    noise_db = 10 * np.log10(float(np.median(weakest)))
    snr_db = 10 * np.log10(float(np.mean(np.abs(samples) ** 2))) - noise_db
    frequency_hz = float(np.fft.fftfreq(size, 1 / rate_hz)[power.argmax()])
    bandwidth_hz = float(np.count_nonzero(power > power.max() / 2)) * rate_hz / size
    return PlainFigures(noise_db, snr_db, snr_db > 0, frequency_hz, bandwidth_hz)
