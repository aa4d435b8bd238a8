"""The work on responses, compiled: see ``response`` for what it is and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from heimdall_assets.dsp.compiled.types import (
    DOUBLE,
    FINITE,
    INDICES,
    INT,
    OPTIONS,
    READ_COLUMN,
    READ_SINGLES,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.transform import Column


def partition(levels: Column, precision: float, price: float) -> tuple[float, NDArray[np.intp]]:
    """Do what :func:`heimdall_assets.dsp.response.partition` does."""
    stretches = np.empty(len(levels), np.intp)
    return float(_partition(levels, precision, price, stretches)), stretches


def strongest_bins(bin_power: NDArray[np.float32], response: NDArray[np.float64], bands: slice) -> NDArray[np.intp]:
    """Do what :func:`heimdall_assets.dsp.transform.strongest_bins` does."""
    peak = np.empty(len(bin_power), np.intp)
    _strongest(bin_power, response, bands.start, bands.stop, peak)
    return peak


HUGE = 1e300


@njit([DOUBLE(READ_COLUMN, DOUBLE, DOUBLE, INDICES)], **OPTIONS)
def _partition(levels: Column, precision: float, price: float, stretches: NDArray[np.intp]) -> float:
    count = len(levels)
    sums, least = np.empty(count + 1), np.empty(count + 1)
    gain = np.empty(count + 1)
    starts = np.empty(count + 1, np.int64)
    sums[0], least[0], squares = 0.0, -price, 0.0
    for length in range(1, count + 1):
        gain[length] = -0.5 * precision / length
    for stop in range(1, count + 1):
        level = levels[stop - 1]
        sums[stop] = sums[stop - 1] + level
        squares += level * level
        best, at = HUGE, 0
        for start in range(stop):
            rise = sums[stop] - sums[start]
            cost = least[start] + rise * rise * gain[stop - start]
            if cost < best:
                best, at = cost, start
        least[stop], starts[stop] = best + price, at
    stretch, stop = 0, count
    while stop > 0:  # backwards: the last stretch is number 0 at first
        for cell in range(starts[stop], stop):
            stretches[cell] = stretch
        stretch, stop = stretch + 1, starts[stop]
    for cell in range(count):
        stretches[cell] = stretch - 1 - stretches[cell]
    total: float = least[count] + 0.5 * precision * squares
    return total


@njit([(READ_SINGLES, READ_COLUMN, INT, INT, INDICES)], fastmath=FINITE, **OPTIONS)
def _strongest(bin_power: NDArray[np.float32], response: Column, first: int, stop: int, out: NDArray[np.intp]) -> None:
    rows, size = bin_power.shape
    width = size // len(response)
    for row in range(rows):
        largest, of_band = -1.0, first
        for band in range(first, stop):
            highest = np.float32(0)
            for i in range(band * width, (band + 1) * width):
                highest = max(highest, bin_power[row, i])
            if highest / response[band] > largest:
                largest, of_band = highest / response[band], band
        at = of_band * width
        for i in range(of_band * width, (of_band + 1) * width):
            if bin_power[row, i] > bin_power[row, at]:
                at = i
        out[row] = at
