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

RESOLUTION = 1e-12
"""Noise below this share of the total power is rounding of single precision, not the receiver's."""


@lru_cache(maxsize=512)
def gamma_threshold(shape: float, probability: float) -> float:
    """Return the value that a Gamma variable of mean 1 and this shape exceeds with this probability."""
    return float(gammainccinv(shape, probability) / shape)


def consecutive_mean_excision(powers: NDArray[np.float64], shape: float, start: float) -> Column:
    """Return the mean of each row's cells that hold noise alone.

    Parameters
    ----------
    powers : ndarray, shape (rows, cells)
        Powers, each distributed in noise like the mean of ``shape`` exponential variables.
    shape : float
        Shape of that Gamma distribution.
    start : float
        Share of cells, in (0, 1], that is taken for noise at the start.

    Returns
    -------
    ndarray, shape (rows,)
        Mean noise power. Too high where less than ``start`` of the cells is free of signal.
    """
    cells = powers.shape[1]
    ascending = np.sort(powers, axis=1)
    means = np.cumsum(ascending, axis=1) / np.arange(1, cells + 1)
    initial = max(4, int(start * cells))
    stops = ascending[:, initial:] > gamma_threshold(shape, EXCISION_PROBABILITY) * means[:, initial - 1 : -1]
    accepted = np.where(stops.any(axis=1), initial + stops.argmax(axis=1), cells)
    return np.take_along_axis(means, accepted[:, np.newaxis] - 1, axis=1)[:, 0]


def averaged(bands: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return means of ``width`` neighbouring bands; a remainder is left out."""
    rows, count = bands.shape
    cells = count // width
    means: NDArray[np.float64] = bands[:, : cells * width].reshape(rows, cells, width).mean(axis=2)
    return means


def noise_per_bin(bands: NDArray[np.float64], grid: Grid, slot_power: NDArray[np.float64] | None) -> Column:
    """Estimate the noise power in one bin, for each chunk.

    The smallest of the estimates from single bands, from groups of 4 and of 16 bands, and from 64 slots of time:
    a signal that fills the band in bursts leaves quiet slots, a lasting one leaves quiet bands.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Mean power a bin in each band that is to be used.
    grid : Grid
        Bins and bands.
    slot_power : ndarray, shape (chunks, slots), or None
        Mean of |x|^2 in each slot; None where that holds power from outside of the bands used.

    Returns
    -------
    ndarray, shape (chunks,)
        Noise power a bin. It is an upper bound where a signal, sidelobes included, leaves less than a tenth of the
        band and less than a seventh of the time free.
    """
    estimates = [
        consecutive_mean_excision(averaged(bands, width), grid.band_shape * width, SPECTRAL_START)
        for width in WIDTHS
        if width == 1 or bands.shape[1] // width >= MIN_CELLS
    ]
    if slot_power is not None:
        samples = grid.chunk_length // slot_power.shape[1]
        quiet = consecutive_mean_excision(slot_power, float(samples), SLOT_START) / grid.num_bins
        estimates.append(np.where(quiet > 0, quiet, np.inf))
    floor: Column = np.min(estimates, axis=0)
    return floor
