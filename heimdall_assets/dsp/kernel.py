"""From chunks of samples to one row of quantities a chunk: everything that the features are made of.

The passes over samples (``transform``, ``carrier``) are apart from the work on bands (``noise``, ``detection``,
``shape``), so that the former can be replaced by compiled ones without touching the latter. No state is shared
between calls.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.carrier import carrier_bins
from heimdall_assets.dsp.confidence import probability_right
from heimdall_assets.dsp.detection import Detection, detect
from heimdall_assets.dsp.noise import RESOLUTION, noise_per_bin
from heimdall_assets.dsp.passband import Passband, estimate_passband
from heimdall_assets.dsp.shape import shape_of
from heimdall_assets.dsp.transform import transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Chunks, Column, Spectrum, Waveform

TRUSTED_NOISE_RATIO = 0.5
"""The signal's power is the total less the noise where it exceeds this multiple of the noise."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Quantities of chunks, each of shape (chunks,).

    Attributes
    ----------
    power, mean_magnitude, peak_power, crossings
        See :class:`~heimdall_assets.dsp.transform.Waveform`.
    noise_per_hz, noise_power : ndarray
        Density of the white noise, and its power in the band that is analysed.
    is_resolved : ndarray
        1 where the noise is stronger than the rounding of the arithmetic, else 0.
    margin, is_present : ndarray
        Largest test statistic over its threshold, and 1 where that is above 1, else 0.
    signal_power : ndarray
        Power of the signal.
    line_share : ndarray
        Share of the signal's power in its strongest line, in [0, 1].
    carrier_hz, centroid_hz, rolloff_hz, bandwidth_hz : ndarray
        Meaningless where no signal is present.
    occupancy : ndarray
        Share of the bands that hold signal, in [0, 1].
    confidence : ndarray
        See :func:`~heimdall_assets.dsp.confidence.probability_right`.
    """

    power: Column
    mean_magnitude: Column
    peak_power: Column
    crossings: Column
    noise_per_hz: Column
    noise_power: Column
    is_resolved: Column
    margin: Column
    is_present: Column
    signal_power: Column
    line_share: Column
    carrier_hz: Column
    centroid_hz: Column
    rolloff_hz: Column
    bandwidth_hz: Column
    occupancy: Column
    confidence: Column

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        """Join the rows of successive groups."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def scaled(self, factor: float) -> Rows:
        """Return the rows of samples whose powers are ``factor`` times as large."""
        powers = {"power", "peak_power", "noise_per_hz", "noise_power", "signal_power"}
        amplitude = np.sqrt(factor)
        return Rows(
            *(
                getattr(self, field.name)
                * (factor if field.name in powers else amplitude if field.name == "mean_magnitude" else 1.0)
                for field in fields(self)
            )
        )


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
    width = grid.bins_per_band
    waveform, spectrum = transform(chunks, grid, slice(bands.start * width, bands.stop * width))
    if passband is None and may_estimate:
        passband = estimate_passband(spectrum.band_power, float(waveform.power.mean()), chunks[0], grid)
        if passband is not None:
            bands = passband.bands(grid)
    return _rows(chunks, grid, waveform, spectrum, bands, passband, false_alarm_probability), passband


def _rows(
    chunks: Chunks,
    grid: Grid,
    waveform: Waveform,
    spectrum: Spectrum,
    bands: slice,
    passband: Passband | None,
    false_alarm_probability: float,
) -> Rows:
    width = grid.bins_per_band
    num_bins = (bands.stop - bands.start) * width
    band_power = spectrum.band_power[:, bands]
    slot_power = waveform.slot_power if passband is None else None
    found_noise = noise_per_bin(band_power, grid, slot_power)
    resolution = RESOLUTION * waveform.power / grid.num_bins
    noise = np.maximum(found_noise, resolution)
    rows = np.arange(len(chunks))
    detection = detect(
        band_power,
        spectrum.bin_power[rows, spectrum.peak].astype(np.float64) * spectrum.unit,
        np.clip(spectrum.peak // width - bands.start, 0, bands.stop - bands.start - 1),
        noise,
        grid,
        false_alarm_probability,
    )
    support = np.zeros(spectrum.band_power.shape, bool)
    support[:, bands] = detection.support
    detection = Detection(detection.margin, detection.line, support, detection.single)
    shape = shape_of(spectrum, detection, noise, grid)
    noise_power = noise * num_bins
    band_total = _power_in_band(waveform, spectrum, bands, passband)
    excess = band_total - noise_power
    signal_power = np.where(excess > TRUSTED_NOISE_RATIO * noise_power, excess, shape.power)
    occupancy = support[:, bands].mean(axis=1)
    return Rows(
        power=waveform.power,
        mean_magnitude=waveform.mean_magnitude,
        peak_power=waveform.peak_power,
        crossings=waveform.crossings,
        noise_per_hz=noise / grid.bin_hz,
        noise_power=noise_power,
        is_resolved=(found_noise > resolution).astype(np.float64),
        margin=detection.margin,
        is_present=detection.present.astype(np.float64),
        signal_power=signal_power,
        line_share=shape.line_share,
        carrier_hz=carrier_bins(chunks, spectrum, grid) * grid.bin_hz,
        centroid_hz=shape.centroid * grid.bin_hz,
        rolloff_hz=shape.rolloff * grid.bin_hz,
        bandwidth_hz=(shape.upper_edge - shape.lower_edge) * grid.bin_hz,
        occupancy=occupancy,
        confidence=probability_right(detection.margin, signal_power / noise_power, occupancy),
    )


def _power_in_band(waveform: Waveform, spectrum: Spectrum, bands: slice, passband: Passband | None) -> Column:
    if passband is None:
        return waveform.power
    if passband.is_estimated:  # next to nothing lies outside
        inside: Column = spectrum.band_power[:, bands].sum(axis=1) / spectrum.band_power.sum(axis=1)
        return waveform.power * inside
    return spectrum.searched_power
