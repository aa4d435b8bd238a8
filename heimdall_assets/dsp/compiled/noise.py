"""Consecutive mean excision and the noise floor, compiled: see ``excision`` and ``noise`` for what they are."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from heimdall_assets.dsp.compiled.types import (
    COLUMN,
    DOUBLE,
    INT,
    OPTIONS,
    READ_COLUMN,
    READ_COLUMNS,
    READ_INDICES,
    REASSOCIATED,
)
from heimdall_assets.dsp.excision import EXCISION_PROBABILITY, MeanPower, initial_cells
from heimdall_assets.dsp.noise import SLOT_START, SPECTRAL_START, decided, widths_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.noise import Floor
    from heimdall_assets.dsp.transform import Column


def excise(powers: NDArray[np.float64], distribution: MeanPower, start: float) -> Column:
    """Do what :func:`heimdall_assets.dsp.excision.consecutive_mean_excision` does."""
    noise = np.empty(len(powers))
    limit = distribution.threshold(EXCISION_PROBABILITY)
    _excise(powers, limit, initial_cells(powers.shape[1], start), noise)
    noise /= distribution.excised_mean
    return noise


def noise_floor(bands: NDArray[np.float64], grid: Grid, slot_power: NDArray[np.float64] | None) -> Floor:
    """Do what :func:`heimdall_assets.dsp.noise.noise_floor` does."""
    rows, count = bands.shape
    floor, spread, dispersion = np.empty(rows), np.empty(rows), np.empty(rows)
    widths, limits, corrections, initial = _excisions(count, grid.bins_per_band)
    distribution = MeanPower.of_hann_bins(grid.bins_per_band)
    _excise_bands(
        np.ascontiguousarray(bands),
        widths,
        limits,
        corrections,
        initial,
        distribution.deviation**2,
        floor,
        spread,
        dispersion,
    )
    quiet = None
    if slot_power is not None:
        recorded = np.where(slot_power > 0, slot_power, np.inf)
        distribution = MeanPower.of_samples(grid.chunk_length // slot_power.shape[1])
        quiet = excise(recorded, distribution, SLOT_START) / grid.num_bins
    return decided(floor, 10 * np.log10(spread), dispersion, quiet, grid)


@lru_cache(maxsize=64)
def _excisions(count: int, bins_per_band: int) -> tuple[NDArray[np.int64], Column, Column, NDArray[np.int64]]:
    """Return widths, thresholds, corrections and initial cells, an entry a width, for so many bands."""
    widths = widths_for(count)
    distributions = [MeanPower.of_hann_bins(bins_per_band * width) for width in widths]
    return (
        np.array(widths, np.int64),
        np.array([each.threshold(EXCISION_PROBABILITY) for each in distributions]),
        np.array([each.excised_mean for each in distributions]),
        np.array([initial_cells(count // width, SPECTRAL_START) for width in widths], np.int64),
    )


@njit([DOUBLE(COLUMN, INT)], **OPTIONS)
def _sum_of_least(values: Column, count: int) -> float:
    """Return the sum of the ``count`` smallest values, which are put in front (C. A. R. Hoare's selection, 1961).

    Values are exchanged whether they have to be or not: where noise decides a processor cannot foresee it, and every
    wrong guess costs as much as ten exchanges (N. Lomuto's partition, without a branch).
    """
    low, stop = 0, len(values)
    while stop - low > 1:
        first, middle, last = values[low], values[(low + stop) // 2], values[stop - 1]
        pivot = max(min(first, middle), min(max(first, middle), last))
        below = low
        for i in range(low, stop):
            value = values[i]
            values[i], values[below] = values[below], value
            below += 1 if value < pivot else 0
        if count <= below:
            stop = below
            continue
        equal = below
        for i in range(below, stop):
            value = values[i]
            values[i], values[equal] = values[equal], value
            equal += 0 if value > pivot else 1
        if count <= equal:
            break
        low = equal
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@njit([DOUBLE(READ_COLUMN, DOUBLE, INT)], fastmath=REASSOCIATED, **OPTIONS)
def _excised(cells: Column, threshold: float, initial: int) -> float:
    """Return the mean of the cells that forward consecutive mean excision accepts.

    It accepts cells in ascending order until one exceeds the threshold. All that a mean admits lie below the
    threshold of any later, larger mean; so they may be taken at once, and no order is needed beyond the start.
    """
    total = _sum_of_least(cells.copy(), initial)
    accepted = initial
    while True:
        limit = threshold * total / accepted
        below, count = 0.0, 0
        for i in range(len(cells)):
            is_below = cells[i] <= limit
            below += cells[i] if is_below else 0.0
            count += 1 if is_below else 0
        if count <= accepted:
            return total / accepted
        total, accepted = below, count


@njit(
    [(READ_COLUMNS, READ_INDICES, READ_COLUMN, READ_COLUMN, READ_INDICES, DOUBLE, COLUMN, COLUMN, COLUMN)],
    fastmath=REASSOCIATED,
    **OPTIONS,
)
def _excise_bands(
    bands: NDArray[np.float64],
    widths: NDArray[np.int64],
    thresholds_: Column,
    corrections: Column,
    initial: NDArray[np.int64],
    variance: float,
    floor: Column,
    spread: Column,
    dispersion: Column,
) -> None:
    rows, count = bands.shape
    for row in range(rows):
        of_row = bands[row]
        smallest = np.inf
        for index in range(len(widths)):
            width = widths[index]
            cells = np.empty(count // width)
            for cell in range(count // width):
                total = 0.0
                for band in range(cell * width, (cell + 1) * width):
                    total += of_row[band]
                cells[cell] = total / width
            estimate = _excised(cells, thresholds_[index], initial[index]) / corrections[index]
            smallest = min(smallest, estimate)
        floor[row] = smallest
        scale = smallest if smallest > 0 else 1.0
        total, squares, free = 0.0, 0.0, 0
        for band in range(count):
            ratio = of_row[band] / scale
            is_free = ratio < thresholds_[0]
            total += ratio if is_free else 0.0
            squares += ratio * ratio if is_free else 0.0
            free += 1 if is_free else 0
        mean = total / max(free, 1)
        if not mean > 0:
            mean = 1.0
        spread[row] = mean
        dispersion[row] = (squares / max(free, 1) / (mean * mean) - 1) / variance


@njit([(READ_COLUMNS, DOUBLE, INT, COLUMN)], **OPTIONS)
def _excise(cells: NDArray[np.float64], threshold: float, initial: int, out: Column) -> None:
    for row in range(len(cells)):
        out[row] = _excised(cells[row], threshold, initial)
