"""What a picture of a spectrum shows: the spectrum that was measured, and what the figures say about it.

The figures are those of :func:`~heimdall_assets.dsp.analyze`; bands, support and edges come from the same steps
(transform, noise, detection, shape) on the same chunks, within the passband that the analysis found. So a picture
cannot say anything else than the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.analysis import analyze
from heimdall_assets.dsp.chunks import ChunkReader
from heimdall_assets.dsp.detection import detect
from heimdall_assets.dsp.noise import RESOLUTION, noise_floor
from heimdall_assets.dsp.request import Request
from heimdall_assets.dsp.shape import shape_of
from heimdall_assets.dsp.transform import transform

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from heimdall_assets.dsp.analysis import Figures
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Chunks


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
    noise_dbm_per_hz: float | None
    carrier_hz: float | None
    passband_hz: tuple[float, float] | None
    figures: Figures


class _Sums:
    """Sums over chunks, of which groups are added one after the other."""

    def __init__(self, grid: Grid) -> None:
        self.bin_power = np.zeros(grid.num_bins)
        self.chunks = 0
        self.support = np.zeros(grid.num_bands)
        self.edges: list[NDArray[np.float64]] = []

    def add(self, chunks: Chunks, power_scale: float, grid: Grid, request: Request) -> None:
        bands = slice(0, grid.num_bands) if request.passband is None else request.passband.bands(grid)
        width = grid.bins_per_band
        searched = slice(bands.start * width, bands.stop * width)
        waveform, spectrum = transform(chunks, grid, searched)
        band_power = spectrum.band_power[:, bands]
        floor = noise_floor(band_power, grid, waveform.slot_power if request.passband is None else None)
        noise = floor.above(RESOLUTION * waveform.power / grid.num_bins).per_bin
        strongest = spectrum.bin_power[np.arange(len(chunks)), spectrum.peak].astype(np.float64) * spectrum.unit
        detection = detect(
            band_power,
            strongest,
            spectrum.peak // width - bands.start,
            noise,
            grid,
            request.false_alarm_probability,
        ).among(bands, grid.num_bands)
        shape = shape_of(spectrum, detection, noise, grid)
        present = detection.present
        self.bin_power += spectrum.bin_power.sum(axis=0, dtype=np.float64) * (spectrum.unit * power_scale)
        self.chunks += len(chunks)
        self.support += detection.support[present].sum(axis=0)
        self.edges.append(np.column_stack([shape.lower_edge, shape.upper_edge])[present] * grid.bin_hz)


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
) -> SpectrumView:
    """Analyse a recording and keep what a picture needs.

    Parameters and errors are those of :func:`~heimdall_assets.dsp.analyze`.

    Returns
    -------
    SpectrumView
        Spectrum, support, edges, and the figures.
    """
    figures = analyze(
        samples,
        sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=num_chunks,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=passband_hz,
        remove_dc=remove_dc,
    )
    limits = figures.notes["passband_hz"]
    request = Request.checked(
        sample_rate_hz=sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=num_chunks,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=limits,
        remove_dc=remove_dc,
    )
    reader = ChunkReader(samples, request)
    grid = reader.grid
    sums = _Sums(grid)
    for chunks, power_scale in reader:
        sums.add(chunks, power_scale, grid, request)
    edges_hz = np.concatenate(sums.edges)
    density = sums.bin_power.reshape(grid.num_bands, -1) / sums.chunks / grid.bin_hz
    return SpectrumView(
        band_edges_hz=grid.band_edges_hz(),
        density_dbm_per_hz=_decibel(density.mean(axis=1)) + calibration_db,
        peak_density_dbm_per_hz=_decibel(density.max(axis=1)) + calibration_db,
        bin_hz=grid.bin_hz,
        support_share=sums.support / max(1, len(edges_hz)),
        edges_hz=edges_hz,
        noise_dbm_per_hz=figures.features["psd_dbm_per_hz"]["mean"],
        carrier_hz=figures.features["frequency_offset_hz"]["mean"],
        passband_hz=None if limits is None else (limits[0], limits[1]),
        figures=figures,
    )


def _decibel(power: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 10 * np.log10(np.where(power > 0, power, np.nan))
    return result
