"""Receivers that are not flat: front ends that droop, filters narrower than the sampled band, samples that were lost.

A *shape* is the response of a front end: a function of the position u in the sampled band, from -1 to 1, that returns
decibels, 0 at its maximum. All filters here are circular or long, in double precision, and share no code with what
they test.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import fftconvolve, firwin, freqz

from heimdall_assets_tests.dsp.signals import Real, Samples, noise, rounded, shifted, tone, unit_power

if TYPE_CHECKING:
    from collections.abc import Callable

    Shape = Callable[[Real], Real]


def _quadratic(u: Real, depth_db: float) -> Real:
    return -depth_db * u**2


def _quartic(u: Real, depth_db: float) -> Real:
    return -depth_db * u**4


def _kink(u: Real, depth_db: float) -> Real:
    """Return a response that is flat to half of the band, then quadratic."""
    beyond = np.clip(2 * np.abs(u) - 1, 0, 1)
    gain_db: Real = -depth_db * beyond**2
    return gain_db


def _cic(u: Real, depth_db: float) -> Real:
    """Return a cascaded integrator-comb's response behind decimation, to half of the first zero's frequency."""
    fall_db: Real = 20 * np.log10(np.sinc(0.5 * u))
    gain_db: Real = fall_db * depth_db / (-20 * np.log10(np.sinc(0.5)))
    return gain_db


def _roll_off(u: Real, depth_db: float) -> Real:
    """Return a raised cosine of amplitude over the outer 20 % of the band."""
    outer = np.clip((np.abs(u) - 0.8) / 0.2, 0, 1)
    amplitude: Real = 1 - (1 - 10 ** (-depth_db / 20)) * (1 - np.cos(np.pi * outer)) / 2
    gain_db: Real = 20 * np.log10(amplitude)
    return gain_db


def _edge(u: Real, depth_db: float) -> Real:
    """Return a parabola over the outer 10 % of the band."""
    beyond = np.clip((np.abs(u) - 0.9) / 0.1, 0, 1)
    gain_db: Real = -depth_db * beyond**2
    return gain_db


def _tilt(u: Real, depth_db: float) -> Real:
    return -depth_db * (u + 1) / 2


def _one_sided(u: Real, depth_db: float) -> Real:
    """Return a response that is flat below the centre and a parabola above."""
    beyond = np.clip((u + 0.2) / 1.2, 0, 1)
    gain_db: Real = -depth_db * beyond**2
    return gain_db


@lru_cache(maxsize=8)
def _half_band_power(taps: int) -> tuple[Real, Real]:
    angular, response = freqz(firwin(taps, 0.5), worN=np.linspace(0, np.pi, 4001))
    return np.asarray(angular, np.float64), np.abs(response) ** 2


def _half_band(u: Real, depth_db: float, taps: int = 31) -> Real:
    """Return the response behind a half-band filter and decimation by two; what aliases is part of the noise.

    The filter itself loses 6 dB at the new edges, with the aliases 3 dB; other depths are that response, scaled in dB.
    """
    angular, power = _half_band_power(taps)
    frequency = np.abs(u) * np.pi / 2
    behind_db: Real = 10 * np.log10(np.interp(frequency, angular, power) + np.interp(np.pi - frequency, angular, power))
    gain_db: Real = (behind_db - behind_db.max()) * depth_db / (10 * np.log10(2))
    return gain_db


SHAPES: dict[str, Callable[[Real, float], Real]] = {
    "quadratic": _quadratic,
    "quartic": _quartic,
    "kink": _kink,
    "cic": _cic,
    "half_band": _half_band,
    "half_band_short": partial(_half_band, taps=15),
    "half_band_long": partial(_half_band, taps=63),
    "roll_off": _roll_off,
    "edge": _edge,
    "tilt": _tilt,
    "one_sided": _one_sided,
}
"""Every shape by its name: (position, decibels between its maximum and its minimum) -> decibels."""


def droop(name: str, depth_db: float) -> Shape:
    """Return the shape of this name and depth."""
    return lambda u: SHAPES[name](u, depth_db)


def amplitudes(shape: Shape, position: Real) -> Real:
    """Return what a front end makes of amplitudes at these positions; white noise over all of them keeps its power."""
    gain = 10 ** (shape(position) / 20)
    scaled: Real = gain / np.sqrt(np.mean(gain**2))
    return scaled


def through(samples: Samples, shape: Shape) -> Samples:
    """Filter samples, shape (..., n), by a front end that leaves the power of white noise as it is."""
    gain = amplitudes(shape, 2 * np.fft.fftfreq(samples.shape[-1]).astype(np.float64))
    behind: Samples = np.fft.ifft(np.fft.fft(samples) * gain)
    return behind


def channel_filter(rate_hz: float, half_width_hz: float) -> Real:
    """Return the taps of a filter that is open from -half_width_hz to half_width_hz and loses 90 dB beyond.

    White noise of unit power has unit power behind it.
    """
    transition_hz = max(0.35 * half_width_hz, 0.004 * rate_hz)
    count = int(np.clip(8 * rate_hz / transition_hz, 201, 3001)) | 1
    taps: Real = firwin(count, min(half_width_hz, 0.4975 * rate_hz), fs=rate_hz, window=("kaiser", 9))
    scaled: Real = taps / np.sqrt(np.sum(taps**2))
    return scaled


def skirt(rng: np.random.Generator, count: int, rate_hz: float, half_width_hz: float) -> Samples:
    """Noise that leaks past such a filter: a density of -66 dB beside its edges, falling to -90 dB, then nothing."""
    width_hz = rng.uniform(0.5, 2) * half_width_hz + 100
    beyond = (np.abs(np.fft.fftfreq(count, 1 / rate_hz)) - half_width_hz) / width_hz
    gain = np.where((beyond >= 0) & (beyond <= 1), 10 ** ((-66 - 24 * beyond) / 20), 0)
    return np.asarray(np.fft.ifft(np.fft.fft(noise(rng, count)) * gain), np.complex128)


def carrier_within(rng: np.random.Generator, count: int, rate_hz: float, half_width_hz: float) -> Samples:
    """A carrier in the inner 60 % of a filter."""
    return tone(rng.uniform(-0.6, 0.6) * half_width_hz, count, rate_hz, rng.uniform(0, 2 * np.pi))


def qpsk_within(rng: np.random.Generator, count: int, rate_hz: float, half_width_hz: float) -> Samples:
    """QPSK that fills a fifth to half of a filter, roll-off 0.3; unit power."""
    spacing = int(rate_hz / (half_width_hz * rng.uniform(0.3, 0.7)))
    guard = 20 * spacing
    impulses = np.zeros(-(-(count + 2 * guard) // spacing) * spacing, np.complex128)
    symbols = rng.integers(4, size=impulses.size // spacing)
    impulses[::spacing] = np.exp(0.5j * np.pi * (symbols + 0.5))
    excess = (np.abs(np.fft.fftfreq(impulses.size)) * spacing - 0.35) / 0.3
    waveform = np.fft.ifft(np.fft.fft(impulses) * np.cos(np.pi / 2 * np.clip(excess, 0, 1)))[guard : guard + count]
    return shifted(unit_power(waveform), rng.uniform(-0.2, 0.2) * half_width_hz, rate_hz)


def _fm(
    rng: np.random.Generator, count: int, rate_hz: float, half_width_hz: float, audio_share: float, peak_share: float
) -> Samples:
    """FM by noise up to a share of a filter's half width, with a peak deviation of another share of it."""
    frequency_hz = np.fft.rfftfreq(count, 1 / rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[(frequency_hz == 0) | (frequency_hz > audio_share * half_width_hz)] = 0
    audio = np.fft.irfft(spectrum, count)
    deviation_hz = peak_share * half_width_hz * np.clip(audio / (2.5 * audio.std()), -1, 1)
    waveform = np.exp(2j * np.pi * np.cumsum(deviation_hz) / rate_hz)
    return shifted(waveform, rng.uniform(-0.3, 0.3) * half_width_hz, rate_hz)


def fm_within(rng: np.random.Generator, count: int, rate_hz: float, half_width_hz: float) -> Samples:
    """FM that fills a sixth of a filter."""
    return _fm(rng, count, rate_hz, half_width_hz, 0.06, 0.1)


def wide_fm_within(rng: np.random.Generator, count: int, rate_hz: float, half_width_hz: float) -> Samples:
    """FM that fills about half of a filter, without an edge anywhere: as smooth and wide as a front end's response."""
    return _fm(rng, count, rate_hz, half_width_hz, 0.12, 0.25)


WITHIN: dict[str, Callable[[np.random.Generator, int, float, float], Samples]] = {
    "carrier": carrier_within,
    "qpsk": qpsk_within,
    "fm": fm_within,
    "wide_fm": wide_fm_within,
}
"""Signals inside of a filter by their names, each of unit power."""


def filtered(
    rng: np.random.Generator,
    count: int,
    rate_hz: float,
    half_width_hz: float,
    bits: int | None,
    *,
    signal: str | None = None,
    snr_db: float = 0.0,
    level: float = 0.3,
    has_skirt: bool = True,
) -> Samples:
    """Make a recording of a receiver whose filter is narrower than the sampled band.

    Parameters
    ----------
    rng : Generator
        Fixes every sample.
    count, rate_hz : int, float
        Samples, and how many a second.
    half_width_hz : float
        The filter is open from minus this frequency to plus this frequency.
    bits : int or None
        Samples are rounded to integers of so many bits; None: not rounded.
    signal : str or None
        Name in WITHIN; None for noise alone.
    snr_db : float
        Power of the signal over that of the noise inside of the filter.
    level : float
        Largest magnitude of I and Q, full scale being 1.
    has_skirt : bool
        Whether noise leaks past the filter.
    """
    taps = channel_filter(rate_hz, half_width_hz)
    total = count + taps.size - 1
    before = noise(rng, total)
    if signal is not None:
        gain = np.abs(taps.sum())  # that of the noise is 1
        before += 10 ** (snr_db / 20) / gain * WITHIN[signal](rng, total, rate_hz, half_width_hz)
    samples = fftconvolve(before, taps, "valid")
    if has_skirt:
        samples = samples + skirt(rng, count, rate_hz, half_width_hz)
    samples = samples * (level / np.abs(samples.view(np.float64)).max())
    return samples if bits is None else rounded(samples, bits)


MIN_GAP = 100
"""Zeros in a gap at the least."""


def with_gaps(rng: np.random.Generator, samples: Samples, share: float, pieces: int) -> Samples:
    """Set ``pieces`` stretches, together ``share`` of the samples, to zero, of random lengths at random places."""
    lost = max(round(share * samples.size), pieces * MIN_GAP)
    lengths = MIN_GAP + rng.multinomial(lost - pieces * MIN_GAP, rng.dirichlet(np.ones(pieces)))
    kept = rng.multinomial(samples.size - lost, rng.dirichlet(np.ones(pieces + 1)))
    gapped = samples.copy()
    start = 0
    for before, length in zip(kept, lengths, strict=False):
        start += int(before)
        gapped[start : start + int(length)] = 0
        start += int(length)
    return gapped
