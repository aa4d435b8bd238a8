"""From chunks of samples to one row of quantities a chunk: everything that the features are made of.

The passes over samples (``transform``, ``carrier``) and the work on bands (``noise``, ``detection``, ``shape``) exist
twice, in numpy and compiled; ``passes`` chooses. What is left here is arithmetic on one number a chunk. No state is
shared between calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.confidence import probability_floor, probability_given_floor, snr_deviation
from heimdall_assets.dsp.noise import RESOLUTION, SPECTRAL_START
from heimdall_assets.dsp.passband import Passband, estimate_passband
from heimdall_assets.dsp.passes import current
from heimdall_assets.dsp.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.detection import Detection
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.passes import Passes
    from heimdall_assets.dsp.transform import Chunks, Column, Spectrum, Waveform

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
    use = current()
    bands = slice(0, grid.num_bands) if passband is None else passband.bands(grid)
    waveform, spectrum = use.transform(chunks, grid, _bins(bands, grid))
    if passband is None and may_estimate:
        passband = estimate_passband(spectrum.band_power, float(waveform.power.mean()), chunks[0], grid, use.excise)
        if passband is not None:
            bands = passband.bands(grid)
            waveform, spectrum = use.transform(chunks, grid, _bins(bands, grid))
    limits = None if passband is None else bands
    return _rows(use, chunks, grid, waveform, spectrum, limits, false_alarm_probability), passband


def _bins(bands: slice, grid: Grid) -> slice:
    return slice(bands.start * grid.bins_per_band, bands.stop * grid.bins_per_band)


def _rows(
    use: Passes,
    chunks: Chunks,
    grid: Grid,
    waveform: Waveform,
    spectrum: Spectrum,
    limits: slice | None,
    false_alarm_probability: float,
) -> Rows:
    """Work on the bands; those outside of ``limits``, where there are any, hold neither noise nor signal."""
    count = len(chunks)
    bands = slice(0, grid.num_bands) if limits is None else limits
    num_bins = (bands.stop - bands.start) * grid.bins_per_band
    band_power = spectrum.band_power[:, bands]
    floor = use.noise_floor(band_power, grid, waveform.slot_power if limits is None else None)
    floor = floor.above(RESOLUTION * waveform.power / grid.num_bins)
    noise = floor.per_bin
    detection = use.detect(
        band_power,
        spectrum.bin_power[np.arange(count), spectrum.peak].astype(np.float64) * spectrum.unit,
        spectrum.peak // grid.bins_per_band - bands.start,
        noise,
        grid,
        false_alarm_probability,
    ).among(bands, grid.num_bands)
    shape = use.shape_of(spectrum, detection, noise, grid)
    noise_power = noise * num_bins
    support_bins = np.count_nonzero(detection.support, axis=1) * grid.bins_per_band
    present = detection.present
    excess = _power_within(use, waveform, spectrum, limits, grid) - noise_power
    is_trusted = excess > TRUSTED_NOISE_RATIO * noise_power
    signal_power = _signal_power(use, spectrum, grid, detection, noise, excess, is_trusted, support_bins)
    snr = signal_power / noise_power
    counted_bins = np.where(is_trusted, num_bins, support_bins)
    free_bins = np.maximum(num_bins - support_bins, SPECTRAL_START * num_bins)  # the floor rests on no fewer
    deviation = snr_deviation(signal_power / noise, counted_bins, free_bins)
    floor_trust = probability_floor(snr, floor)
    with_line = np.flatnonzero(present & (shape.line_share > LEAST_LINE_SHARE))
    carrier = np.full(count, np.nan)
    if with_line.size:
        carrier[with_line] = use.carrier_bins(chunks, spectrum, grid, with_line)
    return Rows(
        power=waveform.power,
        mean_magnitude=waveform.mean_magnitude,
        peak_power=waveform.peak_power,
        crossings=waveform.crossings,
        noise_per_hz=noise / grid.bin_hz,
        noise_power=noise_power,
        is_resolved=floor.is_resolved.astype(np.float64),
        margin=detection.margin,
        is_present=present.astype(np.float64),
        signal_power=signal_power,
        line_share=shape.line_share,
        carrier_hz=carrier * grid.bin_hz,
        centroid_hz=shape.centroid * grid.bin_hz,
        rolloff_hz=shape.rolloff * grid.bin_hz,
        bandwidth_hz=(shape.upper_edge - shape.lower_edge) * grid.bin_hz,
        snr_deviation=deviation,
        floor_spread_db=floor.spread_db,
        floor_dispersion=floor.dispersion,
        floor_trust=floor_trust,
        dc_share=np.minimum(spectrum.dc_power / waveform.power, 1),
        gap_share=np.count_nonzero(waveform.slot_power == 0, axis=1) / waveform.slot_power.shape[1],
        confidence=probability_given_floor(detection.margin, deviation, floor_trust),
    )


def _power_within(use: Passes, waveform: Waveform, spectrum: Spectrum, limits: slice | None, grid: Grid) -> Column:
    """Return the power of signal and noise together, without a window."""
    if limits is None:
        return waveform.power
    marked = np.zeros((len(waveform.power), grid.num_bands), bool)
    marked[:, limits] = True
    return use.power_in_bands(spectrum.coefficients, grid, marked)


def _signal_power(
    use: Passes,
    spectrum: Spectrum,
    grid: Grid,
    detection: Detection,
    noise: Column,
    excess: Column,
    is_trusted: NDArray[np.bool_],
    support_bins: NDArray[np.intp],
) -> Column:
    """Return what exceeds the noise: over all bands where that is much, else over those found to hold signal."""
    weak = np.flatnonzero(detection.present & ~is_trusted)
    if not weak.size:
        return excess
    signal_power = excess.copy()
    in_support = use.power_in_bands(spectrum.coefficients[weak], grid, detection.support[weak])
    signal_power[weak] = in_support - noise[weak] * support_bins[weak]
    return signal_power
