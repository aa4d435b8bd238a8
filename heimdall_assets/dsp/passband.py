"""The part of the sampled band that a receiver lets through.

Some receivers deliver more samples than their filter has bandwidth: a KiwiSDR sends 12 kHz of which 6 or 10 are
open. Outside lies nothing but rounding to the sample format, and a noise floor taken there is wrong by tens of
decibels. Known limits are used as they are. Unknown ones are estimated, with evidence that a plain wide signal
over white noise does not give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.excision import Excision, MeanPower, consecutive_mean_excision
from heimdall_assets.dsp.noise import RESOLUTION, SPECTRAL_START
from heimdall_assets.errors import BadParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid

MIN_BANDS = 16
"""Fewest bands in a passband: below, there is no noise floor to find."""

SMOOTHED_BANDS = 4
"""Bands that are averaged before they are compared."""

QUANTISED_OPEN_RATIO = 2.5
OPEN_RATIO = 10.0
"""Bands this much above the floor of the whole spectrum may lie in the passband: with a floor that is rounding to the
sample format, and without."""

QUANTISED_STEP_RATIO = 2.5
STEP_RATIO = 1000.0
"""All of the passband is at least this much above that floor, in the same two cases."""

MIN_OPEN_SHARE = 0.15
MAX_OPEN_SHARE = 0.97
"""A passband is at least and at most this share of the sampled band; a narrower hump is a signal."""

MAX_RAISED_REST = 0.03
"""No more than this share of the bands may be raised outside of the passband."""

SKIRT_SHARE = 0.02
"""Share of the sampled band in which the filter's edge has to rise."""

CONTRAST_RATIO = 30.0
"""Signals stand out this much inside of the passband: a lone wide signal is as flat as noise."""

IMPLAUSIBLE_STEP_RATIO = 1e7
"""No receiver has a wide signal that much over its noise."""

ROUNDING_RATIO = 4.0
"""A floor below this multiple of the power of rounding is rounding."""

SAMPLE_STEPS = (2.0**-15, 2.0**-23)
"""Steps of 16-bit and 24-bit samples, full scale being 1. In 8 bits rounding is the floor of many a receiver."""

STEP_PROBE = 4096
"""Samples that are examined for the step."""

FEW_ROWS = 8
"""Up to so many chunks, sorting them by exchanges takes less time than one column after the other."""


@dataclass(frozen=True, slots=True)
class Passband:
    """Frequencies that a receiver lets through, in Hz from its centre frequency.

    Attributes
    ----------
    low_hz, high_hz : float
        Limits.
    is_estimated : bool
        True if the samples told, False if the caller did.
    """

    low_hz: float
    high_hz: float
    is_estimated: bool

    def bands(self, grid: Grid) -> slice:
        """Bands that lie inside.

        Raises
        ------
        BadParameter
            There are fewer than 16.
        """
        edges = grid.band_edges_hz()
        inside = np.flatnonzero((edges[:-1] >= self.low_hz) & (edges[1:] <= self.high_hz))
        if inside.size < MIN_BANDS:
            raise BadParameter(
                f"passband_hz=({self.low_hz:g}, {self.high_hz:g}) holds {inside.size} bands of "
                f"{grid.bins_per_band * grid.bin_hz:.4g} Hz of the sampled +-{grid.sample_rate_hz / 2:g} Hz; "
                f"at least {MIN_BANDS} are needed"
            )
        return slice(int(inside[0]), int(inside[-1]) + 1)


