"""The passes over every sample of a chunk: the waveform's own figures, one FFT, the Hann-windowed power spectrum.

Everything after this works on bands, some thousand numbers a chunk. The rows are taken in blocks that fit into a
processor's cache, and all arithmetic on samples is in single precision; sums over a chunk end in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import fft

if TYPE_CHECKING:
    from heimdall_assets.dsp.grid import Grid

Chunks = NDArray[np.complex64]
Column = NDArray[np.float64]

NUM_SLOTS = 64
"""Equal pieces of a chunk whose powers tell quiet time from bursts."""

BLOCK_SAMPLES = 40_000
"""Samples that are worked on at once."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """Figures of the samples in time, a value a chunk.

    Attributes
    ----------
    power : ndarray, shape (chunks,)
        Mean of |x|^2.
    mean_magnitude, peak_power : ndarray, shape (chunks,)
        Mean of |x|, and the largest |x|^2.
    crossings : ndarray, shape (chunks,)
        Sign changes of Re x between neighbouring samples, a pair of samples, in [0, 1].
    slot_power : ndarray, shape (chunks, 64)
        Mean of |x|^2 in 64 successive pieces of the chunk.
    """

    power: Column
    mean_magnitude: Column
    peak_power: Column
    crossings: Column
    slot_power: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Hann-windowed power spectrum of each chunk, from the lowest frequency upwards.

    Attributes
    ----------
    bin_power : ndarray of float32, shape (chunks, num_bins)
        Proportional to the power in a bin; ``unit`` times it is the power, so that the sum over all bins is the
        mean of |w x|^2 / mean(w^2), the chunk's power under the window w.
    unit : float
        See bin_power.
    band_power : ndarray, shape (chunks, num_bands)
        Mean power a bin in each band.
    band_moment : ndarray, shape (chunks, num_bands)
        Sum over the band's bins of power times position in the band, 0 .. bins_per_band - 1.
    peak : ndarray of int, shape (chunks,)
        Index of the strongest bin among those searched.
    peak_bins : ndarray of complex128, shape (chunks, 5)
        Unwindowed Fourier coefficients at the peak and two bins to either side (cyclically).
    searched_power : ndarray, shape (chunks,)
        Power in the bins searched, unwindowed (by Parseval's theorem the mean of |x|^2, where those are all).
    dc_power : ndarray, shape (chunks,)
        Power of the samples' mean.
    """

    bin_power: NDArray[np.float32]
    unit: float
    band_power: NDArray[np.float64]
    band_moment: NDArray[np.float64]
    peak: NDArray[np.intp]
    peak_bins: NDArray[np.complex128]
    searched_power: Column
    dc_power: Column


