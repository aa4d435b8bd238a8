"""Power of the white noise under whatever signals there are.

Forward consecutive mean excision (FCME): sort the powers; take the smallest tenth for noise; accept the next
larger as long as it stays below a threshold times the mean of those accepted so far. The threshold is the value
that noise of that mean exceeds with a small probability. It needs no prior knowledge but the distribution of the
noise, and works while at least the initial share of the cells is free of signal.

References
----------
J. J. Lehtomaki, J. Vartiainen, M. Juntti, H. Saarnisaari, "CFAR Outlier Detection With Forward Methods",
IEEE Transactions on Signal Processing 55(9), 2007.
J. Vartiainen, J. J. Lehtomaki, H. Saarnisaari, "Double-Threshold Based Narrowband Signal Extraction",
IEEE 61st Vehicular Technology Conference, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammainccinv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Column

EXCISION_PROBABILITY = 1e-3
"""Share of pure noise that excision rejects: it costs the floor 0.01 dB."""

WIDTHS = (1, 4, 16)
"""Bands that are averaged before excision; the wide ones see weak wide signals, the narrow ones fine gaps."""

MIN_CELLS = 24
"""Fewest averages for which a width is used."""

SPECTRAL_START = 0.1
SLOT_START = 0.15
"""Shares of cells, in frequency and in time, that are taken for noise at the start."""

QUIETER = 0.95
"""Quiet slots of time below this multiple of the spectral floor show that a signal covers the whole band at times."""

RESOLUTION = 1e-12
"""Noise below this share of the total power is rounding of single precision, not the receiver's."""


HANN_VARIANCE = 35 / 18
HANN_THIRD_CUMULANT = 2 * 77 / 18
"""Cumulants of a mean of n Hann-windowed bins of white noise of unit power, times n and n^2.

The powers of neighbouring bins correlate, since the window's spectrum is (-1/2, 1, -1/2). For long means the
cumulants follow from the window alone: the mean over theta of ((1 - cos theta)^2 / 1.5)^m is 35/18 for m = 2 and
77/18 for m = 3, and the m-th cumulant of an exponential variable is (m - 1)!.
"""


@lru_cache(maxsize=512)
def mean_threshold(num_samples: int, probability: float) -> float:
    """Return what the mean of independent exponential powers of mean 1 exceeds with this probability."""
    return float(gammainccinv(num_samples, probability) / num_samples)


@lru_cache(maxsize=512)
def hann_mean_threshold(num_bins: int, probability: float) -> float:
    """Return what the mean of neighbouring Hann-windowed bins of unit white noise exceeds with this probability.

    A Gamma distribution shifted so that mean, variance and third cumulant are right (Pearson's type III). For 8 to
    512 bins and probabilities down to 1e-9 the tail is right within 40 %; a Gamma distribution that fits mean
    and variance only is wrong by a factor of 5 there.
    """
    deviation = np.sqrt(HANN_VARIANCE / num_bins)
    shape = 4 * HANN_VARIANCE**3 / HANN_THIRD_CUMULANT**2 * num_bins
    return float(1 + deviation * (gammainccinv(shape, probability) - shape) / np.sqrt(shape))


def consecutive_mean_excision(powers: NDArray[np.float64], threshold: float, start: float) -> Column:
    """Return the mean of each row's cells that hold noise alone.

    Parameters
    ----------
    powers : ndarray, shape (rows, cells)
        Powers, equally distributed in noise.
    threshold : float
        What such a power exceeds with a small probability, over the mean.
    start : float
        Share of cells, in (0, 1], that is taken for noise at the start.

    Returns
    -------
    ndarray, shape (rows,)
        Mean noise power; too high where less than ``start`` of the cells is free of signal.
    """
    cells = powers.shape[1]
    ascending = np.sort(powers, axis=1)
    numbers = np.arange(1, cells + 1)
    means = np.cumsum(ascending, axis=1) / numbers
    initial = max(4, int(start * cells))
    stops = ascending[:, initial:] > threshold * means[:, initial - 1 : -1]
    accepted = np.where(stops.any(axis=1), initial + stops.argmax(axis=1), cells)
    noise: Column = np.take_along_axis(means, accepted[:, np.newaxis] - 1, axis=1)[:, 0]
    return noise


