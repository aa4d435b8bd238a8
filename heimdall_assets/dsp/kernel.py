"""From chunks of samples to one row of quantities a chunk: everything that the features are made of.

The passes over samples (``transform``, ``carrier``) and the work on bands (``noise``, ``detection``, ``shape``) exist
twice, in numpy and compiled; ``passes`` chooses. What is left here is arithmetic on one number a chunk. No state is
shared between calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.confidence import probability_floor, probability_given_floor, snr_deviation
from heimdall_assets.dsp.noise import RESOLUTION, SPECTRAL_START
from heimdall_assets.dsp.passband import ROUNDING_RATIO, Hidden, rounding_power
from heimdall_assets.dsp.passes import current
from heimdall_assets.dsp.rows import Rows, Unresolved
from heimdall_assets.dsp.transform import add_peaks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.detection import Detection
    from heimdall_assets.dsp.front_end import FrontEnd
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.noise import Floor
    from heimdall_assets.dsp.passes import Passes
    from heimdall_assets.dsp.shape import Shape
    from heimdall_assets.dsp.transform import Chunks, Column, Spectrum, Waveform

LEAST_LINE_SHARE = 0.1
"""A line that holds less of the signal's power is not looked at closer."""

IMPLAUSIBLE_SNR = 10**4.5
SKIRT_TRUST = 0.5
"""A floor 45 dB below the signal that is not noise with at least this probability is no floor."""

TRUSTED_NOISE_RATIO = 0.5
"""The signal's power is the total less the noise where it exceeds this multiple of the noise."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in some chunks, before it is made into quantities.

    Attributes
    ----------
    grid : Grid
        Bins and bands.
    front : FrontEnd
        Passband and response that were used.
    bands : slice
        Bands inside of the passband.
    response : ndarray, shape (num_bands,), or None
        Relative noise power of each band, whose mean inside of the passband is 1; None where all are 1.
    waveform, spectrum, floor, detection, shape
        See the classes. The floor's power per bin is the mean inside of the passband.
    """

    grid: Grid
    front: FrontEnd
    bands: slice
    response: Column | None
    waveform: Waveform
    spectrum: Spectrum
    floor: Floor
    detection: Detection
    shape: Shape


def examine(
    chunks: Chunks, grid: Grid, false_alarm_probability: float, front: FrontEnd, *, may_estimate: bool
) -> Examined:
    """Look for the noise floor and for signals in every chunk.

    Parameters
    ----------
    chunks : ndarray of complex64, shape (chunks, grid.chunk_length)
        Finite samples, no chunk all zero.
    grid : Grid
        Bins and bands.
    false_alarm_probability : float
        Probability that a chunk of noise is called a signal.
    front : FrontEnd
        What is known of the receiver.
    may_estimate : bool
        Estimate of the receiver what is not known.
    """
    width, bands = grid.bins_per_band, front.bands(grid)
    waveform, spectrum = current().transform(chunks, grid, slice(bands.start * width, bands.stop * width))
    return examine_spectrum(chunks, waveform, spectrum, grid, false_alarm_probability, front, may_estimate=may_estimate)


def examine_spectrum(
    chunks: Chunks,
    waveform: Waveform,
    spectrum: Spectrum,
    grid: Grid,
    false_alarm_probability: float,
    front: FrontEnd,
    *,
    may_estimate: bool,
) -> Examined:
    """Do what :func:`examine` does where waveform and spectrum are there already; sets the spectrum's peaks anew."""
    use = current()
    width, bands = grid.bins_per_band, front.bands(grid)
    if may_estimate:
        front = front.completed(use, waveform, spectrum, chunks, grid)
        bands = front.bands(grid)
    response = front.relative_noise(grid, bands)
    band_power = spectrum.band_power[:, bands]
    if response is not None or (may_estimate and bands != slice(0, grid.num_bands)):
        relative = np.ones(grid.num_bands) if response is None else response
        spectrum.peak[:] = use.strongest_bins(spectrum.bin_power, relative, bands)
        add_peaks(spectrum)
        band_power = band_power / relative[bands]
    peak_band = spectrum.peak // width
    peak_power = spectrum.bin_power[np.arange(len(chunks)), spectrum.peak].astype(np.float64) * spectrum.unit
    if response is not None:
        peak_power /= response[peak_band]
    floor = use.noise_floor(band_power, grid, waveform.slot_power if front.passband is None else None)
    if front.response is not None and front.response.is_doubtful:
        uneven = use.noise_floor(spectrum.band_power[:, bands], grid, None)
        floor = replace(floor, spread_db=uneven.spread_db, dispersion=uneven.dispersion)
    floor = floor.above(RESOLUTION * waveform.power / grid.num_bins)
    tolerance = 0.0 if front.response is None else front.response.deviation
    detection = use.detect(
        band_power, peak_power, peak_band - bands.start, floor.per_bin, grid, false_alarm_probability, tolerance
    ).among(bands, grid.num_bands)
    shape = use.shape_of(spectrum, detection, floor.per_bin, grid, response)
    return Examined(grid, front, bands, response, waveform, spectrum, floor, detection, shape)


