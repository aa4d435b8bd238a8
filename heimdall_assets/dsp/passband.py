"""The part of the sampled band that a receiver lets through.

Some receivers deliver more samples than their filter has bandwidth: a KiwiSDR sends 12 kHz, and its filter may be open
for 10 or for half of one. Outside lies the filter's skirt and the rounding to the sample format, and a noise floor
taken there is wrong by tens of decibels. Known limits are used as they are.

Unknown ones are looked for by thresholds, 5 dB apart, from the lowest level of the spectrum upwards. The longest run of
bands above a threshold narrows as the threshold rises through a skirt, and keeps its width while it rises along the
steep edge of a filter, or of a signal. Such a *plateau* is a filter's if

- what lies below is rounding to 16 or 24 bits: the receiver has no weaker noise; or
- its edges are higher than those of any signal; or
- its edges are high and what is inside has the envelope of noise, or signals that stand out of a floor.

A plateau with edges of that height and none of these marks, such as a wide signal that fills a narrow filter, cannot
be told from a strong signal under a quiet receiver: there is no noise floor to be named then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.noise import RESOLUTION
from heimdall_assets.errors import BadParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid

MIN_BANDS = 16
"""Fewest bands in a passband: below, there is no noise floor to find."""

SMOOTHED_BANDS = 4
"""Bands that are averaged before they are compared."""

LOWEST_SHARE = 1 / 64
"""This share of the bands, the weakest ones, is the lowest level of a spectrum."""

OPEN_RATIO = 10.0
ROUNDING_OPEN_RATIO = 3.5
"""The first threshold over the lowest level, and where that is rounding to the sample format."""

THRESHOLD_DB = 5.0
"""Distance of two thresholds."""

MIN_SHARE = 0.025
MAX_SHARE = 0.99
WIDE_SHARE = 0.15
"""Plateaus are at least and at most this share of the sampled band; wide from the third on."""

MAX_DRIFT_SHARE = 0.005
"""From threshold to threshold an edge moves by no more than this share of the band, or two bands."""

MAX_RAISED_REST = 0.03
"""No more than this share of the bands exceeds a threshold outside of the plateau."""

ROUNDING_STEP_DB = 10.0
WIDE_STEP_DB = 30.0
NOISE_STEP_DB = 50.0
FILTER_STEP_DB = 58.0
"""Least heights of a filter's edges: of a narrow one above rounding; of a wide one in which signals stand out; where
the envelope is that of noise; and where only a filter's are so high (a signal of 360 Hz and 40 dB in 12 kHz of noise
has 55 dB)."""

CONTRAST_RATIO = 30.0
FILTER_CONTRAST_RATIO = 10.0
"""Signals stand out this much inside of a plateau; the second where its edges are higher than a signal's."""

NOISE_ENVELOPE = np.sqrt(np.pi) / 2
ENVELOPE_DEVIATION = 0.4633
"""Mean of |x| of complex Gaussian noise of unit power, and its standard deviation."""

EDGE_BANDS = 8
EDGE_RATIO = 0.5
MAX_EDGE_PART = 0.99
"""Bands at the edges below this multiple of the level of so many bands beside them, or of the quiet ones, belong to the
skirt; of the next one at most this part is open."""

MAX_SLOPE_SHARE = 0.05
SLOPE_RATIO = 10**0.5
SLOPE_DB = 4.0
"""At either end of the band, up to this share of the bands may be a filter's slope: 5 dB below the median of the band,
and falling by another 4 dB at least."""

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
        True if it comes from the samples, False if the caller knows it.
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


@dataclass(frozen=True, slots=True)
class Plateau:
    """A run of bands that keeps its edges while thresholds rise.

    Attributes
    ----------
    first, stop : int
        Its bands at the highest of these thresholds.
    height_db : float
        Over which the thresholds rise.
    """

    first: int
    stop: int
    height_db: float


class Hidden(Enum):
    """What hides the noise floor of a receiver whose passband cannot be told."""

    NOTHING = 0
    NOISE = 1
    """A filter with too few bands inside; its envelope is that of noise."""
    SIGNAL = 2
    """A wide signal that fills a narrow filter, or a strong one under little noise."""