def transform(chunks: Chunks, grid: Grid, searched: slice) -> tuple[Waveform, Spectrum]:
    """Make the passes over all samples.

    Parameters
    ----------
    chunks : ndarray of complex64, shape (chunks, grid.chunk_length)
        Finite samples, C-contiguous.
    grid : Grid
        Bins and bands.
    searched : slice
        Bins, counted from the lowest frequency, among which the peak is looked for.

    Returns
    -------
    Waveform, Spectrum
        The samples' figures in time and in frequency.
    """
    count, length = chunks.shape
    waveform = Waveform(
        power=np.empty(count),
        mean_magnitude=np.empty(count),
        peak_power=np.empty(count),
        crossings=np.empty(count),
        slot_power=np.empty((count, NUM_SLOTS)),
    )
    spectrum = Spectrum(
        bin_power=np.empty((count, grid.num_bins), np.float32),
        unit=1 / (6 * float(grid.num_bins) ** 2),
        band_power=np.empty((count, grid.num_bands)),
        band_moment=np.empty((count, grid.num_bands)),
        peak=np.empty(count, np.intp),
        peak_bins=np.empty((count, 5), np.complex128),
        searched_power=np.empty(count),
        dc_power=np.empty(count),
    )
    step = max(1, BLOCK_SAMPLES // length)
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        _waveform_pass(chunks[rows], waveform, rows)
        _spectrum_pass(chunks[rows], grid, searched, spectrum, rows)
    return waveform, spectrum


def power_in_bands(chunks: Chunks, grid: Grid, marked: NDArray[np.bool_]) -> Column:
    """Return the power in the marked bands, without a window, so that every moment counts the same.

    Parameters
    ----------
    chunks : ndarray of complex64, shape (chunks, grid.chunk_length)
        The samples.
    grid : Grid
        Bins and bands.
    marked : ndarray of bool, shape (chunks, grid.num_bands)
        Bands to sum over, for each chunk.

    Returns
    -------
    ndarray, shape (chunks,)
        Over all bands, by Parseval's theorem, the mean of |x|^2.
    """
    size = grid.num_bins
    result = np.empty(len(chunks))
    for row, (samples, bands) in enumerate(zip(chunks, marked, strict=True)):
        coefficients = np.roll(fft.fft(samples[:size]), size // 2)
        inside = coefficients.reshape(grid.num_bands, -1)[bands]
        result[row] = np.vdot(inside, inside).real / float(size) ** 2
    return result


def _waveform_pass(chunks: Chunks, out: Waveform, rows: slice) -> None:
    count, length = chunks.shape
    parts = chunks.view(np.float32)
    squares = parts * parts
    power = squares[:, 0::2] + squares[:, 1::2]
    slot = length // NUM_SLOTS
    whole = slot * NUM_SLOTS
    slots = power[:, :whole].reshape(count, NUM_SLOTS, slot).sum(axis=2).astype(np.float64)
    rest = power[:, whole:].sum(axis=1, dtype=np.float64)
    out.slot_power[rows] = slots / slot
    out.power[rows] = (slots.sum(axis=1) + rest) / length
    out.peak_power[rows] = power.max(axis=1)
    magnitude = np.sqrt(power, out=power)
    slots = magnitude[:, :whole].reshape(count, NUM_SLOTS, slot).sum(axis=2).astype(np.float64)
    rest = magnitude[:, whole:].sum(axis=1, dtype=np.float64)
    out.mean_magnitude[rows] = (slots.sum(axis=1) + rest) / length
    negative = np.signbit(parts[:, 0::2])
    for row, changed in zip(range(rows.start, rows.stop), negative[:, 1:] != negative[:, :-1], strict=True):
        out.crossings[row] = np.count_nonzero(changed) / (length - 1)


def _spectrum_pass(chunks: Chunks, grid: Grid, searched: slice, out: Spectrum, rows: slice) -> None:
    """Transform and window.

    With d[k] = S[k] - S[k+1], the difference d[k] - d[k-1] is 2 S[k] - S[k-1] - S[k+1], that is four times the
    transform of x (1 - cos(2 pi n / N)) / 2. The window 1 - cos has the mean square 3/2, hence the unit
    1 / (4 x 3/2 N^2).
    """
    size = grid.num_bins
    coefficients = fft.fft(chunks[:, :size], axis=1)
    count = len(coefficients)
    out.dc_power[rows] = np.abs(coefficients[:, 0].astype(np.complex128)) ** 2 / float(size) ** 2
    lowest = size - size // 2  # coefficient that belongs to the lowest frequency
    ordered = np.empty((count, size + 2), np.complex64)  # ascending, with the cyclic neighbour at either end
    ordered[:, 1 : size // 2 + 1] = coefficients[:, lowest:]
    ordered[:, size // 2 + 1 : size + 1] = coefficients[:, :lowest]
    ordered[:, 0] = ordered[:, size]
    ordered[:, size + 1] = ordered[:, 1]
    slopes = ordered[:, :-1] - ordered[:, 1:]
    windowed = (slopes[:, 1:] - slopes[:, :-1]).view(np.float32)
    windowed *= windowed
    power = out.bin_power[rows]
    np.add(windowed[:, 0::2], windowed[:, 1::2], out=power)
    weights = np.ones((grid.bins_per_band, 2), np.float32)
    weights[:, 1] = np.arange(grid.bins_per_band)
    sums = power.reshape(-1, grid.bins_per_band) @ weights
    sums = sums.reshape(count, grid.num_bands, 2).astype(np.float64) * out.unit
    out.band_power[rows] = sums[:, :, 0] / grid.bins_per_band
    out.band_moment[rows] = sums[:, :, 1]
    peak = power[:, searched].argmax(axis=1) + searched.start
    out.peak[rows] = peak
    around = (peak[:, np.newaxis] + np.arange(-2, 3)) % size
    out.peak_bins[rows] = np.take_along_axis(ordered[:, 1:-1], around, axis=1)
    inside = ordered[:, 1:-1][:, searched]
    energy = [np.vdot(row, row).real for row in inside]
    out.searched_power[rows] = np.array(energy, np.float64) / float(size) ** 2