def measure(
    chunks: Chunks, grid: Grid, false_alarm_probability: float, front: FrontEnd, *, may_estimate: bool
) -> tuple[Rows, FrontEnd]:
    """Measure every chunk; parameters as of :func:`examine`.

    Returns
    -------
    Rows, FrontEnd
        The quantities, and the passband and response that were used.
    """
    found = examine(chunks, grid, false_alarm_probability, front, may_estimate=may_estimate)
    return quantities(chunks, found), found.front


def quantities(chunks: Chunks, found: Examined) -> Rows:
    """Return the quantities of chunks in which was found what stands in ``found``."""
    use = current()
    grid, waveform, spectrum, floor = found.grid, found.waveform, found.spectrum, found.floor
    detection, shape = found.detection, found.shape
    count = len(chunks)
    num_bins = (found.bands.stop - found.bands.start) * grid.bins_per_band
    noise = floor.per_bin
    noise_power = noise * num_bins
    support_bins = np.count_nonzero(detection.support, axis=1) * grid.bins_per_band
    present = detection.present & (found.front.hidden is not Hidden.NOISE)
    excess = _power_within(use, found) - noise_power
    is_trusted = excess > TRUSTED_NOISE_RATIO * noise_power
    signal_power = _signal_power(use, found, excess, is_trusted, support_bins)
    snr = signal_power / noise_power
    counted_bins = np.where(is_trusted, num_bins, support_bins)
    free_bins = np.maximum(num_bins - support_bins, SPECTRAL_START * num_bins)  # the floor rests on no fewer
    response_deviation = 0.0 if found.front.response is None else found.front.response.deviation
    deviation = snr_deviation(signal_power / noise, counted_bins, free_bins, response_deviation)
    unresolved = _why_unresolved(chunks, found)
    floor_trust = probability_floor(snr, floor)
    is_skirt = (snr > IMPLAUSIBLE_SNR) & (floor_trust < SKIRT_TRUST) & (unresolved == Unresolved.NOT)
    unresolved[is_skirt] = Unresolved.SKIRT
    floor_trust[unresolved != Unresolved.NOT] = 0.0
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
        unresolved=unresolved,
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
        gap_share=np.zeros(count),
        confidence=probability_given_floor(detection.margin, deviation, floor_trust),
    )


def _why_unresolved(chunks: Chunks, found: Examined) -> Column:
    """Return why the floor of each chunk is not the receiver's noise, :class:`~heimdall_assets.dsp.rows.Unresolved`."""
    floor = found.floor
    why = np.where(floor.is_resolved, float(Unresolved.NOT), float(Unresolved.ARITHMETIC))
    total = floor.per_bin * found.grid.num_bins
    if found.front.hidden is not Hidden.NOTHING:
        why[:] = Unresolved.FILTER
    elif (power := rounding_power(float(total.min()), chunks[0])) > 0:
        why[total < ROUNDING_RATIO * power] = Unresolved.SAMPLES
    return why


def _power_within(use: Passes, found: Examined) -> Column:
    """Return the power of signal and noise together, without a window."""
    if found.front.passband is None:
        return found.waveform.power
    marked = np.zeros((len(found.waveform.power), found.grid.num_bands), bool)
    marked[:, found.bands] = True
    return use.power_in_bands(found.spectrum.coefficients, found.grid, marked)


def _signal_power(
    use: Passes, found: Examined, excess: Column, is_trusted: NDArray[np.bool_], support_bins: NDArray[np.intp]
) -> Column:
    """Return what exceeds the noise: over all bands where that is much, else over those found to hold signal."""
    weak = np.flatnonzero(found.detection.present & ~is_trusted)
    if not weak.size:
        return excess
    signal_power = excess.copy()
    support = found.detection.support[weak]
    in_support = use.power_in_bands(found.spectrum.coefficients[weak], found.grid, support)
    noise_bins: Column = support_bins[weak].astype(np.float64)
    if found.response is not None:
        noise_bins = support @ found.response * found.grid.bins_per_band
    signal_power[weak] = in_support - found.floor.per_bin[weak] * noise_bins
    return signal_power
