"""Frequency of a carrier, to a small fraction of a bin.

Candan's formula on the three strongest Fourier coefficients S starts: with the peak at bin k and

    r = Re((S[k-1] - S[k+1]) / (2 S[k] - S[k-1] - S[k+1])),

the carrier lies at bin k + N / pi arctan(r tan(pi / N)). Two steps of Aboutanios and Mulgrew's interpolation finish:
with the coefficients A, B half a bin above and below the estimate, each adds Re((A + B) / (A - B)) / 2. Their limit
is 1.0147 times the Cramer-Rao bound of Rife and Boorstyn,

    var(f) >= 6 fs^2 / ((2 pi)^2 snr N (N^2 - 1)),

which is met within a few percent from about 10 dB of snr N upwards, below which the peak itself is found in the
wrong place.

References
----------
C. Candan, "A Method for Fine Resolution Frequency Estimation From Three DFT Samples", IEEE Signal Processing
Letters 18(6), 351-354, 2011; and "Analysis and Further Improvement of Fine Resolution Frequency Estimation Method From
Three DFT Samples", IEEE Signal Processing Letters 20(9), 913-916, 2013.
E. Aboutanios, B. Mulgrew, "Iterative Frequency Estimation by Interpolation on Fourier Coefficients", IEEE
Transactions on Signal Processing 53(4), 1237-1242, 2005.
D. C. Rife, R. R. Boorstyn, "Single-Tone Parameter Estimation from Discrete-Time Observations", IEEE Transactions on
Information Theory 20(5), 591-598, 1974.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Chunks, Column, Spectrum

ITERATIONS = 2
"""Steps of Aboutanios and Mulgrew's interpolation; the paper shows two to reach its limit from any start."""

MIN_DECIMATED = 256
"""Fewest sums of neighbouring samples that the interpolation works on."""


def carrier_bins(chunks: Chunks, spectrum: Spectrum, grid: Grid, rows: NDArray[np.intp]) -> Column:
    """Estimate the carrier of some chunks.

    Parameters
    ----------
    chunks : ndarray of complex64, shape (chunks, grid.chunk_length)
        The samples.
    spectrum : Spectrum
        Their spectrum, for the peak.
    grid : Grid
        Bins and bands.
    rows : ndarray of int, shape (rows,)
        The chunks that are asked for.

    Returns
    -------
    ndarray, shape (rows,)
        Frequency in bins from the centre frequency, within half a bin of [-num_bins / 2, num_bins / 2).
    """
    size = grid.num_bins
    strongest = np.abs(spectrum.peak_bins[rows, 1:4]).argmax(axis=1)  # the window may have shifted the peak by one bin
    lower, middle, upper = (spectrum.peak_bins[rows, strongest + step] for step in range(3))
    curvature = 2 * middle - lower - upper
    flat = curvature == 0
    ratio = np.real((lower - upper) / np.where(flat, 1, curvature))
    slope = np.tan(np.pi / size) / (np.pi / size)
    fraction = np.arctan(np.clip(slope * ratio, -1, 1) * np.pi / size) * size / np.pi
    start = spectrum.peak[rows] + (strongest - 1) + grid.first_bin + np.where(flat, 0, fraction)
    return _interpolate(chunks[rows, :size], start)


def _interpolate(samples: Chunks, start: Column) -> Column:
    """Refine frequencies by the coefficients half a bin to either side of them.

    Mixing the samples down to ``start`` leaves a residue below one bin, so that sums of neighbouring samples carry
    all of it; the iteration runs on these sums.
    """
    size = samples.shape[1]
    factor = _decimation(size)
    cycles = start[:, np.newaxis] / size
    within = np.exp(-2j * np.pi * cycles * np.arange(factor)).astype(np.complex64)
    sums = np.matmul(samples.reshape(len(samples), size // factor, factor), within[:, :, np.newaxis])[:, :, 0]
    time = np.arange(0, size, factor)
    mixed = sums * np.exp(-2j * np.pi * np.mod(cycles * time, 1))
    half_bin = np.exp(-1j * np.pi * time / size)
    residue = np.zeros(len(samples))
    for _ in range(ITERATIONS):
        shifted = mixed * np.exp(-2j * np.pi * residue[:, np.newaxis] * time / size)
        above, below = shifted @ half_bin, shifted @ half_bin.conj()
        residue += 0.5 * np.real((above + below) / (above - below))
    return start + residue


def _decimation(size: int) -> int:
    """Return the largest divisor of size up to 64 that leaves enough sums."""
    return max(n for n in range(1, 65) if size % n == 0 and (n == 1 or size // n >= MIN_DECIMATED))
