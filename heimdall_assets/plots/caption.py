"""What the pictures say in words: numbers with units, and the reason where there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from heimdall_assets.plots.view import RecordingView

SEPARATOR = " · "
MOST_DIGITS = 7
"""After the point."""

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def scale_of(value_hz: float) -> tuple[float, str]:
    """Factor and unit in which a frequency reads best, such as (1000.0, "kHz")."""
    factor, prefix = next((pair for pair in PREFIXES if abs(value_hz) >= pair[0]), PREFIXES[-1])
    return factor, f"{prefix}Hz"


def frequency(value_hz: float, deviation_hz: float = 0.0) -> str:
    """A measured frequency in its best unit, with its standard deviation, to two digits of that."""
    factor, unit = scale_of(value_hz)
    value, deviation = value_hz / factor, deviation_hz / factor
    if deviation <= 10.0**-MOST_DIGITS:
        digits = 3 if abs(value) < 10 else 2 if abs(value) < 1000 and factor > 1 else 1
        return f"{value:.{digits}f} {unit}"
    digits = int(min(max(1 - math.floor(math.log10(deviation)), 0), MOST_DIGITS))
    return f"{value:.{digits}f} ± {deviation:.{digits}f} {unit}"


def spacing(value_hz: float) -> str:
    """A set frequency in its best unit, to three significant digits."""
    factor, unit = scale_of(value_hz)
    return f"{value_hz / factor:.3g} {unit}"


def seconds(value_s: float) -> str:
    """A time to the millisecond, short ones to three significant digits."""
    text = f"{value_s:.3f}".rstrip("0").rstrip(".") if value_s >= 0.1 else f"{value_s:.3g}"
    return f"{text} s"


def source_line(view: RecordingView) -> str:
    """Where and when, as far as it is known: centre frequency, time, format, rate, duration."""
    factor, unit = scale_of(view.sample_rate_hz)
    parts = [
        "centre frequency unknown" if view.center_frequency_hz is None else center_text(view),
        "start time unknown" if view.start_time is None else f"{view.start_time:%Y-%m-%d %H:%M:%S} UTC",
        f"{view.format}, {view.sample_rate_hz / factor:.6g} {unit[:-2]}S/s",
        seconds(view.overview.duration_s),
    ]
    return SEPARATOR.join(parts)


def findings_line(view: RecordingView) -> str:
    """What was measured in the analysed chunks."""
    notes = view.spectrum.figures.notes
    count = notes["num_chunks"]
    present = round((view.spectrum.figures.features["signal_present"]["mean"] or 0.0) * count)
    power = _figure(view, "rssi_dbm", "power", lambda value: f"{value:.1f} dBm")
    if not present:
        return SEPARATOR.join([f"no signal in {_chunks(count)}", power])
    decision = f"signal present in {present} of {_chunks(count)}"
    return SEPARATOR.join([decision, power, snr_text(view), bandwidth_text(view), line_text(view)])


def snr_text(view: RecordingView) -> str:
    """SNR, or why there is none; a lower bound where the noise floor is an upper one."""
    word = "SNR at least" if view.spectrum.figures.notes["noise_floor_is_upper_bound"] else "SNR"
    return _figure(view, "snr_db", word, lambda value: f"{value:.1f} dB")


def noise_text(view: RecordingView) -> str:
    """Power density of the noise, or its upper bound, or why there is none; and the origin of its shape."""
    notes = view.spectrum.figures.notes
    word = "noise at most" if notes["noise_floor_is_upper_bound"] else "noise"
    shape = "" if notes["response_db"] is None else f" (response {notes['response_origin']})"
    return _figure(view, "psd_dbm_per_hz", word, lambda value: f"{value:.1f} dBm/Hz{shape}")


def bandwidth_text(view: RecordingView) -> str:
    """Occupied bandwidth, or why there is none."""
    return _figure(view, "bandwidth_hz", "99 % bandwidth", frequency)


def line_text(view: RecordingView) -> str:
    """Offset of the carrier or of the centroid, or why there is none."""
    name = view.spectrum.figures.notes["frequency_offset_is"] or "carrier"
    deviation = view.spectrum.figures.features["frequency_offset_hz"]["std"] or 0.0
    return _figure(view, "frequency_offset_hz", name, lambda value: f"at {frequency(value, deviation)}")


def remarks(view: RecordingView) -> list[str]:
    """What a reader must know to use the numbers."""
    return [str(remark) for remark in view.spectrum.figures.notes["remarks"]]


def chunks_text(view: RecordingView) -> str:
    """Which chunks were analysed."""
    notes = view.spectrum.figures.notes
    first, last = view.analysed_s
    return f"{_chunks(notes['num_chunks'])} of {notes['chunk_duration_ms']:.4g} ms, {seconds(first)} to {seconds(last)}"


def share_text(view: RecordingView) -> str:
    """How much of the recording was looked at, where that is not all; else empty."""
    share = view.overview.share_read
    return "" if share >= 1 else f", {100 * share:.2g} % of the samples looked at"


def center_text(view: RecordingView) -> str:
    """The centre frequency, to the hertz and beyond; in words where it is unknown."""
    if view.center_frequency_hz is None:
        return "the centre frequency"
    factor, unit = scale_of(view.center_frequency_hz)
    return f"{view.center_frequency_hz / factor:.10g} {unit}"


def passband_text(view: RecordingView) -> str:
    """What lies outside of the receiver's filter, and who says so."""
    low_hz, high_hz = view.spectrum.passband_hz or (0.0, 0.0)
    factor, unit = scale_of(max(-low_hz, high_hz))
    limits = f"{low_hz / factor:.4g} to {high_hz / factor:.4g} {unit}"
    return f"outside of the receiver's filter ({limits}, {view.spectrum.figures.notes['passband_origin']})"


def _chunks(count: int) -> str:
    return f"{count} chunk{'' if count == 1 else 's'}"


def _figure(view: RecordingView, name: str, word: str, text: Callable[[float], str]) -> str:
    value = view.spectrum.figures.features[name]["mean"]
    if value is None:
        return f"{word} unknown ({view.spectrum.figures.notes['null'].get(name, 'undefined')})"
    return f"{word} {text(value)}"
