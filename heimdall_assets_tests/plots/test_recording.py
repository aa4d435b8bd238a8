"""The pictures say what was measured: lines, labels and titles, not pixels."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from heimdall_assets.dsp import analyze, spectrum_view
from heimdall_assets.errors import AllZero, BadParameter, TooShort
from heimdall_assets.iq import open_iq
from heimdall_assets.plots import canvas, caption
from heimdall_assets.plots.recording import (
    envelope_figure,
    envelope_png,
    recording_figure,
    recording_png,
    spectrogram_figure,
    spectrogram_png,
    spectrum_figure,
    spectrum_png,
)
from heimdall_assets.plots.theme import LIGHT
from heimdall_assets.plots.view import MAX_ANALYSED_SAMPLES, RecordingView, view_of
from heimdall_assets_tests.dsp.signals import RATE_HZ, WAVEFORMS, cw, noise, noise_like, rounded, tone, with_snr

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

LENGTH = 50_000
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PANELS = {"spectrum": spectrum_figure, "spectrogram": spectrogram_figure, "envelope": envelope_figure}
IMAGES = {"spectrum": spectrum_png, "spectrogram": spectrogram_png, "envelope": envelope_png, "all": recording_png}


def signal(name: str, snr_db: float = 15.0) -> NDArray[np.complex128]:
    rng = np.random.default_rng(21)
    return with_snr(WAVEFORMS[name](rng, LENGTH, RATE_HZ), snr_db, rng)


def view(samples: NDArray[np.complexfloating], folder: Path, **options: object) -> RecordingView:
    np.save(folder / "x.npy", samples.astype(np.complex64))
    with open_iq(folder / "x.npy", sample_rate_hz=RATE_HZ, center_frequency_hz=145.5e6) as recording:
        arguments = {"name": "x.npy", "sample_rate_hz": RATE_HZ, "chunk_duration_ms": 50.0, **options}
        return view_of(recording, **arguments)  # type: ignore[arg-type]


def labelled(axes: Axes, beginning: str) -> list[Line2D]:
    return [line for line in axes.get_lines() if str(line.get_label()).replace("\n", " ").startswith(beginning)]


def legend_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text().replace("\n", " ") for text in legend.get_texts()]


def title_of(figure: Figure) -> str:
    return figure.get_suptitle()


@pytest.mark.parametrize("name", ["cw", "qpsk", "burst", "ofdm"])
def test_the_lines_of_the_spectrum_stand_where_the_features_say(name: str, tmp_path: Path) -> None:
    samples = signal(name).astype(np.complex64)
    features = analyze(samples, RATE_HZ, chunk_duration_ms=50.0).features
    (axes,) = spectrum_figure(view(samples, tmp_path)).axes
    (floor,) = labelled(axes, "noise ")
    assert set(np.asarray(floor.get_ydata()).tolist()) == {features["psd_dbm_per_hz"]["mean"]}
    (position,) = labelled(axes, "carrier at " if name == "cw" else "centroid at ")
    assert np.asarray(position.get_xdata())[0] * 1000 == pytest.approx(features["frequency_offset_hz"]["mean"])
    green = [line for line in axes.get_lines() if line.get_color() == labelled(axes, "99 % bandwidth")[0].get_color()]
    edges_khz = np.array([np.asarray(line.get_xdata())[0] for line in green]).reshape(-1, 2)
    assert len(edges_khz) == round(5 * (features["signal_present"]["mean"] or 0)) > 1
    assert 1000 * np.diff(edges_khz).mean() == pytest.approx(features["bandwidth_hz"]["mean"])
    low, high = axes.get_ylim()
    assert low < (features["psd_dbm_per_hz"]["mean"] or 0) < high


def test_axes_state_quantity_and_unit(tmp_path: Path) -> None:
    spectrum, spectrogram, envelope = (
        axes for axes in recording_figure(view(signal("qpsk"), tmp_path)).axes if axes.get_title(loc="left")
    )
    assert spectrum.get_xlabel() == "offset from 145.5 MHz (kHz)"
    assert spectrum.get_ylabel() == "power density (dBm/Hz)"
    assert spectrum.get_xlim() == (-100, 100)
    assert spectrum.get_title(loc="left") == "Spectrum: 5 chunks of 50 ms, 0 s to 0.25 s"
    assert spectrogram.get_xlabel() == envelope.get_xlabel() == "time from the start (s)"
    assert spectrogram.get_ylabel() == "offset from 145.5 MHz\n(kHz)"
    assert spectrogram.get_title(loc="left") == "Spectrogram: Hann window of 256 samples, bins of 781 Hz"
    assert spectrogram.images[0].get_extent() == pytest.approx([0, 0.25, -100, 100])
    assert spectrogram.child_axes[0].get_ylabel() == "dBm/Hz"
    assert envelope.get_ylabel() == "|x| / rms"


def test_the_title_says_where_when_and_what_was_found(tmp_path: Path) -> None:
    seen = view(with_snr(tone(12_345.6, LENGTH, RATE_HZ), 20, np.random.default_rng(1)), tmp_path)
    when = datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    lines = title_of(recording_figure(replace(seen, name="DF0KL", start_time=when))).splitlines()
    assert lines[:2] == ["DF0KL", "145.5 MHz · 2017-11-27 10:41:56 UTC · npy, 200 kS/s · 0.25 s"]
    assert lines[2].startswith("signal present in 5 of 5 chunks · power 50.0 dBm · SNR 20.0 dB · 99 % bandwidth ")
    assert " · carrier at 12.345" in lines[2]
    assert lines[3] == "The receiver's power is not calibrated: dBm are dB of full scale plus 30."


def test_a_recording_of_noise_shows_no_signal_and_says_why_there_is_no_bandwidth(tmp_path: Path) -> None:
    seen = view(noise(np.random.default_rng(2), LENGTH), tmp_path)
    figure = spectrum_figure(seen)
    (axes,) = figure.axes
    assert "no signal in 5 chunks" in title_of(figure)
    assert "SNR" not in title_of(figure)
    texts = legend_of(axes)
    assert "99 % bandwidth unknown (no signal is present)" in texts
    assert not any(text.startswith(("carrier", "centroid", "detected support")) for text in texts)
    assert not labelled(axes, "carrier")


def test_a_tone_without_noise_has_no_floor_line_but_the_reason(tmp_path: Path) -> None:
    figure = spectrum_figure(view(cw(np.random.default_rng(3), LENGTH, RATE_HZ), tmp_path))
    (axes,) = figure.axes
    reason = "unknown (no noise above the rounding of single precision (120 dB below the total power))"
    assert f"noise {reason}" in legend_of(axes)
    assert not np.asarray(labelled(axes, "noise ")[0].get_xdata()).size
    assert f"SNR {reason}" in title_of(figure).replace("\n", " ")


def test_an_estimated_filter_is_hatched_on_both_sides_and_the_floor_ends_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    inside = noise_like(rng, LENGTH, RATE_HZ) + 3 * tone(5_000, LENGTH, RATE_HZ)
    seen = view(rounded(0.05 * inside, 16), tmp_path)
    (axes,) = spectrum_figure(seen).axes
    assert any(
        re.search(r"outside of the receiver's filter \(-[\d.]+ to [\d.]+ kHz, estimated\)", text)
        for text in legend_of(axes)
    )
    assert sum(patch.get_hatch() == "///" for patch in axes.patches) == 2
    limits_hz = np.asarray(labelled(axes, "noise ")[0].get_xdata()) * 1000
    assert tuple(limits_hz) == pytest.approx(seen.spectrum.passband_hz)


def test_drooping_noise_is_drawn_as_the_curve_that_was_estimated(tmp_path: Path) -> None:
    offsets = np.fft.fftfreq(LENGTH)
    gains_db = -5 * (2 * offsets) ** 2
    rng = np.random.default_rng(6)
    samples = np.fft.ifft(np.fft.fft(noise(rng, LENGTH)) * 10 ** (gains_db / 20)) + 0.05 * tone(31e3, LENGTH, RATE_HZ)
    seen = view(samples, tmp_path)
    (axes,) = spectrum_figure(seen).axes
    (curve,) = labelled(axes, "noise ")
    assert any(re.fullmatch(r"noise -[\d.]+ dBm/Hz \(response estimated\)", text) for text in legend_of(axes))
    drawn_khz, density = np.asarray(curve.get_xdata(), float), np.asarray(curve.get_ydata(), float)
    assert (drawn_khz[0], drawn_khz[-1]) == pytest.approx((-100, 100), abs=0.02)
    truth = 30 - 10 * np.log10(RATE_HZ) - 5 * (drawn_khz / 100) ** 2
    np.testing.assert_allclose(density, truth, atol=0.5)
    assert seen.spectrum.noise_dbm_per_hz == pytest.approx(10 * np.log10(np.mean(10 ** (density / 10))), abs=0.05)


def test_a_given_response_is_drawn_where_it_can_be_measured(tmp_path: Path) -> None:
    samples = noise(np.random.default_rng(7), LENGTH).astype(np.complex64)
    response = [(-100e3, -60.0), (-60e3, 0.0), (60e3, -3.0), (100e3, -60.0)]
    shaped = spectrum_view(samples, RATE_HZ, chunk_duration_ms=50.0, response=response)
    (axes,) = spectrum_figure(replace(view(samples, tmp_path), spectrum=shaped)).axes
    (curve,) = labelled(axes, "noise ")
    assert any("(response given)" in text for text in legend_of(axes))
    limits_khz = np.asarray(shaped.passband_hz) / 1000
    drawn_khz, density = np.asarray(curve.get_xdata(), float), np.asarray(curve.get_ydata(), float)
    assert (drawn_khz[0], drawn_khz[-1]) == pytest.approx(tuple(limits_khz))
    inside = np.abs(drawn_khz) < 59
    slope_db = np.polyfit(drawn_khz[inside], density[inside], 1)[0]
    assert slope_db == pytest.approx(-3 / 120, rel=0.05)
    low, high = axes.get_ylim()
    assert low < density.min() < density.max() < high
    borders = [np.asarray(line.get_xdata())[0] for line in axes.get_lines() if line.get_color() == LIGHT.outside]
    assert borders == pytest.approx(list(limits_khz))


def test_a_floor_that_is_a_skirt_is_called_a_bound(tmp_path: Path) -> None:
    seen = view(signal("ofdm", 35), tmp_path)
    assert seen.spectrum.figures.notes["noise_floor_is_upper_bound"]
    assert caption.noise_text(seen).startswith("noise at most -")
    assert caption.snr_text(seen).startswith("SNR at least ")


def test_clipping_is_said(tmp_path: Path) -> None:
    samples = signal("qpsk", 30)
    limit = 0.7 * float(np.abs(samples.real).max())
    cut = np.clip(samples.real, -limit, limit) + 1j * np.clip(samples.imag, -limit, limit)
    assert "of the values are clipped" in title_of(envelope_figure(view(cut, tmp_path)))


def test_the_analysed_chunks_are_marked_where_they_are(tmp_path: Path) -> None:
    seen = view(signal("qpsk"), tmp_path, start_chunk=2, num_chunks=2)
    assert seen.analysed_s == pytest.approx((0.1, 0.2))
    (axes,) = envelope_figure(seen).axes
    (span,) = (patch for patch in axes.patches if patch.get_label() == "analysed chunks")
    box = span.get_path().get_extents(span.get_patch_transform())
    assert (box.x0, box.x1) == pytest.approx((0.1, 0.2))
    assert caption.chunks_text(seen) == "2 chunks of 50 ms, 0.1 s to 0.2 s"


def test_a_late_chunk_is_analysed_by_itself(tmp_path: Path) -> None:
    samples = noise(np.random.default_rng(5), LENGTH)
    samples[40_000:] += tone(20_000, 10_000, RATE_HZ)
    late = view(samples, tmp_path, start_chunk=4)
    early = view(samples, tmp_path, num_chunks=4)
    assert late.spectrum.figures == analyze(samples[40_000:].astype(np.complex64), RATE_HZ, chunk_duration_ms=50.0)
    assert late.spectrum.carrier_hz == pytest.approx(20_000, abs=1)
    assert early.spectrum.carrier_hz is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start_chunk": 5}, "start_chunk=5 is none of the recording's chunks, 0 to 4"),
        ({"start_chunk": -1}, "start_chunk=-1 is none"),
        ({"chunk_duration_ms": 60_000.0}, f"at most {MAX_ANALYSED_SAMPLES} are drawn"),
    ],
)
def test_a_chunk_that_is_not_there_or_is_too_large_is_refused(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadParameter, match=said):
        view(signal("cw"), tmp_path, **options)


def test_what_cannot_be_measured_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(TooShort):
        view(signal("cw")[:1023], tmp_path)
    with pytest.raises(AllZero):
        view(np.zeros(5000, complex), tmp_path)


def test_a_recording_of_1024_samples_is_one_chunk_and_its_name_may_hold_anything(tmp_path: Path) -> None:
    seen = replace(view(signal("cw")[:1024], tmp_path), name="$\\frac{1}{0$\n\u9332\U0001f4fb\x01Zürich" + 200 * "x")
    assert caption.chunks_text(seen) == "1 chunk of 5.12 ms, 0 s to 0.00512 s"
    figure = recording_figure(seen)
    assert canvas.png(figure).startswith(PNG_MAGIC)  # and matplotlib warns of no letter: warnings are errors here
    assert title_of(figure).splitlines()[0].startswith("$\\frac{1}{0$ ???Zürichxxx")
    assert max(map(len, title_of(figure).splitlines())) <= 125


@pytest.mark.parametrize(
    ("name", "dark"),
    [("spectrum", True), ("spectrogram", False), ("spectrogram", True), ("envelope", False), ("all", True)],
)
def test_every_picture_is_a_png_on_a_page_of_its_own_colour(name: str, dark: bool, tmp_path: Path) -> None:
    content = IMAGES[name](view(signal("qpsk"), tmp_path), dark=dark)
    assert content.startswith(PNG_MAGIC)
    pixels = matplotlib.image.imread(io.BytesIO(content))
    assert pixels.shape[1] == 1200
    corner = pixels[-1, -1, :3]
    assert (corner.max() < 0.2) if dark else (corner.min() > 0.9)


@pytest.mark.parametrize("name", PANELS)
def test_no_text_overlaps_another(name: str, tmp_path: Path) -> None:
    figure = PANELS[name](view(signal("qpsk"), tmp_path))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axes = figure.axes[0]
    legend = axes.get_legend()
    texts = [figure._suptitle, axes.xaxis.label, axes.yaxis.label, axes._left_title]  # type: ignore[attr-defined]
    texts += legend.get_texts() if legend else []
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_visible()]
    inside = axes.get_window_extent(renderer)
    page = figure.bbox
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert not box.overlaps(inside)
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1


def test_drawing_changes_nobodys_settings_and_several_threads_draw_the_same(tmp_path: Path) -> None:
    seen = view(signal("qpsk"), tmp_path)
    before = dict(mpl.rcParams)
    expected = envelope_png(seen)
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(lambda _: envelope_png(seen), range(2))) == {expected}
    assert dict(mpl.rcParams) == before