def estimate_passband(
    bands: NDArray[np.float64],
    power: float,
    samples: NDArray[np.complex64],
    grid: Grid,
    excise: Excision = consecutive_mean_excision,
) -> Passband | None:
    """Tell whether a filter limits the spectrum, and to what.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Mean power a bin in each band.
    power : float
        Mean of |x|^2.
    samples : ndarray of complex64, shape (n,)
        Some of the samples, whose step tells the power of their rounding.
    grid : Grid
        Bins and bands.
    excise : callable
        Implementation of consecutive mean excision.

    Returns
    -------
    Passband or None
        None where the spectrum does not force the conclusion. It is forced by a contiguous stretch of a seventh of
        the band or more that rises above the rest within 2 % of the band, if

        - the rest is no stronger than rounding to 16 or 24 bits, or
        - the step is at least 30 dB and signals stand out over the stretch, which therefore is itself a floor, or
        - the step is larger than any receiver's dynamic range.

        A lone wide signal in 16-bit samples whose noise is weaker than their rounding meets the first rule, too, and
        is mistaken for the noise of a passband.
    """
    level = median_over_chunks(bands)  # one chunk with a lightning stroke or a jump of the gain tells nothing
    distribution = MeanPower.of_hann_bins(grid.bins_per_band)
    floor = float(excise(level[np.newaxis], distribution, SPECTRAL_START)[0])
    floor = max(floor, RESOLUTION * power / grid.num_bins)
    is_rounding = _is_rounding(floor * grid.num_bins, samples)
    smooth = np.convolve(level, np.full(SMOOTHED_BANDS, 1 / SMOOTHED_BANDS), mode="same")
    raised = smooth > (QUANTISED_OPEN_RATIO if is_rounding else OPEN_RATIO) * floor
    if np.count_nonzero(raised) < MIN_OPEN_SHARE * grid.num_bands:
        return None
    first, stop = _longest_run(raised)
    skirt = max(2, round(SKIRT_SHARE * grid.num_bands))
    is_plausible = MIN_OPEN_SHARE <= (stop - first) / grid.num_bands <= MAX_OPEN_SHARE
    rest = np.count_nonzero(raised) - (stop - first)
    if not is_plausible or rest > MAX_RAISED_REST * grid.num_bands or stop - first - 2 * skirt < MIN_BANDS:
        return None
    inside = smooth[first + skirt : stop - skirt]
    lowest = float(np.min(inside))
    if lowest < (QUANTISED_STEP_RATIO if is_rounding else STEP_RATIO) * floor:
        return None
    stands_out = float(np.max(inside)) > CONTRAST_RATIO * float(np.quantile(inside, 0.2))
    if not (is_rounding or stands_out or lowest > IMPLAUSIBLE_STEP_RATIO * floor):
        return None
    edges = grid.band_edges_hz()
    return Passband(float(edges[first + skirt]), float(edges[stop - skirt]), is_estimated=True)


def median_over_chunks(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each band, the mean of the middle two of an even number of chunks.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Left as it is.
    """
    ordered = _sorted_rows(list(bands)) if len(bands) <= FEW_ROWS else np.sort(bands, axis=0)
    upper = len(bands) // 2
    middle: NDArray[np.float64] = ordered[upper] if len(bands) % 2 else 0.5 * (ordered[upper - 1] + ordered[upper])
    return middle


def _sorted_rows(rows: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Sort each column of a few rows, by exchanges of whole rows (odd-even transposition, N. Habermann, 1972)."""
    for turn in range(len(rows)):
        for at in range(turn % 2, len(rows) - 1, 2):
            rows[at], rows[at + 1] = np.minimum(rows[at], rows[at + 1]), np.maximum(rows[at], rows[at + 1])
    return rows


def _longest_run(marked: NDArray[np.bool_]) -> tuple[int, int]:
    """Return start and stop of the longest run of True, (0, 0) if there is none."""
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
    if bounds.size == 0:
        return 0, 0
    longest = int(np.argmax(bounds[1::2] - bounds[::2]))
    return int(bounds[2 * longest]), int(bounds[2 * longest + 1])


def _is_rounding(floor: float, samples: NDArray[np.complex64]) -> bool:
    """Tell whether samples are multiples of a step whose rounding, of power step^2 / 6, accounts for the floor."""
    parts = None
    for step in SAMPLE_STEPS:
        if floor >= ROUNDING_RATIO * step**2 / 6:
            return False
        if parts is None:
            parts = np.ascontiguousarray(samples[:STEP_PROBE]).view(np.float32)
        steps = parts * np.float32(1 / step)  # a power of two: exact
        if np.array_equal(steps, np.rint(steps)):
            return True
    return False
