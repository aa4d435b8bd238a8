"""Power of the white noise under whatever signals there are, in each chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.excision import (
    EXCISION_PROBABILITY,
    HANN_VARIANCE,
    MeanPower,
    averaged,
    consecutive_mean_excision,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Column

WIDTHS = (1, 4, 16, 64)
"""Bands that are averaged before excision; the wide ones see weak wide signals, the narrow ones fine gaps."""

MIN_CELLS = 16
"""Fewest averages for which a width is used."""

SPECTRAL_START = 0.1
SLOT_START = 0.15
"""Shares of cells, in frequency and in time, that are taken for noise at the start."""

QUIETER_DEVIATIONS = 3.0
"""Slots of time have to be quieter than the spectral floor by this many standard deviations of the difference."""

CONFIRMING = 1.1
"""Slots as quiet as this multiple of the floor show that it is noise, however uneven it looks in the spectrum."""

RESOLUTION = 1e-12
"""Noise below this share of the total power is rounding of single precision, not the receiver's."""


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
    is_resolved : ndarray of bool, shape (chunks,)
        False where per_bin is but a limit that was set.
    """

    per_bin: Column
    spread_db: Column
    dispersion: Column
    is_resolved: NDArray[np.bool_]

    def above(self, resolution: Column) -> Floor:
        """Return the floor with that much noise a bin where less was found, shape (chunks,).

        What is found there is rounding; neither its power nor its evenness means anything.
        """
        resolved = self.per_bin > resolution
        return Floor(
            np.where(resolved, self.per_bin, resolution),
            np.where(resolved, self.spread_db, 0.0),
            np.where(resolved, self.dispersion, 1.0),
            resolved,
        )


def noise_floor(bands: NDArray[np.float64], grid: Grid, slot_power: NDArray[np.float64] | None) -> Floor:
    """Estimate the noise power in one bin, for each chunk.

    The smallest of the estimates from single bands, from groups of 4, 16 and 64 bands, and from 64 slots of time:
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
    count = bands.shape[1]
    estimates = [
        consecutive_mean_excision(
            averaged(bands, width), MeanPower.of_hann_bins(grid.bins_per_band * width), SPECTRAL_START
        )
        for width in widths_for(count)
    ]
    floor = np.min(estimates, axis=0)
    spread_db, dispersion = _unevenness(bands, floor, grid.bins_per_band)
    quiet = None
    if slot_power is not None:
        recorded = np.where(slot_power > 0, slot_power, np.inf)
        distribution = MeanPower.of_samples(grid.chunk_length // slot_power.shape[1])
        quiet = consecutive_mean_excision(recorded, distribution, SLOT_START) / grid.num_bins
    return decided(floor, spread_db, dispersion, quiet, grid)


def widths_for(num_bands: int) -> list[int]:
    """Return the widths that leave enough averages of so many bands."""
    return [width for width in WIDTHS if width == 1 or num_bands // width >= MIN_CELLS]


def decided(floor: Column, spread_db: Column, dispersion: Column, quiet: Column | None, grid: Grid) -> Floor:
    """Choose between the floor of the spectrum and that of quiet slots.

    Parameters
    ----------
    floor, spread_db, dispersion : ndarray, shape (chunks,)
        The spectrum's; see :class:`Floor`.
    quiet : ndarray, shape (chunks,), or None
        Noise power a bin from quiet slots of time.
    grid : Grid
        Bins and bands.
    """
    if quiet is not None:
        # under a Hann window the moments count differently: the two vary apart even in noise
        deviation = np.sqrt((HANN_VARIANCE - 1) / grid.num_bins)
        is_quieter = quiet < (1 - QUIETER_DEVIATIONS * deviation) * floor
        floor = np.where(is_quieter, quiet, floor)
        is_confirmed = quiet < CONFIRMING * floor
        spread_db = np.where(is_confirmed, 0.0, spread_db)
        dispersion = np.where(is_confirmed, 1.0, dispersion)
    return Floor(floor, spread_db, dispersion, floor > 0)


def _unevenness(bands: NDArray[np.float64], floor: Column, num_bins: int) -> tuple[Column, Column]:
    """Return spread and dispersion of the bands that may hold noise of power ``floor`` alone."""
    scale = np.where(floor > 0, floor, 1.0)[:, np.newaxis]
    ratio = bands / scale
    distribution = MeanPower.of_hann_bins(num_bins)
    free = ratio < distribution.threshold(EXCISION_PROBABILITY)
    count = np.maximum(free.sum(axis=1), 1)
    mean = np.where(free, ratio, 0.0).sum(axis=1) / count
    mean = np.where(mean > 0, mean, 1.0)
    square = np.where(free, ratio * ratio, 0.0).sum(axis=1) / count
    return 10 * np.log10(mean), (square / mean**2 - 1) / distribution.deviation**2
