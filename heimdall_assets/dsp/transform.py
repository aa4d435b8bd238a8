"""The passes over every sample of a chunk: the waveform's own figures, one FFT, the Hann-windowed power spectrum.

Everything after this works on bands, some thousand numbers a chunk. All arithmetic on samples is in single precision;
sums over a chunk end in double precision. These are the passes in plain numpy, the reference for the compiled ones
(:mod:`heimdall_assets.dsp.passes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.dsp.grid import Grid

Chunks = NDArray[np.complex64]
Column = NDArray[np.float64]

NUM_SLOTS = 64
"""Equal pieces of a chunk whose powers tell quiet time from bursts."""

BLOCK_SAMPLES = 1 << 16
"""Samples that are worked on at once, so that they stay in a processor's cache."""


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

    @classmethod
    def empty(cls, count: int) -> Waveform:
        """Return figures of so many chunks, to be filled in."""
        return cls(np.empty(count), np.empty(count), np.empty(count), np.empty(count), np.empty((count, NUM_SLOTS)))


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Hann-windowed power spectrum of each chunk, from the lowest frequency upwards.

    Attributes
    ----------
    coefficients : ndarray of complex64, shape (chunks, num_bins)
        Unwindowed Fourier coefficients, the frequencies from 0 upwards first, then the negative ones.
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
    dc_power : ndarray, shape (chunks,)
        Power of the samples' mean.
    """

    coefficients: NDArray[np.complex64]
    bin_power: NDArray[np.float32]
    unit: float
    band_power: NDArray[np.float64]
    band_moment: NDArray[np.float64]
    peak: NDArray[np.intp]
    peak_bins: NDArray[np.complex128]
    dc_power: Column

    @classmethod
    def empty(cls, coefficients: NDArray[np.complex64], grid: Grid) -> Spectrum:
        """Return a spectrum of these coefficients whose other figures are to be filled in."""
        count = len(coefficients)
        return cls(
            coefficients=coefficients,
            bin_power=np.empty((count, grid.num_bins), np.float32),
            unit=1 / (6 * float(grid.num_bins) ** 2),
            band_power=np.empty((count, grid.num_bands)),
            band_moment=np.empty((count, grid.num_bands)),
            peak=np.empty(count, np.intp),
            peak_bins=np.empty((count, 5), np.complex128),
            dc_power=np.empty(count),
        )


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
    coefficients = fft.fft(chunks[:, : grid.num_bins], axis=1)  # many rows at once: they share vector registers
    waveform, spectrum = Waveform.empty(count), Spectrum.empty(coefficients, grid)
    step = max(1, BLOCK_SAMPLES // length)
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        _waveform_pass(chunks[rows], waveform, rows)
        _spectrum_pass(coefficients[rows], grid, searched, spectrum, rows)
    add_peaks(spectrum)
    return waveform, spectrum


def add_peaks(spectrum: Spectrum) -> None:
    """Fill in what a spectrum says of single coefficients: those around the peak, and the constant part."""
    size = spectrum.coefficients.shape[1]
    around = (spectrum.peak[:, np.newaxis] + np.arange(-2, 3) + size - size // 2) % size
    spectrum.peak_bins[:] = spectrum.coefficients[np.arange(len(around))[:, np.newaxis], around]
    spectrum.dc_power[:] = np.abs(spectrum.coefficients[:, 0].astype(np.complex128)) ** 2 / float(size) ** 2


def strongest_bins(bin_power: NDArray[np.float32], response: Column, bands: slice) -> NDArray[np.intp]:
    """Return the strongest bin of each chunk, over the noise that a response lets through.

    Parameters
    ----------
    bin_power : ndarray of float32, shape (chunks, num_bins)
        See :class:`Spectrum`.
    response : ndarray, shape (num_bands,)
        Relative noise power of each band.
    bands : slice
        Bands that are searched.
    """
    in_bands = bin_power.reshape(len(bin_power), len(response), -1)
    highest = in_bands[:, bands].max(axis=2) / response[bands]
    band = highest.argmax(axis=1) + bands.start
    within = in_bands[np.arange(len(band)), band].argmax(axis=1)
    strongest: NDArray[np.intp] = band * in_bands.shape[2] + within
    return strongest


def power_in_bands(coefficients: NDArray[np.complex64], grid: Grid, marked: NDArray[np.bool_]) -> Column:
    """Return the power in the marked bands, without a window, so that every moment counts the same.

    Parameters
    ----------
    coefficients : ndarray of complex64, shape (chunks, grid.num_bins)
        See :class:`Spectrum`.
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
    result = np.empty(len(coefficients))
    for row, (of_chunk, bands) in enumerate(zip(coefficients, marked, strict=True)):
        inside = np.roll(of_chunk, size // 2).reshape(grid.num_bands, -1)[bands]
        result[row] = np.vdot(inside, inside).real / float(size) ** 2
    return result


def _waveform_pass(chunks: Chunks, out: Waveform, rows: slice) -> None:
    count, length = chunks.shape
    parts = chunks.view(np.float32)
    slot = length // NUM_SLOTS
    whole = slot * NUM_SLOTS
    sums = np.empty((2, count, NUM_SLOTS + 1))  # of |x|^2 and |x|; the last column is the rest after the slots
    peaks = []
    step = max(1, BLOCK_SAMPLES // (count * slot))
    for first in range(0, NUM_SLOTS, step):
        slots = slice(first, min(first + step, NUM_SLOTS))
        power = _powers(parts[:, 2 * slot * slots.start : 2 * slot * slots.stop])
        peaks.append(power.max(axis=1))
        sums[0, :, slots] = power.reshape(count, -1, slot).sum(axis=2)
        magnitude = np.sqrt(power, out=power)
        sums[1, :, slots] = magnitude.reshape(count, -1, slot).sum(axis=2)
    rest = _powers(parts[:, 2 * whole :])
    peaks.append(rest.max(axis=1, initial=0))
    sums[0, :, -1] = rest.sum(axis=1)
    sums[1, :, -1] = np.sqrt(rest).sum(axis=1)
    out.slot_power[rows] = sums[0, :, :-1] / slot
    out.power[rows], out.mean_magnitude[rows] = sums.sum(axis=2) / length
    out.peak_power[rows] = np.max(peaks, axis=0)
    negative = parts[:, 0::2] < 0
    changes = [np.count_nonzero(row[1:] != row[:-1]) for row in negative]
    out.crossings[rows] = np.array(changes) / (length - 1)


def _powers(parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return I^2 + Q^2 of alternating I and Q, shape (rows, 2 n) -> (rows, n)."""
    squares = parts * parts
    power: NDArray[np.float32] = squares[:, 0::2] + squares[:, 1::2]
    return power


def _spectrum_pass(
    coefficients: NDArray[np.complex64], grid: Grid, searched: slice, out: Spectrum, rows: slice
) -> None:
    count, size = coefficients.shape
    power = out.bin_power[rows]
    step = max(grid.bins_per_band, BLOCK_SAMPLES // count)
    for start in range(0, size, step):
        for piece, bins in _pieces(start, min(start + step, size), size):
            _windowed_power(coefficients, piece, power[:, bins])
    weights = np.ones((grid.bins_per_band, 2), np.float32)
    weights[:, 1] = np.arange(grid.bins_per_band)
    sums = (power.reshape(-1, grid.bins_per_band) @ weights).reshape(count, grid.num_bands, 2) * out.unit
    out.band_power[rows] = sums[:, :, 0] / grid.bins_per_band
    out.band_moment[rows] = sums[:, :, 1]
    out.peak[rows] = power[:, searched].argmax(axis=1) + searched.start


def _pieces(start: int, stop: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield where bins start .. stop, counted from the lowest frequency, lie among the coefficients.

    A transform has the frequencies from 0 upwards first, then the negative ones; a range has up to two pieces.
    """
    middle = size // 2
    if start < middle:
        end = min(stop, middle)
        yield slice(start + size - middle, end + size - middle), slice(start, end)
    if stop > middle:
        begin = max(start, middle)
        yield slice(begin - middle, stop - middle), slice(begin, stop)


def _windowed_power(coefficients: NDArray[np.complex64], piece: slice, out: NDArray[np.float32]) -> None:
    """Compute the power under a Hann window, of the bins of a piece.

    With d[k] = S[k] - S[k+1], the difference d[k] - d[k-1] is 2 S[k] - S[k-1] - S[k+1]: twice the transform of
    x (1 - cos(2 pi n / N)). The mean square of this window is 3/2, hence the unit 1 / (4 x 3/2 N^2).
    """
    size = coefficients.shape[1]
    slopes = np.empty((len(coefficients), piece.stop - piece.start + 1), np.complex64)
    inside = coefficients[:, piece]
    np.subtract(inside[:, :-1], inside[:, 1:], out=slopes[:, 1:-1])
    slopes[:, 0] = coefficients[:, piece.start - 1] - inside[:, 0]
    slopes[:, -1] = inside[:, -1] - coefficients[:, piece.stop % size]
    windowed = (slopes[:, 1:] - slopes[:, :-1]).view(np.float32)
    windowed *= windowed
    np.add(windowed[:, 0::2], windowed[:, 1::2], out=out)
