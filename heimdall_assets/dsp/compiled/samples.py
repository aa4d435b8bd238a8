"""The passes over every sample, compiled: see ``clipping``, ``transform`` and ``carrier`` for what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, types

from heimdall_assets.dsp.carrier import ITERATIONS, decimation, first_estimate
from heimdall_assets.dsp.clipping import Extremes
from heimdall_assets.dsp.compiled.fourier import coefficients_of
from heimdall_assets.dsp.compiled.types import (
    COLUMN,
    COLUMNS,
    DOUBLE,
    FINITE,
    INDICES,
    INT,
    OPTIONS,
    READ_COLUMN,
    READ_INDICES,
    READ_MASKS,
    READ_SINGLE,
    READ_SINGLES,
    READ_WHOLE,
    READ_WHOLES,
    SINGLE,
    SINGLES,
    WHOLE,
    WHOLE_COLUMN,
)
from heimdall_assets.dsp.transform import Spectrum, Waveform, add_peaks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Chunks, Column

BLOCK = 1024
"""Samples that are summed in single precision; the sums of blocks are added in double."""


def find_extremes(chunks: Chunks) -> Extremes:
    """Do what :func:`heimdall_assets.dsp.clipping.find_extremes` does."""
    found = Extremes.empty(len(chunks))
    _find_extremes(
        chunks.view(np.int32),
        found.highest.view(np.int32),
        found.lowest.view(np.int32),
        found.num_highest,
        found.num_lowest,
    )
    return found


def transform(chunks: Chunks, grid: Grid, searched: slice) -> tuple[Waveform, Spectrum]:
    """Do what :func:`heimdall_assets.dsp.transform.transform` does."""
    coefficients = coefficients_of(chunks[:, : grid.num_bins])
    waveform, spectrum = Waveform.empty(len(chunks)), Spectrum.empty(coefficients, grid)
    _measure_waveforms(
        chunks.view(np.float32),
        waveform.power,
        waveform.mean_magnitude,
        waveform.peak_power,
        waveform.crossings,
        waveform.slot_power,
    )
    _measure_spectra(
        coefficients.view(np.float32),
        searched.start,
        searched.stop,
        spectrum.unit,
        spectrum.bin_power,
        spectrum.band_power,
        spectrum.band_moment,
        spectrum.peak,
    )
    add_peaks(spectrum)
    return waveform, spectrum


def strongest_bins(bin_power: NDArray[np.float32], response: NDArray[np.float64], bands: slice) -> NDArray[np.intp]:
    """Do what :func:`heimdall_assets.dsp.transform.strongest_bins` does."""
    peak = np.empty(len(bin_power), np.intp)
    _strongest_over(bin_power, response, bands.start, bands.stop, peak)
    return peak


def power_in_bands(coefficients: NDArray[np.complex64], grid: Grid, marked: NDArray[np.bool_]) -> Column:
    """Do what :func:`heimdall_assets.dsp.transform.power_in_bands` does."""
    result = np.empty(len(coefficients))
    _sum_bands(coefficients.view(np.float32), grid.bins_per_band, marked, result)
    return result


def carrier_bins(chunks: Chunks, spectrum: Spectrum, grid: Grid, rows: NDArray[np.intp]) -> Column:
    """Do what :func:`heimdall_assets.dsp.carrier.carrier_bins` does."""
    start = first_estimate(spectrum, grid, rows)
    result = np.empty(len(rows))
    size = grid.num_bins
    _interpolate(chunks.view(np.float32), rows, size, decimation(size), start, result)
    return result


@njit([WHOLE(READ_WHOLE)], **OPTIONS)
def _largest(bits: NDArray[np.int32]) -> np.int32:
    """Return the largest of some powers, none negative, both as the bits of floating-point numbers.

    Read as whole numbers, bits have the order of the powers; a maximum of whole numbers is compiled to vectors, one
    of floating-point numbers is not.
    """
    largest: np.int32 = bits[0]
    for i in range(len(bits)):
        largest = max(largest, bits[i])
    return largest


@njit([INT(READ_WHOLE, WHOLE)], **OPTIONS)
def _count(keys: NDArray[np.int32], wanted: np.int32) -> int:
    count = np.int32(0)
    for i in range(len(keys)):
        count += np.int32(keys[i] == wanted)
    return int(count)


@njit([WHOLE(WHOLE)], **OPTIONS)
def _ordered(bits: np.int32) -> np.int32:
    """Return a whole number with the order of the floating-point numbers whose bits these are; and the way back.

    NaN comes beyond the infinities.
    """
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit([(READ_WHOLES, WHOLE_COLUMN, WHOLE_COLUMN, INDICES, INDICES)], **OPTIONS)
def _find_extremes(
    bits: NDArray[np.int32],
    highest: NDArray[np.int32],
    lowest: NDArray[np.int32],
    num_highest: NDArray[np.intp],
    num_lowest: NDArray[np.intp],
) -> None:
    rows, width = bits.shape
    keys = np.empty(BLOCK, np.int32)
    for row in range(rows):
        high, low = _ordered(bits[row, 0]), _ordered(bits[row, 0])
        num_high, num_low = 0, 0
        for first in range(0, width, BLOCK):
            of_block = bits[row, first : min(first + BLOCK, width)]
            block_high, block_low = _ordered(of_block[0]), _ordered(of_block[0])
            for i in range(len(of_block)):
                key = _ordered(of_block[i])
                keys[i] = key
                block_high, block_low = max(block_high, key), min(block_low, key)
            if block_high >= high:
                num_high = (num_high if block_high == high else 0) + _count(keys[: len(of_block)], block_high)
                high = block_high
            if block_low <= low:
                num_low = (num_low if block_low == low else 0) + _count(keys[: len(of_block)], block_low)
                low = block_low
        highest[row], num_highest[row] = _ordered(high), num_high
        lowest[row], num_lowest[row] = _ordered(low), num_low


@njit([(READ_SINGLES, COLUMN, COLUMN, COLUMN, COLUMN, COLUMNS)], fastmath=FINITE, **OPTIONS)
def _measure_waveforms(
    parts: NDArray[np.float32],
    power: Column,
    mean_magnitude: Column,
    peak_power: Column,
    crossings: Column,
    slot_power: NDArray[np.float64],
) -> None:
    rows, width = parts.shape
    length = width // 2
    slots = slot_power.shape[1]
    slot = length // slots
    squares, peak = np.empty(BLOCK, np.float32), np.empty(1, np.float32)
    square_bits, peak_bits = squares.view(np.int32), peak.view(np.int32)
    for row in range(rows):
        total, magnitude, changes = 0.0, 0.0, 0
        peak_bits[0] = 0
        for index in range(slots + 1):
            first = index * slot
            stop = first + slot if index < slots else length
            of_slot = 0.0
            while first < stop:
                count = min(BLOCK, stop - first)
                block = parts[row, 2 * first :]
                power_sum, root_sum = np.float32(0), np.float32(0)
                for i in range(count):
                    square = block[2 * i] * block[2 * i] + block[2 * i + 1] * block[2 * i + 1]
                    squares[i] = square
                    power_sum += square
                    root_sum += np.sqrt(square)
                of_slot += float(power_sum)
                magnitude += float(root_sum)
                peak_bits[0] = max(peak_bits[0], _largest(square_bits[:count]))
                first += count
            total += of_slot
            if index < slots:
                slot_power[row, index] = of_slot / slot
        for first in range(1, length, BLOCK):
            last = min(first + BLOCK, length)
            later, earlier = parts[row, 2 * first : 2 * last], parts[row, 2 * first - 2 : 2 * last - 2]
            of_block = np.int32(0)
            for i in range(last - first):
                of_block += np.int32((later[2 * i] < 0) != (earlier[2 * i] < 0))
            changes += int(of_block)
        power[row] = total / length
        mean_magnitude[row] = magnitude / length
        peak_power[row] = peak[0]
        crossings[row] = changes / (length - 1)


@njit([SINGLE(READ_SINGLE, INT, INT, INT)], fastmath=FINITE, **OPTIONS)
def _windowed_power(parts: NDArray[np.float32], below: int, at: int, above: int) -> np.float32:
    real = np.float32(2) * parts[2 * at] - parts[2 * below] - parts[2 * above]
    imaginary = np.float32(2) * parts[2 * at + 1] - parts[2 * below + 1] - parts[2 * above + 1]
    power: np.float32 = real * real + imaginary * imaginary
    return power


@njit([(READ_SINGLE, types.Array(SINGLE, 1, "C"))], fastmath=FINITE, **OPTIONS)
def _window(parts: NDArray[np.float32], power: NDArray[np.float32]) -> None:
    """Compute the windowed power of the second and all further coefficients, as many as ``power`` holds."""
    squares = np.empty(2 * BLOCK, np.float32)
    for first in range(0, len(power), BLOCK):
        count = min(BLOCK, len(power) - first)
        below, at, above = parts[2 * first :], parts[2 * first + 2 :], parts[2 * first + 4 :]
        for i in range(2 * count):  # real and imaginary parts alike, so that neighbours share a register
            windowed = np.float32(2) * at[i] - below[i] - above[i]
            squares[i] = windowed * windowed
        for k in range(count):
            power[first + k] = squares[2 * k] + squares[2 * k + 1]


@njit([INT(READ_SINGLE, INT, INT)], fastmath=FINITE, **OPTIONS)
def _strongest(power: NDArray[np.float32], start: int, stop: int) -> int:
    """Return the first index of the largest power in [start, stop)."""
    bits = power.view(np.int32)
    largest, index = np.int32(-1), start
    for first in range(start, stop, BLOCK):
        of_block = _largest(bits[first : min(first + BLOCK, stop)])
        if of_block > largest:
            largest, index = of_block, first
    while bits[index] != largest:
        index += 1
    return index


@njit(
    [(READ_SINGLES, INT, INT, DOUBLE, SINGLES, COLUMNS, COLUMNS, INDICES)],
    fastmath=FINITE,
    **OPTIONS,
)
def _measure_spectra(
    coefficients: NDArray[np.float32],
    first_searched: int,
    stop_searched: int,
    unit: float,
    bin_power: NDArray[np.float32],
    band_power: NDArray[np.float64],
    band_moment: NDArray[np.float64],
    peak: NDArray[np.intp],
) -> None:
    rows, size = bin_power.shape
    bands = band_power.shape[1]
    width = size // bands
    upper = size - size // 2  # the first of the negative frequencies
    for row in range(rows):
        parts, power = coefficients[row], bin_power[row]
        _window(parts[2 * (upper - 1) :], power[: size - upper - 1])
        power[size - upper - 1] = _windowed_power(parts, size - 2, size - 1, 0)
        power[size - upper] = _windowed_power(parts, size - 1, 0, 1)
        _window(parts, power[size - upper + 1 :])
        for band in range(bands):
            of_band = power[band * width : (band + 1) * width]
            total, moment = np.float32(0), np.float32(0)
            for i in range(width):
                total += of_band[i]
                moment += of_band[i] * np.float32(i)
            band_power[row, band] = total * unit / width
            band_moment[row, band] = moment * unit
        peak[row] = _strongest(power, first_searched, stop_searched)


@njit([(READ_SINGLES, INT, READ_MASKS, COLUMN)], fastmath=FINITE, **OPTIONS)
def _sum_bands(coefficients: NDArray[np.float32], width: int, marked: NDArray[np.bool_], out: Column) -> None:
    rows, bands = marked.shape
    size = bands * width
    upper = size - size // 2
    for row in range(rows):
        parts = coefficients[row]
        total = 0.0
        for band in range(bands):
            if not marked[row, band]:
                continue
            of_band = np.float32(0)
            for k in range(band * width + upper, (band + 1) * width + upper):
                at = k - size if k >= size else k
                of_band += parts[2 * at] * parts[2 * at] + parts[2 * at + 1] * parts[2 * at + 1]
            total += float(of_band)
        out[row] = total / (float(size) * float(size))


@njit([(READ_SINGLES, READ_INDICES, INT, INT, READ_COLUMN, COLUMN)], fastmath=FINITE, **OPTIONS)
def _interpolate(
    samples: NDArray[np.float32], rows: NDArray[np.intp], size: int, factor: int, start: Column, out: Column
) -> None:
    count = size // factor
    within = np.empty((2, factor), np.float32)
    mixed = np.empty(count, np.complex128)
    for index in range(len(rows)):
        cycles = start[index] / size
        for i in range(factor):
            within[0, i] = np.cos(2 * np.pi * cycles * i)
            within[1, i] = -np.sin(2 * np.pi * cycles * i)
        turn = cycles * factor
        step = np.exp(-2j * np.pi * (turn - np.floor(turn)))
        phasor = 1 + 0j
        for block in range(count):
            parts = samples[rows[index], 2 * block * factor : 2 * (block + 1) * factor]
            real, imaginary = np.float32(0), np.float32(0)
            for i in range(factor):
                real += parts[2 * i] * within[0, i] - parts[2 * i + 1] * within[1, i]
                imaginary += parts[2 * i] * within[1, i] + parts[2 * i + 1] * within[0, i]
            mixed[block] = complex(real, imaginary) * phasor
            phasor *= step
        residue = 0.0
        for _ in range(ITERATIONS):
            above, below = 0j, 0j
            step_above = np.exp(-2j * np.pi * (residue + 0.5) * factor / size)
            step_below = np.exp(-2j * np.pi * (residue - 0.5) * factor / size)
            turn_above, turn_below = 1 + 0j, 1 + 0j
            for block in range(count):
                above += mixed[block] * turn_above
                below += mixed[block] * turn_below
                turn_above *= step_above
                turn_below *= step_below
            residue += 0.5 * ((above + below) / (above - below)).real
        out[index] = start[index] + residue


@njit([(READ_SINGLES, READ_COLUMN, INT, INT, INDICES)], fastmath=FINITE, **OPTIONS)
def _strongest_over(
    bin_power: NDArray[np.float32], response: Column, first: int, stop: int, out: NDArray[np.intp]
) -> None:
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