def estimate_passband(
    bands: NDArray[np.float64],
    power: float,
    envelope_mean: float,
    samples: NDArray[np.complex64],
    grid: Grid,
) -> tuple[Passband | None, Hidden]:
    """Tell whether a filter limits the spectrum, and to what.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Mean power per bin in each band.
    power : float
        Mean of |x|^2.
    envelope_mean : float
        Mean of |x| over the root mean square of x.
    samples : ndarray of complex64, shape (n,)
        Some of the samples, whose step gives the power of their rounding.
    grid : Grid
        Bins and bands.

    Returns
    -------
    Passband or None, and Hidden
        None where the spectrum does not force the conclusion; and whether a filter is as likely as a strong signal, so
        that no floor can be named.
    """
    level = median_over_chunks(bands)  # one chunk with a lightning stroke or a jump of the gain counts for nothing
    count = len(level)
    smooth = _smoothed(level)
    ascending = np.sort(smooth)
    lowest = max(float(ascending[: max(2, int(LOWEST_SHARE * count))].mean()), RESOLUTION * power / grid.num_bins)
    is_rounding = rounding_power(lowest * grid.num_bins, samples) > 0
    first_ratio, least_height_db = (ROUNDING_OPEN_RATIO, 0.0) if is_rounding else (OPEN_RATIO, WIDE_STEP_DB)
    plateaus: list[Plateau] = []
    least_level = first_ratio * 10 ** (max(least_height_db - THRESHOLD_DB, 0) / 10) * lowest
    if ascending[-max(1, int(MIN_SHARE * count))] > least_level:
        plateaus = _plateaus(smooth, first_ratio * lowest)
    independent = bands.size * grid.bins_per_band
    for plateau in sorted(
        plateaus, key=lambda each: each.height_db < FILTER_STEP_DB
    ):  # else from the outermost inwards
        share = (plateau.stop - plateau.first) / count
        inside = level[plateau.first : plateau.stop]
        contrast = float(inside.max() / max(np.quantile(inside, 0.2), lowest))
        tolerance = 4 * ENVELOPE_DEVIATION / np.sqrt(independent * share)
        is_noise = abs(envelope_mean - NOISE_ENVELOPE) < tolerance
        if _is_filter(plateau, share, contrast, is_noise=is_noise, is_rounding=is_rounding):
            passband = _open_part(level, plateau.first, plateau.stop, grid)
            return passband, Hidden.NOTHING if passband else Hidden.NOISE if is_noise else Hidden.SIGNAL
        if plateau.height_db >= FILTER_STEP_DB:
            return None, Hidden.SIGNAL
    return _between_slopes(level, smooth, float(ascending[count // 2]) / SLOPE_RATIO, grid), Hidden.NOTHING


def _smoothed(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over neighbouring bands, shape (bands,); beyond the ends the band's last level goes on."""
    before, after = SMOOTHED_BANDS // 2, SMOOTHED_BANDS - 1 - SMOOTHED_BANDS // 2
    padded = np.concatenate([np.full(before, level[0]), level, np.full(after, level[-1])])
    return np.convolve(padded, np.full(SMOOTHED_BANDS, 1 / SMOOTHED_BANDS), mode="valid")


def _is_filter(plateau: Plateau, share: float, contrast: float, *, is_noise: bool, is_rounding: bool) -> bool:
    is_wide = share >= WIDE_SHARE
    stands_out = contrast > CONTRAST_RATIO
    if plateau.height_db >= FILTER_STEP_DB and (is_noise or contrast > FILTER_CONTRAST_RATIO):
        return True
    if is_rounding and (is_wide or (plateau.height_db >= ROUNDING_STEP_DB and (is_noise or stands_out))):
        return True
    if plateau.height_db >= NOISE_STEP_DB and is_noise:
        return True
    return is_wide and stands_out and plateau.height_db >= WIDE_STEP_DB


def _open_part(level: NDArray[np.float64], first: int, stop: int, grid: Grid) -> Passband | None:
    """Return the passband among some bands, without what belongs to the skirt; None if too few bands are left.

    Where an edge lies within a band, the part of the band that is open is that of its power.
    """
    quiet = float(np.quantile(level[first:stop], 0.2))
    while stop - first > 1 and level[first] < EDGE_RATIO * _beside(level[first + 1 : stop], quiet):
        first += 1
    while stop - first > 1 and level[stop - 1] < EDGE_RATIO * _beside(level[first : stop - 1][::-1], quiet):
        stop -= 1
    if stop - first < MIN_BANDS:
        return None
    edges, width = grid.band_edges_hz(), grid.bins_per_band * grid.bin_hz
    below = level[first - 1] / _beside(level[first:stop], quiet) if first > 0 else 0.0
    above = level[stop] / _beside(level[first:stop][::-1], quiet) if stop < len(level) else 0.0
    return Passband(
        float(edges[first] - min(below, MAX_EDGE_PART) * width),
        float(edges[stop] + min(above, MAX_EDGE_PART) * width),
        is_estimated=True,
    )


def _beside(level: NDArray[np.float64], quiet: float) -> float:
    """Return the level of the first few bands, or that of the quiet ones where signals cover these."""
    return max(min(float(np.median(level[:EDGE_BANDS])), quiet), np.finfo(np.float64).tiny)


def _between_slopes(
    level: NDArray[np.float64], smooth: NDArray[np.float64], threshold: float, grid: Grid
) -> Passband | None:
    """Return the band without its ends below a threshold where these are a filter's slopes; None where they are not.

    A slope falls towards the end of the band, so that its outer half is far weaker than its inner one; what lies
    beside a wide signal is level.
    """
    count = len(smooth)
    if smooth[0] >= threshold and smooth[-1] >= threshold:
        return None
    closed = smooth < threshold
    first = int(np.argmin(closed))
    stop = count - int(np.argmin(closed[::-1]))
    slopes = [end for end in (smooth[:first], smooth[stop:][::-1]) if len(end)]
    if not slopes or max(len(end) for end in slopes) > MAX_SLOPE_SHARE * count:
        return None
    for end in slopes:
        outer, inner = end[: max(1, len(end) // 4)], end[-max(1, len(end) // 4) :]
        if outer.mean() * 10 ** (SLOPE_DB / 10) > inner.mean():
            return None
    return _open_part(level, first, stop, grid)


def _plateaus(smooth: NDArray[np.float64], threshold: float) -> list[Plateau]:
    """Return the plateaus of a spectrum, from the lowest, widest one upwards."""
    count = len(smooth)
    drift = max(2, round(MAX_DRIFT_SHARE * count))
    found: list[Plateau] = []
    highest = float(smooth.max())
    while threshold < highest:
        raised = smooth > threshold
        first, stop = _longest_run(raised)
        width = stop - first
        if width < MIN_SHARE * count:
            break
        is_alone = np.count_nonzero(raised) - width <= MAX_RAISED_REST * count
        if width <= MAX_SHARE * count and is_alone:
            last = found[-1] if found else None
            if last and abs(last.first - first) <= drift and abs(last.stop - stop) <= drift:
                found[-1] = Plateau(first, stop, last.height_db + THRESHOLD_DB)
            else:
                found.append(Plateau(first, stop, THRESHOLD_DB))
        threshold *= 10 ** (THRESHOLD_DB / 10)
    return found


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


def rounding_power(floor: float, samples: NDArray[np.complex64]) -> float:
    """Return the power of the rounding that accounts for a floor; 0 where none does.

    Rounding to steps of size q adds q^2 / 12 to I and to Q each.

    Parameters
    ----------
    floor : float
        Noise power in the sampled band.
    samples : ndarray of complex64, shape (n,)
        Samples; multiples of a step if they were rounded to it.
    """
    parts = None
    for step in SAMPLE_STEPS:
        power = step**2 / 6
        if floor >= ROUNDING_RATIO * power:
            return 0.0
        if parts is None:
            parts = np.ascontiguousarray(samples[:STEP_PROBE]).view(np.float32)
        steps = parts * np.float32(1 / step)  # a power of two: exact
        if np.array_equal(steps, np.rint(steps)):
            return power
    return 0.0
