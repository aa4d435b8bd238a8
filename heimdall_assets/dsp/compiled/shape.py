"""The signal's shape, compiled: see ``shape`` for what it is and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from heimdall_assets.dsp.compiled.types import (
    COLUMNS,
    DOUBLE,
    INT,
    OPTIONS,
    READ_COLUMN,
    READ_COLUMNS,
    READ_INDICES,
    READ_MASK,
    READ_MASKS,
    READ_SINGLE,
    READ_SINGLES,
    STRIDED,
)
from heimdall_assets.dsp.shape import EDGE_SHARE, LINE_BINS, LINE_REACH, ROLLOFF_SHARE, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.detection import Detection
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Column, Spectrum

SHARES = np.array([EDGE_SHARE, 1 - EDGE_SHARE, ROLLOFF_SHARE])


def shape_of(
    spectrum: Spectrum, detection: Detection, noise: Column, grid: Grid, response: Column | None = None
) -> Shape:
    """Do what :func:`heimdall_assets.dsp.shape.shape_of` does."""
    columns = np.full((6, len(noise)), np.nan)
    _measure_shapes(
        spectrum.bin_power,
        spectrum.unit,
        spectrum.band_power,
        spectrum.band_moment,
        spectrum.peak,
        detection.present,
        detection.single,
        detection.support,
        noise,
        np.ones(grid.num_bands) if response is None else response,
        SHARES,
        columns,
    )
    columns[1:5] += grid.first_bin
    power, lower_edge, upper_edge, rolloff, centroid, line_share = columns
    return Shape(power, lower_edge, upper_edge, rolloff, centroid, line_share)


@njit([DOUBLE(INT, DOUBLE, DOUBLE, DOUBLE)], **OPTIONS)
def _position(index: int, lower: float, upper: float, target: float) -> float:
    """Return where inside of a bin the target is passed, from the centre of the first bin."""
    part = (target - lower) / (upper - lower) if upper > lower else 0.5
    return index - 0.5 + min(max(part, 0.0), 1.0)


@njit([INT(READ_COLUMN, DOUBLE, INT)], **OPTIONS)
def _first_at_least(values: Column, target: float, otherwise: int) -> int:
    for i in range(len(values)):
        if values[i] >= target:
            return i
    return otherwise


@njit([DOUBLE(READ_SINGLE, DOUBLE, INT, DOUBLE, READ_COLUMN, STRIDED)], **OPTIONS)
def _measure_line(
    bins: NDArray[np.float32], unit: float, peak: int, floor: float, shares: Column, out: Column
) -> float:
    """Measure a lone line in the bins around it; return its power."""
    passed = np.empty(2 * LINE_REACH + 1)
    first = peak - LINE_REACH
    total, moment = 0.0, 0.0
    for i in range(len(passed)):
        power = bins[(first + i) % len(bins)] * unit - floor
        total += power
        moment += power * i
        passed[i] = total
    for index in range(len(shares)):
        target = shares[index] * total
        reached = _first_at_least(passed, target, len(passed) - 1)
        before = passed[reached - 1] if reached > 0 else 0.0
        out[1 + index] = first + _position(reached, before, passed[reached], target)
    out[0], out[4] = total, first + moment / total
    return total


@njit([DOUBLE(READ_SINGLE, DOUBLE, READ_COLUMN, READ_COLUMN, READ_MASK, READ_COLUMN, READ_COLUMN, STRIDED)], **OPTIONS)
def _measure_bands(
    bins: NDArray[np.float32],
    unit: float,
    band_power: Column,
    band_moment: Column,
    support: NDArray[np.bool_],
    floor: Column,
    shares: Column,
    out: Column,
) -> float:
    """Measure what lies in the support; return its power."""
    width = len(bins) // len(band_power)
    passed = np.empty(len(band_power))
    total, moment = 0.0, 0.0
    for band in range(len(band_power)):
        if support[band]:
            power = (band_power[band] - floor[band]) * width
            total += power
            moment += power * (band * width) + band_moment[band] - floor[band] * (width * (width - 1) / 2)
        passed[band] = total
    kept = max(total, np.finfo(np.float64).tiny)
    for index in range(len(shares)):
        target = shares[index] * kept
        band = _first_at_least(passed, target, 0)
        below = upper = passed[band - 1] if band > 0 else 0.0
        reached = width - 1
        for i in range(width):
            below = upper
            upper += bins[band * width + i] * unit - floor[band]
            if upper >= target:
                reached = i
                break
        out[1 + index] = band * width + _position(reached, below, upper, target)
    out[0], out[4] = total, moment / kept
    return total


@njit(
    [
        (
            READ_SINGLES,
            DOUBLE,
            READ_COLUMNS,
            READ_COLUMNS,
            READ_INDICES,
            READ_MASK,
            READ_MASK,
            READ_MASKS,
            READ_COLUMN,
            READ_COLUMN,
            READ_COLUMN,
            COLUMNS,
        )
    ],
    **OPTIONS,
)
def _measure_shapes(
    bin_power: NDArray[np.float32],
    unit: float,
    band_power: NDArray[np.float64],
    band_moment: NDArray[np.float64],
    peak: NDArray[np.intp],
    present: NDArray[np.bool_],
    single: NDArray[np.bool_],
    support: NDArray[np.bool_],
    noise: Column,
    response: Column,
    shares: Column,
    out: NDArray[np.float64],
) -> None:
    """Fill in power, edges, roll-off, centroid and line share, positions in bins from the lowest one."""
    size = bin_power.shape[1]
    width = size // len(response)
    of_band = np.empty(len(response))
    for row in range(len(noise)):
        if not present[row]:
            continue
        bins, at = bin_power[row], peak[row]
        floor = noise[row] * response[at // width]
        if single[row]:
            total = _measure_line(bins, unit, at, floor, shares, out[:, row])
        else:
            of_bands, moments = band_power[row], band_moment[row]
            for band in range(len(response)):
                of_band[band] = noise[row] * response[band]
            total = _measure_bands(bins, unit, of_bands, moments, support[row], of_band, shares, out[:, row])
        of_line = 0.0
        for i in range(-LINE_BINS, LINE_BINS + 1):
            of_line += bins[(at + i) % size] * unit - floor
        out[5, row] = min(max(of_line / total, 0.0), 1.0)
