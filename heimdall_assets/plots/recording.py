"""Pictures of a recording: spectrum with what was found in it, spectrogram, envelope; each alone, or all on a sheet."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font

from heimdall_assets.plots import caption
from heimdall_assets.plots.canvas import png, sheet
from heimdall_assets.plots.theme import DARK, LIGHT, TEXT_SIZE, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from heimdall_assets.dsp import SpectrumView
    from heimdall_assets.plots.view import RecordingView

WIDTH_IN = 10.0
PANEL_HEIGHT_IN = 3.2
TITLE_LETTERS = 125
LEGEND_LETTERS = 30
MAX_EDGES = 25
"""Chunks whose edges are drawn."""

MAX_POINTS = 1500
"""Of a line; a spectrum of more bands is drawn by mean and largest of neighbouring ones."""

COLOR_MAP = "viridis"
BELOW_NOISE_DB = 8.0
BELOW_FLOOR_DB = 25.0
LEAST_RANGE_DB = 20.0
MOST_RANGE_DB = 120.0
SUPPORT_LEVELS = 4
"""Shades of the support, from bands that hold signal in a few of the chunks to those that do in all."""


def recording_figure(view: RecordingView, *, dark: bool = False) -> Figure:
    """Draw spectrum, spectrogram and envelope on one sheet, with a title that says what was found."""
    theme = DARK if dark else LIGHT
    figure = sheet(WIDTH_IN, 9.0)
    theme.paint(figure)
    spectrum, spectrogram, envelope = figure.subplots(3, 1, height_ratios=[3.2, 3, 1.8])
    draw_spectrum(spectrum, view, theme)
    draw_spectrogram(spectrogram, view, theme)
    draw_envelope(envelope, view, theme)
    _title(figure, view, theme)
    return figure


def spectrum_figure(view: RecordingView, *, dark: bool = False) -> Figure:
    """Draw the spectrum alone."""
    figure, axes, theme = _panel(dark=dark)
    draw_spectrum(axes, view, theme)
    _title(figure, view, theme)
    return figure


def spectrogram_figure(view: RecordingView, *, dark: bool = False) -> Figure:
    """Draw the spectrogram alone."""
    figure, axes, theme = _panel(dark=dark)
    draw_spectrogram(axes, view, theme)
    _title(figure, view, theme)
    return figure


def envelope_figure(view: RecordingView, *, dark: bool = False) -> Figure:
    """Draw the envelope alone."""
    figure, axes, theme = _panel(dark=dark)
    draw_envelope(axes, view, theme)
    _title(figure, view, theme)
    return figure


def recording_png(view: RecordingView, *, dark: bool = False) -> bytes:
    """Everything on one sheet, as the bytes of a PNG file."""
    return png(recording_figure(view, dark=dark))


def spectrum_png(view: RecordingView, *, dark: bool = False) -> bytes:
    """Spectrum, as the bytes of a PNG file."""
    return png(spectrum_figure(view, dark=dark))


def spectrogram_png(view: RecordingView, *, dark: bool = False) -> bytes:
    """Spectrogram, as the bytes of a PNG file."""
    return png(spectrogram_figure(view, dark=dark))


def envelope_png(view: RecordingView, *, dark: bool = False) -> bytes:
    """Envelope, as the bytes of a PNG file."""
    return png(envelope_figure(view, dark=dark))


def draw_spectrum(axes: Axes, view: RecordingView, theme: Theme) -> None:
    """Draw power density over frequency offset, with noise, support, edges, carrier and passband.

    What the legend names is what the analysis found; what it did not find is not drawn, and the legend says why.
    """
    spectrum = view.spectrum
    factor, unit = caption.scale_of(view.sample_rate_hz / 2)
    edges = spectrum.band_edges_hz / factor
    middles, mean, peak = _thinned((edges[:-1] + edges[1:]) / 2, spectrum)
    band_hz = float(np.diff(spectrum.band_edges_hz)[0])
    axes.plot(
        middles, peak, color=theme.faint, linewidth=0.8, label=f"strongest bin ({caption.spacing(spectrum.bin_hz)})"
    )
    axes.plot(middles, mean, color=theme.line, linewidth=1.1, label=f"mean of a band ({caption.spacing(band_hz)})")
    _shade_support(axes, spectrum, theme, factor)
    label = _folded(caption.noise_text(view))
    offsets_hz, noise = _noise_curve(spectrum)
    if noise.size:
        axes.plot(offsets_hz / factor, noise, color=theme.noise, linestyle="--", linewidth=1.4, label=label)
    else:
        axes.plot([], [], " ", label=label)
    label = _folded(caption.bandwidth_text(view))
    chunks = np.unique(np.linspace(0, len(spectrum.edges_hz) - 1, MAX_EDGES).round().astype(int))
    for edge_hz in spectrum.edges_hz[chunks].ravel() if len(spectrum.edges_hz) else ():
        axes.axvline(edge_hz / factor, color=theme.edge, linewidth=1.1, zorder=1.6, label=label)
        label = "_"  # one entry for all
    if not len(spectrum.edges_hz):
        axes.plot([], [], " ", label=label)
    if spectrum.carrier_hz is not None:
        label = _folded(caption.line_text(view))
        position = spectrum.carrier_hz / factor
        axes.axvline(position, color=theme.carrier, linestyle=":", linewidth=1.3, zorder=1.7, label=label)
    axes.set_xlim(-view.sample_rate_hz / 2 / factor, view.sample_rate_hz / 2 / factor)
    if spectrum.passband_hz is not None:
        _shade_outside(axes, view, theme, factor)
    _limit_density(axes, np.concatenate([mean, peak]), noise)
    axes.set_xlabel(f"{_offset_from(view)} ({unit})")
    axes.set_ylabel("power density (dBm/Hz)")
    theme.dress(axes, f"Spectrum: {caption.chunks_text(view)}")
    theme.legend(axes)


def draw_spectrogram(axes: Axes, view: RecordingView, theme: Theme) -> None:
    """Draw power density over time and frequency offset, of the whole recording."""
    overview = view.overview
    factor, unit = caption.scale_of(view.sample_rate_hz / 2)
    half = overview.sample_rate_hz / 2 / factor
    density = overview.density_dbm_per_hz
    low, high = _color_limits(view)
    axes.set_facecolor(theme.page)
    image = axes.imshow(
        np.ma.masked_invalid(np.where(np.isneginf(density), low - 1, density)),  # no power at all is below the scale
        extent=(0.0, overview.duration_s, -half, half),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=COLOR_MAP,
        vmin=low,
        vmax=high,
    )
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.01, 0.0, 0.018, 1.0)), extend="both")
    bar.set_label("dBm/Hz", color=theme.ink, fontsize=TEXT_SIZE)
    bar.ax.tick_params(colors=theme.ink, labelsize=TEXT_SIZE - 1)
    axes.set_xlabel("time from the start (s)")
    axes.set_ylabel(f"{_offset_from(view)}\n({unit})")
    bin_hz = overview.sample_rate_hz / overview.frame_samples
    theme.dress(
        axes,
        f"Spectrogram: Hann window of {overview.frame_samples} samples, bins of {caption.spacing(bin_hz)}"
        f"{caption.share_text(view)}",
    )
    axes.grid(visible=False)


def draw_envelope(axes: Axes, view: RecordingView, theme: Theme) -> None:
    """Draw least, root mean square and largest of |x| over the rms of the whole, against time."""
    overview = view.overview
    bounds = np.linspace(0, overview.duration_s, len(overview.rms) + 1)
    axes.fill_between(
        bounds,
        _closed(overview.least),
        _closed(overview.largest),
        color=theme.faint,
        linewidth=0,
        step="post",
        label="least to largest",
    )
    axes.plot(bounds, _closed(overview.rms), color=theme.line, linewidth=1.0, drawstyle="steps-post", label="rms")
    first, last = view.analysed_s
    axes.axvspan(first, last, color=theme.support, alpha=theme.shade, linewidth=0, zorder=0.5, label="analysed chunks")
    axes.set_xlim(0, overview.duration_s)
    highest = float(overview.largest.max(initial=0.0, where=np.isfinite(overview.largest)))
    axes.set_ylim(0, 1.1 * highest or 1.0)  # where nothing but zeros was looked at
    axes.set_xlabel("time from the start (s)")
    axes.set_ylabel("|x| / rms")
    theme.dress(axes, f"Envelope{caption.share_text(view)}")
    theme.legend(axes)


def _panel(*, dark: bool) -> tuple[Figure, Axes, Theme]:
    theme = DARK if dark else LIGHT
    figure = sheet(WIDTH_IN, PANEL_HEIGHT_IN + 0.8)
    theme.paint(figure)
    return figure, figure.subplots(), theme


def _title(figure: Figure, view: RecordingView, theme: Theme) -> None:
    lines = [_drawable(view.name), caption.source_line(view), caption.findings_line(view), *caption.remarks(view)]
    folded = [part for line in lines for part in textwrap.wrap(line, TITLE_LETTERS)]
    figure.suptitle("\n".join(folded), x=0.01, ha="left", fontsize=TEXT_SIZE, color=theme.ink, parse_math=False)


def _drawable(text: str) -> str:
    """The text with a question mark for every letter that the font lacks; matplotlib would warn of each."""
    font = get_font(findfont(FontProperties()))
    return "".join(letter if letter.isspace() or font.get_char_index(ord(letter)) else "?" for letter in text)


def _folded(text: str) -> str:
    return textwrap.fill(text, LEGEND_LETTERS)


def _offset_from(view: RecordingView) -> str:
    return f"offset from {caption.center_text(view)}"


def _thinned(
    middles: NDArray[np.float64], spectrum: SpectrumView
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies, mean and peak density of at most 1500 points, each of neighbouring bands."""
    mean, peak = spectrum.density_dbm_per_hz, spectrum.peak_density_dbm_per_hz
    step = -(-len(middles) // MAX_POINTS)
    if step == 1:
        return middles, mean, peak
    starts = np.arange(0, len(middles), step)
    counts = np.diff(np.append(starts, len(middles)))
    with np.errstate(divide="ignore"):
        power = np.add.reduceat(np.nan_to_num(10 ** (mean / 10)), starts) / counts
        decibel = np.where(power > 0, 10 * np.log10(power), np.nan)
    return np.add.reduceat(middles, starts) / counts, decibel, np.fmax.reduceat(peak, starts)


def _noise_curve(spectrum: SpectrumView) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets in Hz and density of the noise, from one limit of the passband to the other; empty where unknown."""
    if spectrum.noise_dbm_per_hz is None:
        return np.empty(0), np.empty(0)
    edges_hz = spectrum.band_edges_hz
    low_hz, high_hz = spectrum.passband_hz or (float(edges_hz[0]), float(edges_hz[-1]))
    if spectrum.response_db is None:
        return np.array([low_hz, high_hz]), np.full(2, spectrum.noise_dbm_per_hz)
    bands = np.flatnonzero(np.isfinite(spectrum.response_db))
    bands = bands[:: -(-len(bands) // MAX_POINTS)]  # a response is smooth
    density = spectrum.noise_dbm_per_hz + spectrum.response_db[bands]
    middles_hz = (edges_hz[bands] + edges_hz[bands + 1]) / 2
    return np.concatenate([[low_hz], middles_hz, [high_hz]]), np.pad(density, 1, mode="edge")


def _shade_support(axes: Axes, spectrum: SpectrumView, theme: Theme, factor: float) -> None:
    levels = np.ceil(spectrum.support_share * SUPPORT_LEVELS)
    starts = np.flatnonzero(np.diff(levels, prepend=0.0))
    stops = np.append(starts, len(levels))[1:]
    edges = spectrum.band_edges_hz / factor
    if starts.size:
        axes.fill([], [], color=theme.support, alpha=theme.shade, linewidth=0, label="detected support")
    for start, stop in zip(starts, stops, strict=True):
        if levels[start]:
            opacity = theme.shade * levels[start] / SUPPORT_LEVELS
            axes.axvspan(edges[start], edges[stop], color=theme.support, alpha=opacity, linewidth=0, zorder=0.5)


def _shade_outside(axes: Axes, view: RecordingView, theme: Theme, factor: float) -> None:
    low, high = view.spectrum.passband_hz or (0.0, 0.0)
    left, right = axes.get_xlim()
    label = _folded(caption.passband_text(view))
    for begin, end in ((left, low / factor), (high / factor, right)):
        if begin < end:
            axes.axvspan(
                begin, end, facecolor="none", edgecolor=theme.outside, hatch="///", linewidth=0, alpha=0.6, label=label
            )
            label = "_"  # one entry for both sides
            axes.axvline(end if begin == left else begin, color=theme.outside, linewidth=1.0, zorder=1.5)


def _limit_density(axes: Axes, densities: NDArray[np.float64], noise: NDArray[np.float64]) -> None:
    """Leave out what lies far below the noise: rounding outside of a receiver's filter would take half the axis."""
    lowest, highest = _range(densities)
    lowest = max(lowest, highest - MOST_RANGE_DB)
    if noise.size:
        lowest = min(max(lowest, float(noise.mean()) - BELOW_FLOOR_DB), float(noise.min()))
        highest = max(highest, float(noise.max()))
    margin = 0.05 * max(highest - lowest, LEAST_RANGE_DB)
    axes.set_ylim(lowest - margin, highest + margin)


def _color_limits(view: RecordingView) -> tuple[float, float]:
    """From below the noise, or from what is rarely undershot, to the strongest."""
    lowest, highest = _range(view.overview.density_dbm_per_hz, quantiles=(0.02, 0.9995))
    lowest = max(lowest, highest - MOST_RANGE_DB)
    noise = view.spectrum.noise_dbm_per_hz
    if noise is not None:
        lowest = max(lowest, noise - BELOW_NOISE_DB)
    return lowest, max(highest, lowest + LEAST_RANGE_DB)


def _range(values: NDArray[np.floating], quantiles: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return -LEAST_RANGE_DB, 0.0
    low, high = np.quantile(finite, quantiles)
    return float(low), float(high)


def _closed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Repeat the last value, for steps that end with the recording."""
    return np.append(values, values[-1])
