"""From chunks of samples to one row of quantities a chunk: everything that the features are made of.

The passes over samples (``transform``, ``carrier``) are apart from the work on bands (``noise``, ``detection``,
``shape``), so that the former can be replaced by compiled ones without touching the latter. No state is shared
between calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.carrier import carrier_bins
from heimdall_assets.dsp.confidence import probability_floor, probability_right, snr_deviation
from heimdall_assets.dsp.detection import detect
from heimdall_assets.dsp.noise import RESOLUTION, SPECTRAL_START, noise_floor
from heimdall_assets.dsp.passband import Passband, estimate_passband
from heimdall_assets.dsp.rows import Rows
from heimdall_assets.dsp.shape import shape_of
from heimdall_assets.dsp.transform import power_in_bands, transform

if TYPE_CHECKING:
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Chunks, Spectrum, Waveform

LEAST_LINE_SHARE = 0.1
"""A line that holds less of the signal's power is not looked at closer."""

TRUSTED_NOISE_RATIO = 0.5
"""The signal's power is the total less the noise where it exceeds this multiple of the noise."""


def measure(
    chunks: Chunks, grid: Grid, false_alarm_probability: float, passband: Passband | None, *, may_estimate: bool
) -> tuple[Rows, Passband | None]:
    """Measure every chunk.

    Parameters
    ----------
    chunks : ndarray of complex64, shape (chunks, grid.chunk_length)
        Finite samples, no chunk all zero.
    grid : Grid
        Bins and bands.
    false_alarm_probability : float
        Of ``is_present`` in a chunk of noise.
    passband : Passband or None
        Frequencies to work in.
    may_estimate : bool
        Without a passband, look whether there is one.

    Returns
    -------
    Rows, Passband or None
        The quantities, and the passband that was used.
    """
    bands = slice(0, grid.num_bands) if passband is None else passband.bands(grid)
    waveform, spectrum = transform(chunks, grid, _bins(bands, grid))
    if passband is None and may_estimate:
        passband = estimate_passband(spectrum.band_power, float(waveform.power.mean()), chunks[0], grid)
        if passband is not None:
            bands = passband.bands(grid)
            waveform, spectrum = transform(chunks, grid, _bins(bands, grid))
    is_whole = passband is None
    return _rows(chunks, grid, waveform, spectrum, bands, is_whole, false_alarm_probability), passband


def _bins(bands: slice, grid: Grid) -> slice:
    return slice(bands.start * grid.bins_per_band, bands.stop * grid.bins_per_band)


def _rows(
    chunks: Chunks,
    grid: Grid,
    waveform: Waveform,
    spectrum: Spectrum,
    bands: slice,
    is_whole: bool,
    false_alarm_probability: float,
) -> Rows:
    """Work on the bands; those outside of ``bands`` hold neither noise nor signal, unless ``is_whole``."""
    num_bins = (bands.stop - bands.start) * grid.bins_per_band
    band_power = spectrum.band_power[:, bands]
    floor = noise_floor(band_power, grid, waveform.slot_power if is_whole else None)
    floor = floor.above(RESOLUTION * waveform.power / grid.num_bins)
    noise = floor.per_bin
    detection = detect(
        band_power,
        spectrum.bin_power[np.arange(len(chunks)), spectrum.peak].astype(np.float64) * spectrum.unit,
        spectrum.peak // grid.bins_per_band - bands.start,
        noise,
        grid,
        false_alarm_probability,
    ).among(bands, grid.num_bands)
    shape = shape_of(spectrum, detection, noise, grid)
    noise_power = noise * num_bins
    support_bins = detection.support.sum(axis=1) * grid.bins_per_band
    excess = (waveform.power if is_whole else spectrum.searched_power) - noise_power
    is_trusted = excess > TRUSTED_NOISE_RATIO * noise_power
    signal_power = excess.copy()
    weak = np.flatnonzero(detection.present & ~is_trusted)
    if weak.size:
        in_support = power_in_bands(chunks[weak], grid, detection.support[weak])
        signal_power[weak] = in_support - noise[weak] * support_bins[weak]
    snr = signal_power / noise_power
    counted_bins = np.where(is_trusted, num_bins, support_bins)
    free_bins = np.maximum(num_bins - support_bins, SPECTRAL_START * num_bins)  # the floor rests on no fewer
    deviation = snr_deviation(signal_power / noise, counted_bins, free_bins)
    has_line = detection.present & (shape.line_share > LEAST_LINE_SHARE)
    carrier = np.full(len(chunks), np.nan)
    carrier[has_line] = carrier_bins(chunks, spectrum, grid, np.flatnonzero(has_line))
    return Rows(
        power=waveform.power,
        mean_magnitude=waveform.mean_magnitude,
        peak_power=waveform.peak_power,
        crossings=waveform.crossings,
        noise_per_hz=noise / grid.bin_hz,
        noise_power=noise_power,
        is_resolved=floor.is_resolved.astype(np.float64),
        margin=detection.margin,
        is_present=detection.present.astype(np.float64),
        signal_power=signal_power,
        line_share=shape.line_share,
        carrier_hz=carrier * grid.bin_hz,
        centroid_hz=shape.centroid * grid.bin_hz,
        rolloff_hz=shape.rolloff * grid.bin_hz,
        bandwidth_hz=(shape.upper_edge - shape.lower_edge) * grid.bin_hz,
        snr_deviation=deviation,
        floor_spread_db=floor.spread_db,
        floor_dispersion=floor.dispersion,
        floor_trust=probability_floor(snr, floor),
        dc_share=np.minimum(spectrum.dc_power / waveform.power, 1),
        gap_share=(waveform.slot_power == 0).mean(axis=1),
        confidence=probability_right(detection.margin, deviation, snr, floor),
    )
