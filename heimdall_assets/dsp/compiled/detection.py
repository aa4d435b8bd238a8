"""Detection, compiled: see ``detection`` for what it is and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from heimdall_assets.dsp.compiled.types import (
    COLUMN,
    DOUBLE,
    INT,
    MASK,
    MASKS,
    OPTIONS,
    READ_COLUMN,
    READ_COLUMNS,
    READ_INDICES,
    READ_MASK,
)
from heimdall_assets.dsp.detection import GROWTH, GUARDED_WIDTHS, Detection, thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Column


def detect(
    bands: NDArray[np.float64],
    peak_power: Column,
    peak_band: NDArray[np.intp],
    noise: Column,
    grid: Grid,
    false_alarm_probability: float,
    tolerance: float = 0.0,
) -> Detection:
    """Do what :func:`heimdall_assets.dsp.detection.detect` does."""
    rows, count = bands.shape
    limits = thresholds(count, grid.bins_per_band, false_alarm_probability, tolerance)
    margin = peak_power / noise / limits.line
    support = np.zeros(bands.shape, np.bool_)
    single = np.empty(rows, np.bool_)
    line = margin > 1
    windows = np.array(limits.windows)
    _detect(np.ascontiguousarray(bands), peak_band, noise, windows, limits.raised, margin, support, single)
    return Detection(margin, line, support, single)


@njit([(READ_MASK, MASK)], **OPTIONS)
def _widen(support: NDArray[np.bool_], out: NDArray[np.bool_]) -> None:
    count = len(support)
    out[0], out[count - 1] = support[0] or support[1], support[count - 1] or support[count - 2]
    for band in range(1, count - 1):
        out[band] = support[band - 1] | support[band] | support[band + 1]


@njit([(READ_MASK, MASK, MASK)], **OPTIONS)
def _guard(support: NDArray[np.bool_], widened: NDArray[np.bool_], out: NDArray[np.bool_]) -> None:
    """Add the guards to every run; ``widened`` is scratch."""
    count = len(support)
    _widen(support, widened)
    band, stop = 0, 0  # so far nothing from stop on is marked
    while band < count:
        out[band] = band < stop
        if widened[band] and not (band > 0 and widened[band - 1]):
            end = band
            while end < count and widened[end]:
                end += 1
            guard = (end - band) // GUARDED_WIDTHS
            for before in range(max(band - guard, 0), band + 1):
                out[before] = True
            stop = max(stop, min(end + guard, count))
        band += 1


@njit([(READ_COLUMN, READ_COLUMN, INT, DOUBLE, MASK)], **OPTIONS)
def _cover(sums: Column, ratio: Column, width: int, threshold: float, support: NDArray[np.bool_]) -> None:
    """Mark what windows above the threshold cover: their inner half whole, their rest where it exceeds the noise."""
    count = len(ratio)
    trim = width // 4
    outer, inner = 0, 0  # one past the last band that windows so far cover
    for first in range(count - width + 1):
        if sums[first + width] - sums[first] > threshold * width:
            for band in range(max(first, outer), first + width):
                support[band] |= ratio[band] > 1
            for band in range(max(first + trim, inner), first + width - trim):
                support[band] = True
            outer, inner = first + width, max(inner, first + width - trim)


@njit([(READ_COLUMN, READ_MASK, COLUMN)], **OPTIONS)
def _accumulate(ratio: Column, explained: NDArray[np.bool_], sums: Column) -> None:
    """Fill in cumulative sums in which what is explained counts as noise."""
    sums[0] = 0.0
    for band in range(len(ratio)):
        sums[band + 1] = sums[band] + (1.0 if explained[band] else ratio[band])


@njit([DOUBLE(READ_COLUMN, INT)], **OPTIONS)
def _largest_sum(sums: Column, width: int) -> float:
    """Return the largest sum over a window, from cumulative sums."""
    largest = -np.inf
    for first in range(len(sums) - width):
        largest = max(largest, sums[first + width] - sums[first])
    return largest


@njit([(MASK, READ_COLUMN, DOUBLE, MASK)], **OPTIONS)
def _grow(support: NDArray[np.bool_], ratio: Column, raised: float, scratch: NDArray[np.bool_]) -> None:
    """Add raised bands beside what was found, then the guards; ``scratch`` is overwritten."""
    count = len(support)
    for _ in range(GROWTH):
        _widen(support, scratch)
        for band in range(count):
            support[band] |= scratch[band] and ratio[band] > raised
    guards = np.empty(count, np.bool_)
    _guard(support, scratch, guards)
    for band in range(count):
        support[band] = guards[band]


@njit(
    [(READ_COLUMNS, READ_INDICES, READ_COLUMN, READ_COLUMNS, DOUBLE, COLUMN, MASKS, MASK)],
    **OPTIONS,
)
def _detect(
    bands: NDArray[np.float64],
    peak_band: NDArray[np.intp],
    noise: Column,
    windows: NDArray[np.float64],
    raised: float,
    margin: Column,
    support: NDArray[np.bool_],
    single: NDArray[np.bool_],
) -> None:
    """Decide; ``margin`` holds that of the strongest bin at first."""
    rows, count = bands.shape
    ratio, sums = np.empty(count), np.empty(count + 1)
    explained, scratch = np.empty(count, np.bool_), np.empty(count, np.bool_)
    for row in range(rows):
        found = support[row]
        for band in range(count):
            ratio[band] = bands[row, band] / noise[row]
            explained[band] = False
        is_line = margin[row] > 1
        is_anything = is_line
        if is_line:
            found[peak_band[row]] = True
        is_new = is_line
        for index in range(len(windows)):
            width, threshold = int(windows[index, 0]), windows[index, 1]
            if is_new:
                _guard(found, scratch, explained)
            if is_new or index == 0:
                _accumulate(ratio, explained, sums)
            largest = _largest_sum(sums, width) / width
            margin[row] = max(margin[row], (largest - 1) / (threshold - 1))
            is_new = largest > threshold
            if is_new:
                is_anything = True
                _cover(sums, ratio, width, threshold, found)
        marked = 0
        for band in range(count):
            marked += 1 if found[band] else 0
        single[row] = is_line and marked == 1
        if is_anything:
            _grow(found, ratio, raised, scratch)
