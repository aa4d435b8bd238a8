"""The work on bands, compiled: see ``noise``, ``detection`` and ``shape`` for what it is and where it comes from."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from heimdall_assets.dsp.compiled.types import (
    COLUMN,
    COLUMNS,
    DOUBLE,
    INT,
    MASK,
    MASKS,
    OPTIONS,
    READ_COLUMN,
    READ_COLUMNS,
    READ_INDICES,
    READ_MASK,
    READ_MASKS,
    READ_SINGLE,
    READ_SINGLES,
    REASSOCIATED,
    STRIDED,
)
from heimdall_assets.dsp.detection import GROWTH, GUARDED_WIDTHS, Detection, thresholds
from heimdall_assets.dsp.excision import EXCISION_PROBABILITY, MeanPower, initial_cells
from heimdall_assets.dsp.noise import SLOT_START, SPECTRAL_START, decided, widths_for
from heimdall_assets.dsp.shape import EDGE_SHARE, LINE_BINS, LINE_REACH, ROLLOFF_SHARE, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.noise import Floor
    from heimdall_assets.dsp.transform import Column, Spectrum

SHARES = np.array([EDGE_SHARE, 1 - EDGE_SHARE, ROLLOFF_SHARE])


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


def detect(
    bands: NDArray[np.float64],
    peak_power: Column,
    peak_band: NDArray[np.intp],
    noise: Column,
    grid: Grid,
    false_alarm_probability: float,
) -> Detection:
    """Do what :func:`heimdall_assets.dsp.detection.detect` does."""
    rows, count = bands.shape
    limits = thresholds(count, grid.bins_per_band, false_alarm_probability)
    margin = peak_power / noise / limits.line
    support = np.zeros(bands.shape, np.bool_)
    single = np.empty(rows, np.bool_)
    line = margin > 1
    windows = np.array(limits.windows)
    _detect(np.ascontiguousarray(bands), peak_band, noise, windows, limits.raised, margin, support, single)
    return Detection(margin, line, support, single)


def shape_of(spectrum: Spectrum, detection: Detection, noise: Column, grid: Grid) -> Shape:
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


@njit([DOUBLE(COLUMN, INT)], **OPTIONS)
def _sum_of_least(values: Column, count: int) -> float:
    """Return the sum of the ``count`` smallest values, which are put in front (C. A. R. Hoare's selection, 1961)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if count - 1 <= j:
            high = j
        elif count - 1 >= i:
            low = i
        else:
            break
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


@njit([DOUBLE(READ_COLUMN, READ_MASK, INT, COLUMN)], **OPTIONS)
def _sum_windows(ratio: Column, explained: NDArray[np.bool_], width: int, sums: Column) -> float:
    """Fill in cumulative sums in which what is explained counts as noise; return the largest over a window."""
    count = len(ratio)
    sums[0] = 0.0
    for band in range(count):
        sums[band + 1] = sums[band] + (1.0 if explained[band] else ratio[band])
    largest = -np.inf
    for first in range(count - width + 1):
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
        for index in range(len(windows)):
            width, threshold = int(windows[index, 0]), windows[index, 1]
            if is_anything:
                _guard(found, scratch, explained)
            largest = _sum_windows(ratio, explained, width, sums) / width
            margin[row] = max(margin[row], (largest - 1) / (threshold - 1))
            if largest > threshold:
                is_anything = True
                _cover(sums, ratio, width, threshold, found)
        marked = 0
        for band in range(count):
            marked += 1 if found[band] else 0
        single[row] = is_line and marked == 1
        if is_anything:
            _grow(found, ratio, raised, scratch)


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


@njit([DOUBLE(READ_SINGLE, DOUBLE, READ_COLUMN, READ_COLUMN, READ_MASK, DOUBLE, READ_COLUMN, STRIDED)], **OPTIONS)
def _measure_bands(
    bins: NDArray[np.float32],
    unit: float,
    band_power: Column,
    band_moment: Column,
    support: NDArray[np.bool_],
    floor: float,
    shares: Column,
    out: Column,
) -> float:
    """Measure what lies in the support; return its power."""
    width = len(bins) // len(band_power)
    passed = np.empty(len(band_power))
    of_noise = floor * (width * (width - 1) / 2)
    total, moment = 0.0, 0.0
    for band in range(len(band_power)):
        if support[band]:
            power = (band_power[band] - floor) * width
            total += power
            moment += power * (band * width) + band_moment[band] - of_noise
        passed[band] = total
    kept = max(total, np.finfo(np.float64).tiny)
    for index in range(len(shares)):
        target = shares[index] * kept
        band = _first_at_least(passed, target, 0)
        below = upper = passed[band - 1] if band > 0 else 0.0
        reached = width - 1
        for i in range(width):
            below = upper
            upper += bins[band * width + i] * unit - floor
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
    shares: Column,
    out: NDArray[np.float64],
) -> None:
    """Fill in power, edges, roll-off, centroid and line share, positions in bins from the lowest one."""
    size = bin_power.shape[1]
    for row in range(len(noise)):
        if not present[row]:
            continue
        bins, floor, at = bin_power[row], noise[row], peak[row]
        if single[row]:
            total = _measure_line(bins, unit, at, floor, shares, out[:, row])
        else:
            of_bands, moments = band_power[row], band_moment[row]
            total = _measure_bands(bins, unit, of_bands, moments, support[row], floor, shares, out[:, row])
        of_line = 0.0
        for i in range(-LINE_BINS, LINE_BINS + 1):
            of_line += bins[(at + i) % size] * unit - floor
        out[5, row] = min(max(of_line / total, 0.0), 1.0)
