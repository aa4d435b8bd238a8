"""What a picture of a spectrum shows: the spectrum that was measured, and what the figures say about it.

Figures, bands, support and edges all come from one analysis of the same chunks. So a picture cannot say anything else
than the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.analysis import Figures, Measured
from heimdall_assets.dsp.request import Request

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from heimdall_assets.dsp.chunks import Group
    from heimdall_assets.dsp.front_end import FrontEnd
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.kernel import Examined


@dataclass(frozen=True, slots=True)
class SpectrumView:
    """The mean spectrum of some chunks, and what was found in it.

    Attributes
    ----------
    band_edges_hz : ndarray, shape (bands + 1,)
        Limits of the bands, ascending, from the centre frequency.
    density_dbm_per_hz : ndarray, shape (bands,)
        Power density of each band, averaged over its bins and the chunks; NaN where it is 0.
    peak_density_dbm_per_hz : ndarray, shape (bands,)
        The same of its strongest bin, the bins averaged over the chunks.
    bin_hz : float
        Distance of two bins.
    support_share : ndarray, shape (bands,)
        In which share of the chunks with a signal the band holds some of it, guard bands included; 0 without a signal.
    edges_hz : ndarray, shape (chunks, 2)
        Edges of the occupied bandwidth in each chunk with a signal; bandwidth_hz apart.
    response_db : ndarray, shape (bands,), or None
        Noise of each band over its mean in the passband, by the receiver's response; NaN outside. None: white.
    noise_dbm_per_hz, carrier_hz : float or None
        psd_dbm_per_hz and frequency_offset_hz of the figures.
    passband_hz : (float, float) or None
        Limits that the analysis kept within; None: the sampled band.
    figures : Figures
        Features and notes of these chunks.
    """

    band_edges_hz: NDArray[np.float64]
    density_dbm_per_hz: NDArray[np.float64]
    peak_density_dbm_per_hz: NDArray[np.float64]
    bin_hz: float
    support_share: NDArray[np.float64]
    edges_hz: NDArray[np.float64]
    response_db: NDArray[np.float64] | None
    noise_dbm_per_hz: float | None
    carrier_hz: float | None
    passband_hz: tuple[float, float] | None
    figures: Figures


class _Sums:
    """Sums over the chunks of a recording."""

    def __init__(self) -> None:
        self.grid: Grid | None = None
        self.bin_power = np.zeros(0)
        self.chunks = 0
        self.support = np.zeros(0)
        self.edges: list[NDArray[np.float64]] = []

    def add(self, group: Group, found: Examined) -> None:
        """Add a group of chunks; those cut short by gaps are drawn over the bands of the first ones."""
        spectrum, own = found.spectrum, group.grid
        if self.grid is None:
            self.grid, self.bin_power, self.support = own, np.zeros(own.num_bins), np.zeros(own.num_bands)
        grid = self.grid
        scales = np.broadcast_to(spectrum.unit * group.power_scale, len(group.chunks)).astype(np.float64)
        bin_power = scales @ spectrum.bin_power
        present = found.detection.present
        support = found.detection.support[present].sum(axis=0)
        if own != grid:
            bin_power = bin_power[_nearest(grid.num_bins, own.num_bins)] * (grid.bin_hz / own.bin_hz)
            support = support[_nearest(grid.num_bands, own.num_bands)]
        self.bin_power += bin_power
        self.support += support
        self.chunks += len(group.chunks)
        shape = found.shape
        self.edges.append(np.column_stack([shape.lower_edge, shape.upper_edge])[present] * own.bin_hz)


def _nearest(count: int, own: int) -> NDArray[np.intp]:
    """Return which of ``own`` equal parts of the band lies nearest to each of ``count``."""
    return ((np.arange(count) + 0.5) * own / count).astype(np.intp)


def spectrum_view(
    samples: ArrayLike,
    sample_rate_hz: float,
    *,
    chunk_duration_ms: float = 200.0,
    num_chunks: int | None = 5,
    false_alarm_probability: float = 1e-3,
    calibration_db: float = 30.0,
    passband_hz: tuple[float, float] | None = None,
    remove_dc: bool = False,
    response: ArrayLike | None = None,
) -> SpectrumView:
    """Analyse a recording and keep what a picture needs.

    Parameters and errors are those of :func:`~heimdall_assets.dsp.analyze`.

    Returns
    -------
    SpectrumView
        Spectrum, support, edges, and the figures.
    """
    request = Request.checked(
        sample_rate_hz=sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=num_chunks,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=passband_hz,
        remove_dc=remove_dc,
        response=response,
    )
    sums = _Sums()
    measured = Measured.of(samples, request, keep=sums.add)
    figures = Figures(measured.features(), measured.notes())
    grid, front = sums.grid or measured.reader.grid, measured.front
    limits = figures.notes["passband_hz"]
    noise_dbm_per_hz = figures.features["psd_dbm_per_hz"]["mean"]
    edges_hz = np.concatenate(sums.edges)
    density = sums.bin_power.reshape(grid.num_bands, -1) / sums.chunks / grid.bin_hz
    return SpectrumView(
        band_edges_hz=grid.band_edges_hz(),
        density_dbm_per_hz=_decibel(density.mean(axis=1)) + calibration_db,
        peak_density_dbm_per_hz=_decibel(density.max(axis=1)) + calibration_db,
        bin_hz=grid.bin_hz,
        support_share=sums.support / max(1, len(edges_hz)),
        edges_hz=edges_hz,
        noise_dbm_per_hz=noise_dbm_per_hz,
        response_db=None if front.response is None else _in_band(front, grid),
        carrier_hz=figures.features["frequency_offset_hz"]["mean"],
        passband_hz=None if limits is None else (limits[0], limits[1]),
        figures=figures,
    )


def _in_band(front: FrontEnd, grid: Grid) -> NDArray[np.float64]:
    bands = front.bands(grid)
    relative = np.full(grid.num_bands, np.nan)
    if front.response is not None:
        relative[bands] = front.response.over(grid, bands)[bands]
    return _decibel(relative)


def _decibel(power: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 10 * np.log10(np.where(power > 0, power, np.nan))
    return result