def averaged(bands: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return means of ``width`` neighbouring bands; a remainder is left out."""
    rows, count = bands.shape
    cells = count // width
    means: NDArray[np.float64] = bands[:, : cells * width].reshape(rows, cells, width).mean(axis=2)
    return means


@dataclass(frozen=True, slots=True)
class Floor:
    """White noise under the signals of each chunk.

    The skirt of a strong signal, such as the sidelobes of OFDM, can cover the whole band. The floor found is then the
    skirt's lowest part, an upper bound of the noise; ``spread_db`` and ``dispersion`` tell it from noise.

    Attributes
    ----------
    per_bin : ndarray, shape (chunks,)
        Noise power a bin.
    spread_db : ndarray, shape (chunks,)
        Mean of the bands that may pass for noise of that power, over it. They do up to about twice the power, so that
        white noise gives 0, and a skirt that rises beyond up to 3 dB.
    dispersion : ndarray, shape (chunks,)
        Variance of those bands over that of white noise; about 1 if they are that.
    """

    per_bin: Column
    spread_db: Column
    dispersion: Column


def noise_floor(bands: NDArray[np.float64], grid: Grid, slot_power: NDArray[np.float64] | None) -> Floor:
    """Estimate the noise power in one bin, for each chunk.

    The smallest of the estimates from single bands, from groups of 4 and of 16 bands, and from 64 slots of time:
    a signal that fills the band in bursts leaves quiet slots, a lasting one leaves quiet bands. Where neither a tenth
    of the band nor a seventh of the time is free, the estimate is too high.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Mean power a bin in each band that is to be used.
    grid : Grid
        Bins and bands.
    slot_power : ndarray, shape (chunks, slots), or None
        Mean of |x|^2 in each slot; None where that holds power from outside of the bands used. Slots of exact zeros
        are gaps in the recording, not quiet.

    Returns
    -------
    Floor
        Noise of each chunk.
    """
    estimates = [
        consecutive_mean_excision(
            averaged(bands, width), _excision_threshold(grid.bins_per_band * width), SPECTRAL_START
        )
        for width in WIDTHS
        if width == 1 or bands.shape[1] // width >= MIN_CELLS
    ]
    floor = np.min(estimates, axis=0)
    spread_db, dispersion = _unevenness(bands, floor, grid.bins_per_band)
    if slot_power is not None:
        recorded = np.where(slot_power > 0, slot_power, np.inf)
        threshold = mean_threshold(grid.chunk_length // slot_power.shape[1], EXCISION_PROBABILITY)
        quiet = consecutive_mean_excision(recorded, threshold, SLOT_START) / grid.num_bins
        is_quieter = quiet < QUIETER * floor
        spread_db = np.where(is_quieter, 0.0, spread_db)
        dispersion = np.where(is_quieter, 1.0, dispersion)
        floor = np.minimum(floor, quiet)
    return Floor(floor, spread_db, dispersion)


def _excision_threshold(num_bins: int) -> float:
    return hann_mean_threshold(num_bins, EXCISION_PROBABILITY)


def _unevenness(bands: NDArray[np.float64], floor: Column, num_bins: int) -> tuple[Column, Column]:
    """Return spread and dispersion of the bands that may hold noise of power ``floor`` alone."""
    scale = np.where(floor > 0, floor, 1.0)[:, np.newaxis]
    ratio = bands / scale
    free = ratio < _excision_threshold(num_bins)
    count = np.maximum(free.sum(axis=1), 1)
    mean = np.where(free, ratio, 0.0).sum(axis=1) / count
    mean = np.where(mean > 0, mean, 1.0)
    square = np.where(free, ratio * ratio, 0.0).sum(axis=1) / count
    return 10 * np.log10(mean), (square / mean**2 - 1) * num_bins / HANN_VARIANCE
