"""The registry: each of the features, declared once.

Order, names, units, descriptions, sources, when a feature is undefined, and how it is read off a chunk's measured
quantities all stand here; documentation, tables and results are derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.rows import Unresolved, median

if TYPE_CHECKING:
    from collections.abc import Callable

    from heimdall_assets.dsp.rows import Rows
    from heimdall_assets.dsp.transform import Column

CARRIER_SHARE = 0.55
"""A line is the carrier if it holds clearly over half of the signal's power: two equal lines have none."""

NO_SIGNAL = "no signal is present"
NO_FLOOR = "the floor of the spectrum is not the receiver's noise"
NO_FLOOR_SINCE = {
    Unresolved.ARITHMETIC: "no noise above the rounding of single precision (120 dB below the total power)",
    Unresolved.SAMPLES: "no noise above the rounding of the samples to 16 or 24 bits",
    Unresolved.FILTER: "a wide signal in a narrow filter and a strong signal under little noise look the same",
    Unresolved.SKIRT: "the floor is the skirt of a signal or of a filter, far below any receiver's noise",
    Unresolved.GAPS: "so many samples were lost that no stretch is long enough for a noise floor",
}
NO_POWER = "the signal is too weak for its power to be told from the noise"
UNKNOWN_WAVEFORM = "the waveform is unknown: blind estimates call echoes where there are none"


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of a chunk.

    Attributes
    ----------
    name : str
        Key in results.
    unit : str
        Empty for a pure number.
    description, estimator, source : str
        What it means, how it is estimated, and the literature or rule that defines or bounds it; works are named by
        author and year, as in :data:`~heimdall_assets.dsp.references.REFERENCES`.
    null_when : str
        When it is undefined; empty where it never is.
    values : callable
        Rows -> the feature of each chunk, NaN where undefined, shape (chunks,).
    """

    name: str
    unit: str
    description: str
    estimator: str
    source: str
    null_when: str
    values: Callable[[Rows], Column]

    @property
    def is_absolute_power(self) -> bool:
        """True for a power in dBm, which ``values`` gives in dB of |x|^2 = 1: the calibration offset is added."""
        return self.unit.startswith("dBm")


def has_carrier(rows: Rows) -> bool:
    """Tell whether the recording's signal has a carrier.

    One answer for all chunks, by the median share of the strongest line, so that a share near the limit does not
    mix carrier and centroid in one mean.
    """
    present = rows.is_present > 0
    return bool(present.any()) and median(rows.line_share[present]) > CARRIER_SHARE


def why_null(feature: Feature, rows: Rows) -> str:
    """Return the reason for a feature that no chunk defines, the most specific one that applies."""
    if NO_SIGNAL in feature.null_when and not (rows.is_present > 0).any():
        return NO_SIGNAL
    if NO_FLOOR in feature.null_when and rows.unresolved.all():
        return NO_FLOOR_SINCE[Unresolved(int(rows.unresolved.max()))]
    return NO_POWER if feature.name == "snr_db" else feature.null_when


def _decibel(power: Column) -> Column:
    decibel: Column = 10 * np.log10(power, out=np.full(power.shape, np.nan), where=power > 0)
    return decibel


def _where_present(rows: Rows, values: Column) -> Column:
    return np.where(rows.is_present > 0, values, np.nan)


def _where_resolved(rows: Rows, values: Column) -> Column:
    return np.where(rows.unresolved == Unresolved.NOT, values, np.nan)


def _snr_db(rows: Rows) -> Column:
    return _where_present(rows, _where_resolved(rows, _decibel(rows.signal_power / rows.noise_power)))


def _frequency_offset_hz(rows: Rows) -> Column:
    return _where_present(rows, rows.carrier_hz if has_carrier(rows) else rows.centroid_hz)


def _envelope_std(rows: Rows) -> Column:
    return np.sqrt(np.maximum(0, 1 - rows.mean_magnitude**2 / rows.power))


def _undefined(rows: Rows) -> Column:
    return np.full(rows.power.shape, np.nan)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "rssi_dbm",
        "dBm",
        "Received power: 10 log10(mean |x|^2) plus the calibration offset.",
        "Mean of |x|^2 over every sample of the chunk.",
        "Definition; full scale of integer formats is 1, float recordings hold watts (offset 30 dB).",
        "",
        lambda rows: _decibel(rows.power),
    ),
    Feature(
        "snr_db",
        "dB",
        "Signal power over the power of the noise in the receiver's passband.",
        "Total power less the noise floor where that exceeds half of the floor (-3 dB), else the noise-subtracted sum "
        "over the bands that hold signal.",
        "Definition; the noise is that of noise_floor_dbm.",
        f"{NO_SIGNAL}; or {NO_FLOOR}; or {NO_POWER}",
        _snr_db,
    ),
    Feature(
        "noise_floor_dbm",
        "dBm",
        "Power of the noise in the receiver's passband: given, estimated, or else the sampled band.",
        "The spectrum is divided by the receiver's response (given, or estimated as a smooth curve with as few steps "
        "as explain the rest); then forward consecutive mean excision on its bands, in four widths, and on 64 slots of "
        "time: the smallest counts.",
        "Lehtomaki 2007; Vartiainen 2010. Response: Grünwald 2007; Jackson 2005.",
        f"{NO_FLOOR}: rounding of the samples or of the arithmetic, a filter's skirt, or too many lost samples",
        lambda rows: _where_resolved(rows, _decibel(rows.noise_power)),
    ),
    Feature(
        "frequency_offset_hz",
        "Hz",
        "Offset of the carrier from the centre frequency; of the centroid where no line holds over half of the power.",
        "Three Fourier coefficients at the peak, refined by two steps of interpolation half a bin to either side.",
        "Candan 2011; Candan 2013; Aboutanios 2005. Bound: Rife 1974.",
        NO_SIGNAL,
        _frequency_offset_hz,
    ),
    Feature(
        "bandwidth_hz",
        "Hz",
        "99 % occupied bandwidth: 0.5 % of the signal's power lies beyond either edge.",
        "Cumulative noise-subtracted spectrum over the bands that hold signal, edges interpolated within a bin.",
        "ITU-R SM.328 (definition, beta/2 = 0.5 %); ITU-R SM.443 (measurement, the beta % method).",
        NO_SIGNAL,
        lambda rows: _where_present(rows, rows.bandwidth_hz),
    ),
    Feature(
        "psd_dbm_per_hz",
        "dBm/Hz",
        "Power density of the noise: its mean over the passband, where the response makes it differ.",
        "The noise floor over the bandwidth that it was measured in.",
        "Definition.",
        NO_FLOOR,
        lambda rows: _where_resolved(rows, _decibel(rows.noise_per_hz)),
    ),
    Feature(
        "spectral_centroid_hz",
        "Hz",
        "Centre of mass of the signal's power, as an offset from the centre frequency.",
        "First moment of the noise-subtracted spectrum over the bands that hold signal.",
        "Definition.",
        NO_SIGNAL,
        lambda rows: _where_present(rows, rows.centroid_hz),
    ),
    Feature(
        "spectral_rolloff_hz",
        "Hz",
        "Offset from the centre frequency below which 85 % of the signal's power lies.",
        "Cumulative noise-subtracted spectrum over the bands that hold signal, interpolated within a bin.",
        "Tzanetakis 2002, there of magnitudes; here of power, from the lowest frequency upwards.",
        NO_SIGNAL,
        lambda rows: _where_present(rows, rows.rolloff_hz),
    ),
    Feature(
        "envelope_mean",
        "",
        "Mean of |x| over the root mean square of x; 1 for a constant envelope, 0.8862 for complex noise.",
        "Sums over every sample of the chunk.",
        "Rayleigh distribution: sqrt(pi) / 2.",
        "",
        lambda rows: rows.mean_magnitude / np.sqrt(rows.power),
    ),
    Feature(
        "envelope_std",
        "",
        "Standard deviation of |x| over the root mean square of x; 0.4633 for complex noise.",
        "sqrt(1 - envelope_mean^2).",
        "Rayleigh distribution: sqrt(1 - pi / 4).",
        "",
        _envelope_std,
    ),
    Feature(
        "envelope_max",
        "",
        "Largest |x| over the root mean square of x.",
        "The largest of every sample of the chunk.",
        "Definition.",
        "",
        lambda rows: np.sqrt(rows.peak_power / rows.power),
    ),
    Feature(
        "peak_to_avg_ratio_db",
        "dB",
        "Largest |x|^2 over the mean of |x|^2.",
        "20 log10(envelope_max).",
        "Definition.",
        "",
        lambda rows: _decibel(rows.peak_power / rows.power),
    ),
    Feature(
        "zero_crossing_rate",
        "",
        "Sign changes of the real part a sample, in [0, 1]; 2 |f| / fs for a tone, 0.5 for noise.",
        "Signs of neighbouring samples are compared.",
        "Definition.",
        "",
        lambda rows: rows.crossings,
    ),
    Feature(
        "multipath_delay_spread_us",
        "us",
        "RMS delay spread of the channel.",
        "None: no blind estimate was found that keeps quiet where there is no echo.",
        "Rappaport 2002.",
        UNKNOWN_WAVEFORM,
        _undefined,
    ),
    Feature(
        "coherence_bandwidth_khz",
        "kHz",
        "Coherence bandwidth of the channel, 1 / (5 x delay spread): over it frequencies correlate by more than 0.5.",
        "From the delay spread.",
        "Rappaport 2002.",
        UNKNOWN_WAVEFORM,
        _undefined,
    ),
    Feature(
        "delay_spread_confidence",
        "",
        "Probability that the delay spread is right, in [0, 1]; 0 as long as none is given.",
        "0.",
        "Definition.",
        "",
        lambda rows: np.zeros(rows.power.shape),
    ),
    Feature(
        "signal_present",
        "",
        "1 where a chunk holds a signal, else 0; decided at a set false-alarm probability.",
        "Constant false alarm rate: single bins and windows of 1, 4, 16 ... bands within the passband, divided by the "
        "response, against thresholds over the noise floor, the probability shared among all tests.",
        "Kay 1998.",
        "",
        lambda rows: rows.is_present,
    ),
    Feature(
        "confidence_score",
        "",
        "Probability that the decision is right and, where a signal is present, its SNR within 1 dB, in [0, 1].",
        "Two logistic functions: of the detection's margin and the SNR's deviation by chance, and of the evenness of "
        "the noise floor.",
        "Fitted to seeded signals; checked by reliability diagrams on signal classes that were left out: "
        "Niculescu-Mizil 2005.",
        "",
        lambda rows: rows.confidence,
    ),
)
"""The 18 features, in the order of results."""
