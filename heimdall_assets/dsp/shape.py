"""Where in frequency the signal's power lies: occupied bandwidth, centroid, roll-off, and how much is one line.

All figures come from the noise-subtracted spectrum over the bands that detection found. Sums run over bands; only
in the band where a given share of the power is passed are the single bins looked at.

With the noise-subtracted power p[k] of the bins k of the support and P(f) = sum of p below f over the sum of all p,
the edges f1, f2 of the occupied bandwidth f2 - f1 solve P(f1) = beta/2 and P(f2) = 1 - beta/2 with beta = 1 %, the
roll-off solves P(f) = 0.85, and the centroid is sum f p / sum p.

References
----------
Recommendation ITU-R SM.328, "Spectra and bandwidth of emissions", for the definition; Recommendation ITU-R
SM.443-4, "Bandwidth measurement at monitoring stations", Annex 1, 2007, for the measurement.
G. Tzanetakis, P. Cook, "Musical Genre Classification of Audio Signals", IEEE Transactions on Speech and Audio
Processing 10(5), 293-302, 2002, for the 85 % of the roll-off, there of magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.detection import Detection
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Column, Spectrum

EDGE_SHARE = 0.005
"""Share of the power beyond either edge of the occupied bandwidth (ITU-R SM.328: beta/2 = 0.5 %)."""

ROLLOFF_SHARE = 0.85
LINE_REACH = 8
"""Bins to either side of a lone line in which its power is counted."""

LINE_BINS = 2
"""Bins to either side of the peak that hold a line under the Hann window."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of each chunk's signal; a value a chunk, meaningless where no signal is present.

    Attributes
    ----------
    power : ndarray, shape (chunks,)
        Noise-subtracted power over the support.
    lower_edge, upper_edge, rolloff, centroid : ndarray, shape (chunks,)
        In bins from the centre frequency.
    line_share : ndarray, shape (chunks,)
        Share of that power in the strongest bin and its two neighbours to either side, in [0, 1].
    """

    power: Column
    lower_edge: Column
    upper_edge: Column
    rolloff: Column
    centroid: Column
    line_share: Column


def shape_of(
    spectrum: Spectrum, detection: Detection, noise: Column, grid: Grid, response: Column | None = None
) -> Shape:
    """Measure the shape of every chunk's signal.

    Parameters
    ----------
    spectrum : Spectrum
        Bins and bands of the chunks.
    detection : Detection
        Support of the signals.
    noise : ndarray, shape (chunks,)
        Noise power a bin.
    grid : Grid
        Bins and bands.
    response : ndarray, shape (num_bands,), or None
        Relative noise power of each band; None where all are 1.

    Returns
    -------
    Shape
        In bins.
    """
    count = len(noise)
    of_band = np.broadcast_to(noise[:, np.newaxis], detection.support.shape)
    if response is not None:
        of_band = of_band * response
    at_peak = of_band[np.arange(count), spectrum.peak // grid.bins_per_band]
    result = Shape(*(np.full(count, np.nan) for _ in range(6)))
    wide = detection.present & ~detection.single
    if wide.any():
        _measure_bands(spectrum, detection, of_band, grid, np.flatnonzero(wide), result)
    lone = detection.present & detection.single
    if lone.any():
        _measure_line(spectrum, at_peak, grid, np.flatnonzero(lone), result)
    share = _around_peak(spectrum, at_peak, LINE_BINS).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        result.line_share[:] = np.clip(share / result.power, 0, 1)
    return result


def _measure_bands(
    spectrum: Spectrum,
    detection: Detection,
    noise: NDArray[np.float64],
    grid: Grid,
    rows: NDArray[np.intp],
    out: Shape,
) -> None:
    width = grid.bins_per_band
    floor = noise[rows]
    support = detection.support[rows]
    power = np.where(support, (spectrum.band_power[rows] - floor) * width, 0.0)
    moment = np.where(support, spectrum.band_moment[rows] - floor * (width * (width - 1) / 2), 0.0)
    first = grid.first_bin + np.arange(grid.num_bands) * width
    passed = np.cumsum(power, axis=1)
    total = np.maximum(passed[:, -1], np.finfo(np.float64).tiny)
    out.power[rows] = passed[:, -1]
    out.centroid[rows] = (power @ first + moment.sum(axis=1)) / total
    bins = spectrum.bin_power.reshape(-1, grid.num_bands, width)
    for share, column in (
        (EDGE_SHARE, out.lower_edge),
        (1 - EDGE_SHARE, out.upper_edge),
        (ROLLOFF_SHARE, out.rolloff),
    ):
        target = share * total
        band = (passed >= target[:, np.newaxis]).argmax(axis=1)
        before = np.take_along_axis(passed - power, band[:, np.newaxis], axis=1)
        inside = bins[rows, band] * spectrum.unit - np.take_along_axis(floor, band[:, np.newaxis], axis=1)
        column[rows] = first[band] + crossing(before + np.cumsum(inside, axis=1), before[:, 0], target)


def _measure_line(spectrum: Spectrum, noise: Column, grid: Grid, rows: NDArray[np.intp], out: Shape) -> None:
    power = _around_peak(spectrum, noise, LINE_REACH)[rows]
    first = grid.first_bin + spectrum.peak[rows] - LINE_REACH
    passed = np.cumsum(power, axis=1)
    total = passed[:, -1]
    out.power[rows] = total
    out.centroid[rows] = first + power @ np.arange(power.shape[1]) / total
    nothing = np.zeros(len(rows))
    out.lower_edge[rows] = first + crossing(passed, nothing, EDGE_SHARE * total)
    out.upper_edge[rows] = first + crossing(passed, nothing, (1 - EDGE_SHARE) * total)
    out.rolloff[rows] = first + crossing(passed, nothing, ROLLOFF_SHARE * total)


def _around_peak(spectrum: Spectrum, noise: Column, reach: int) -> NDArray[np.float64]:
    """Return the noise-subtracted power of the bins around the peak, shape (chunks, 2 reach + 1), cyclic."""
    size = spectrum.bin_power.shape[1]
    bins = (spectrum.peak[:, np.newaxis] + np.arange(-reach, reach + 1)) % size
    around = np.take_along_axis(spectrum.bin_power, bins, axis=1).astype(np.float64)
    return around * spectrum.unit - noise[:, np.newaxis]


def crossing(passed: NDArray[np.float64], before: Column, target: Column) -> Column:
    """Return where a cumulative power reaches a target, in bins from the centre of the first bin.

    Parameters
    ----------
    passed : ndarray, shape (rows, bins)
        Power up to the upper edge of each bin.
    before, target : ndarray, shape (rows,)
        Power below the first bin, and the power to reach.

    Returns
    -------
    ndarray, shape (rows,)
        Interpolated linearly inside the bin; the upper edge of the last bin where rounding leaves the target
        unreached.
    """
    reached = passed >= target[:, np.newaxis]
    index = np.where(reached.any(axis=1), reached.argmax(axis=1), passed.shape[1] - 1)
    rows = np.arange(len(passed))
    upper = passed[rows, index]
    lower = np.where(index > 0, passed[rows, index - 1], before)
    step = np.where(upper > lower, upper - lower, 1.0)
    part = np.where(upper > lower, (target - lower) / step, 0.5)
    position: Column = index - 0.5 + np.clip(part, 0, 1)
    return position
