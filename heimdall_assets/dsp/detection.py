"""The decision whether there is a signal, and the bands that it occupies.

A chunk of noise alone is called a signal with a set probability, whatever the noise level is: constant false
alarm rate (CFAR; S. M. Kay, Fundamentals of Statistical Signal Processing, volume II: Detection Theory, 1998).
In white noise of power n0 a bin, a bin's power is exponential with mean n0, and the mean of neighbouring bins has a
known distribution too (:class:`~heimdall_assets.dsp.excision.MeanPower`). A line shows best in its bin, a
modulated signal in a window of its width; so single bins and windows of 1, 4, 16, 64 ... bands are tested, and the
probability is shared among all these tests (Bonferroni).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heimdall_assets.dsp.excision import MeanPower

if TYPE_CHECKING:
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Column

Mask = NDArray[np.bool_]

WINDOWS = (1, 4, 16, 64, 256, 1024)
"""Widths in bands of the windows that are tested."""

MIN_POSITIONS = 4
"""A window is used only if this many fit side by side."""

GUARDED_WIDTHS = 8
"""A run of bands gets one more band to either side for every so many of its own."""


RAISED_DEVIATIONS = 1.5
"""Bands beside what was found belong to it if they exceed the noise by this many standard deviations."""

GROWTH = 3
"""So many such bands are added to either side of a run."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What noise exceeds with the share of the false-alarm probability that each test has, over the noise power.

    Attributes
    ----------
    line : float
        For a single bin.
    windows : tuple of (int, float)
        Width in bands, and threshold of the mean over a window of that width.
    raised : float
        Of a band that belongs to a signal found beside it.
    """

    line: float
    windows: tuple[tuple[int, float], ...]
    raised: float


@lru_cache(maxsize=64)
def thresholds(
    num_bands: int, bins_per_band: int, false_alarm_probability: float, tolerance: float = 0.0
) -> Thresholds:
    """Share the probability of a false alarm among all tests of a chunk.

    Bands whose noise is known to a share of ``tolerance`` only have thresholds that much higher.
    """
    widths = [width for width in WINDOWS if num_bands // width >= MIN_POSITIONS]
    share = false_alarm_probability / (len(widths) + 1)
    num_bins = num_bands * bins_per_band
    floor_deviation = MeanPower.of_hann_bins(num_bins).deviation  # the floor is an estimate itself
    return Thresholds(
        line=float(-np.log(share / num_bins)) * (1 + floor_deviation),
        windows=tuple(
            (
                width,
                MeanPower.of_hann_bins(bins_per_band * width).threshold(share / num_bands)
                * (1 + 2 * floor_deviation + tolerance),
            )
            for width in widths
        ),
        raised=1 + RAISED_DEVIATIONS * MeanPower.of_hann_bins(bins_per_band).deviation,
    )


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found in each chunk.

    Attributes
    ----------
    margin : ndarray, shape (chunks,)
        Largest of all test statistics over their thresholds; a signal is present above 1.
    line : ndarray of bool, shape (chunks,)
        True where the strongest bin alone is enough.
    support : ndarray of bool, shape (chunks, bands)
        Bands that hold signal, guard bands to either side included.
    single : ndarray of bool, shape (chunks,)
        True where nothing but one line was found.
    """

    margin: Column
    line: NDArray[np.bool_]
    support: Mask
    single: NDArray[np.bool_]

    @property
    def present(self) -> NDArray[np.bool_]:
        """True where there is a signal, shape (chunks,)."""
        return self.margin > 1

    def among(self, bands: slice, count: int) -> Detection:
        """Return the same with a support over all ``count`` bands, of which those tested were ``bands``."""
        if bands == slice(0, count):
            return self
        support = np.zeros((len(self.support), count), bool)
        support[:, bands] = self.support
        return Detection(self.margin, self.line, support, self.single)


def detect(
    bands: NDArray[np.float64],
    peak_power: Column,
    peak_band: NDArray[np.intp],
    noise: Column,
    grid: Grid,
    false_alarm_probability: float,
    tolerance: float = 0.0,
) -> Detection:
    """Test every chunk for a signal.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Mean power a bin in each band.
    peak_power, peak_band : ndarray, shape (chunks,)
        Power of the strongest bin, and the index of its band.
    noise : ndarray, shape (chunks,)
        Noise power a bin.
    grid : Grid
        Bins and bands.
    false_alarm_probability : float
        Of finding anything in a chunk of noise, in (0, 0.5).
    tolerance : float
        Standard deviation of the relative noise power of bands, where that was estimated.

    Returns
    -------
    Detection
        Decision and support.
    """
    count = bands.shape[1]
    ratio = bands / noise[:, np.newaxis]
    limits = thresholds(count, grid.bins_per_band, false_alarm_probability, tolerance)
    margin = peak_power / noise / limits.line
    line = margin > 1
    support = np.zeros(bands.shape, bool)
    support[line, peak_band[line]] = True
    for width, threshold in limits.windows:
        # what a narrower window explained counts as noise here, or a line would smear into every window over it
        left = np.where(guarded(support), 1.0, ratio) if support.any() else ratio
        means = _sliding_sums(left, width) / width
        margin = np.maximum(margin, (means.max(axis=1) - 1) / (threshold - 1))
        found = means > threshold
        if found.any():
            support |= _covered(found, width, count) & (ratio > 1) | _covered(found, width, count, width // 4)
    single = line & (support.sum(axis=1) == 1)
    raised = ratio > limits.raised
    for _ in range(GROWTH):
        support |= widened(support) & raised
    return Detection(margin, line, guarded(support), single)


def widened(support: Mask) -> Mask:
    """Add one band to either side of every run, shape (chunks, bands)."""
    wider = support.copy()
    wider[:, 1:] |= support[:, :-1]
    wider[:, :-1] |= support[:, 1:]
    return wider


def guarded(support: Mask) -> Mask:
    """Add to either side of every run one band and an eighth of its width.

    The flanks of a weak signal are too weak to be found, and hold some percent of its power.
    """
    rows, count = support.shape
    padded = np.zeros((rows, count + 2), bool)
    padded[:, 1:-1] = widened(support)
    row, bounds = np.nonzero(padded[:, 1:] != padded[:, :-1])  # where runs start and stop, in turns
    row, start, stop = row[::2], bounds[::2], bounds[1::2]
    guard = (stop - start) // GUARDED_WIDTHS
    edges = np.zeros((rows, count + 1), np.int32)
    np.add.at(edges, (row, np.maximum(start - guard, 0)), 1)
    np.add.at(edges, (row, np.minimum(stop + guard, count)), -1)
    result: Mask = np.cumsum(edges, axis=1)[:, :count] > 0
    return result


def _sliding_sums(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the sums over every window, shape (rows, columns - width + 1)."""
    if width == 1:
        return values
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    difference: NDArray[np.float64] = sums[:, width:] - sums[:, :-width]
    return difference


def _covered(found: Mask, width: int, count: int, trim: int = 0) -> Mask:
    """Return the bands that a window in ``found`` covers, less ``trim`` bands at either end of each window."""
    positions = found.shape[1]
    edges = np.zeros((len(found), count + 1), np.int32)
    edges[:, trim : trim + positions] += found
    edges[:, width - trim : width - trim + positions] -= found
    covered: Mask = np.cumsum(edges, axis=1)[:, :count] > 0
    return covered
