"""Seeded signals whose truth is known: waveforms of unit mean power, and white noise of unit power to put under them.

Every waveform is a function (generator, number of samples, sample rate in Hz) -> complex128, shape (n,). They are
written anew here, in double precision and the plain way, so that they share no code with what they test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Samples = NDArray[np.complex128]
Real = NDArray[np.float64]

RATE_HZ = 200_000.0
LENGTH = 40_000
"""Samples of a chunk of 200 ms."""


def noise(rng: np.random.Generator, count: int) -> Samples:
    """White complex Gaussian noise of unit power."""
    pairs = rng.standard_normal((count, 2))
    samples: Samples = (pairs[:, 0] + 1j * pairs[:, 1]) / np.sqrt(2)
    return samples


def unit_power(samples: Samples) -> Samples:
    """Scale to a mean power of 1."""
    scaled: Samples = samples / np.sqrt(np.mean(np.abs(samples) ** 2))
    return scaled


def with_snr(waveform: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """Put a waveform of unit power over unit noise, at this SNR in the sampled band."""
    return waveform * 10 ** (snr_db / 20) + noise(rng, waveform.size)


def shifted(waveform: Samples, frequency_hz: float, rate_hz: float) -> Samples:
    """Move a waveform in frequency."""
    moved: Samples = waveform * np.exp(2j * np.pi * frequency_hz / rate_hz * np.arange(waveform.size))
    return moved


def tone(frequency_hz: float, count: int, rate_hz: float, phase: float = 0.0) -> Samples:
    """A carrier of known frequency."""
    samples: Samples = np.exp(1j * (2 * np.pi * frequency_hz / rate_hz * np.arange(count) + phase))
    return samples


def cw(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """A carrier anywhere in the inner 80 % of the band."""
    return tone(rng.uniform(-0.4, 0.4) * rate_hz, count, rate_hz, rng.uniform(0, 2 * np.pi))


def two_tones(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """Two equal carriers, a tenth of the band apart."""
    first = tone(-0.05 * rate_hz, count, rate_hz, rng.uniform(0, 2 * np.pi))
    second = tone(0.05 * rate_hz, count, rate_hz, rng.uniform(0, 2 * np.pi))
    return shifted((first + second) / np.sqrt(2), rng.uniform(-0.3, 0.3) * rate_hz, rate_hz)


def nbfm(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """Narrow-band FM of a 12.5 kHz channel: noise of 300 Hz to 3 kHz for a voice, 2.5 kHz peak deviation."""
    frequency_hz = np.fft.rfftfreq(count, 1 / rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[(frequency_hz < 300) | (frequency_hz > 3000)] = 0
    audio = np.fft.irfft(spectrum, count)
    deviation_hz = 2500 * np.clip(audio / (2.5 * audio.std()), -1, 1)
    waveform = np.exp(2j * np.pi * np.cumsum(deviation_hz) / rate_hz)
    return shifted(waveform, rng.uniform(-0.35, 0.35) * rate_hz, rate_hz)


def _root_raised_cosine(
    frequency_hz: NDArray[np.float64], symbol_rate_hz: float, rolloff: float
) -> NDArray[np.float64]:
    excess = (np.abs(frequency_hz) / symbol_rate_hz - (1 - rolloff) / 2) / rolloff
    response: NDArray[np.float64] = np.cos(np.pi / 2 * np.clip(excess, 0, 1))
    return response


QPSK_SYMBOL_SHARE = 0.1
"""Symbol rate over sample rate: 20 kBd at 200 kHz."""
QPSK_ROLLOFF = 0.35


def qpsk(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """QPSK behind a root-raised-cosine filter; no symbols are shared by the two ends."""
    spacing = round(1 / QPSK_SYMBOL_SHARE)
    guard = 40 * spacing
    impulses = np.zeros(count + 2 * guard, np.complex128)
    symbols = impulses[rng.integers(spacing) :: spacing]
    symbols[:] = np.exp(0.5j * np.pi * (rng.integers(4, size=symbols.size) + 0.5))
    frequency_hz: Real = np.fft.fftfreq(impulses.size, 1 / rate_hz).astype(np.float64)
    response = _root_raised_cosine(frequency_hz, QPSK_SYMBOL_SHARE * rate_hz, QPSK_ROLLOFF)
    waveform = np.fft.ifft(np.fft.fft(impulses) * response)[guard : guard + count]
    return shifted(unit_power(waveform), rng.uniform(-0.35, 0.35) * rate_hz, rate_hz)


def qpsk_bandwidth_hz(rate_hz: float) -> float:
    """99 % bandwidth of that signal, from its power spectrum, the raised cosine."""
    frequency_hz = np.linspace(-rate_hz / 2, rate_hz / 2, 400_001)
    passed = np.cumsum(_root_raised_cosine(frequency_hz, QPSK_SYMBOL_SHARE * rate_hz, QPSK_ROLLOFF) ** 2)
    low, high = np.interp([0.005, 0.995], passed / passed[-1], frequency_hz)
    return float(high - low)


def burst_gate(rng: np.random.Generator, count: int, rate_hz: float) -> Real:
    """Amplitudes of a burst: a quarter of the time somewhere, with edges of half a millisecond."""
    length = count // 4
    ramp_length = min(length // 4, round(rate_hz * 0.5e-3))
    ramp = np.sin(np.pi / 2 * (np.arange(ramp_length) + 0.5) / ramp_length) ** 2
    gate = np.zeros(count)
    start = rng.integers(count - length)
    gate[start : start + length] = 1
    gate[start : start + ramp_length] = ramp
    gate[start + length - ramp_length : start + length] = ramp[::-1]
    return gate


def burst(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """QPSK for a quarter of the time, with edges of half a millisecond; unit mean power over all."""
    gate = burst_gate(rng, count, rate_hz)
    is_on = gate > 0
    waveform = np.zeros(count, np.complex128)
    waveform[is_on] = gate[is_on] * qpsk(rng, count // 4, rate_hz)
    return unit_power(waveform)


def noise_like(rng: np.random.Generator, count: int, rate_hz: float, share: float = 0.8) -> Samples:
    """Gaussian noise that fills a share of the band with steep edges, as a multiplex of many carriers does."""
    guard = 2000
    spectrum = np.fft.fft(noise(rng, count + 2 * guard))
    spectrum[np.abs(np.fft.fftfreq(spectrum.size)) > share / 2] = 0
    return unit_power(np.fft.ifft(spectrum)[guard : guard + count])


OFDM_SIZE = 256
OFDM_CARRIERS = 128
OFDM_PREFIX = 32


def _multicarrier(rng: np.random.Generator, count: int, size: int, num_carriers: int, prefix: int) -> Samples:
    """QPSK on the carriers around, but not at, the centre; a cyclic prefix, no window."""
    symbols = -(-count // (size + prefix)) + 1
    carriers = np.zeros((symbols, size), np.complex128)
    active = np.r_[1 : num_carriers // 2 + 1, size - num_carriers // 2 : size]
    carriers[:, active] = np.exp(0.5j * np.pi * (rng.integers(4, size=(symbols, active.size)) + 0.5))
    blocks = np.fft.ifft(carriers, axis=1)
    waveform = np.concatenate([blocks[:, -prefix:], blocks], axis=1).ravel()
    start = rng.integers(size + prefix)
    return unit_power(waveform[start : start + count])


def ofdm(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:  # every waveform's signature
    """OFDM with QPSK on half of the band's subcarriers, cyclic prefix, no window: sidelobes fall as 1 / f^2."""
    return _multicarrier(rng, count, OFDM_SIZE, OFDM_CARRIERS, OFDM_PREFIX)


def wlan_ofdm(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:  # every waveform's signature
    """OFDM with the few wide subcarriers of a wireless LAN (52 of 64) over four fifths of the band."""
    return _multicarrier(rng, count, 64, 52, 16)


def hard_keyed_psk(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """QPSK of rectangular symbols, 20 samples each: sidelobes fall as 1 / f^2 over the whole band."""
    symbols = np.exp(0.5j * np.pi * rng.integers(4, size=count // 20 + 2))
    start = rng.integers(20)
    return shifted(np.repeat(symbols, 20)[start : start + count], rng.uniform(-0.3, 0.3) * rate_hz, rate_hz)


def am(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """AM of a voice-like noise of 300 Hz to 3 kHz, mean modulation 30 %: the carrier holds 90 % of the power."""
    frequency_hz = np.fft.rfftfreq(count, 1 / rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[(frequency_hz < 300) | (frequency_hz > 3000)] = 0
    audio = np.fft.irfft(spectrum, count)
    waveform = (1 + 0.3 * audio / audio.std()) * np.exp(2j * np.pi * rng.uniform())
    return shifted(unit_power(waveform), rng.uniform(-0.4, 0.4) * rate_hz, rate_hz)


def fsk(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """Binary FSK of continuous phase, 2.4 kBd, +-1.2 kHz."""
    symbol = round(rate_hz / 2400)
    levels = np.repeat(rng.choice([-1.0, 1.0], size=count // symbol + 2), symbol)
    start = rng.integers(symbol)
    waveform = np.exp(2j * np.pi * np.cumsum(1200 * levels[start : start + count]) / rate_hz)
    return shifted(waveform, rng.uniform(-0.4, 0.4) * rate_hz, rate_hz)


def keyed_carrier(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """A carrier that is switched on and off at random every 5 ms, hard."""
    dot = max(1, round(0.005 * rate_hz))
    keys = rng.integers(2, size=count // dot + 2)
    keys[rng.integers(1, keys.size - 1)] = 1
    start = rng.integers(dot)
    return unit_power(np.repeat(keys, dot)[start : start + count] * cw(rng, count, rate_hz))


def chirp(rng: np.random.Generator, count: int, rate_hz: float) -> Samples:
    """A carrier that sweeps a tenth of the band to and fro, 100 times a second."""
    phase = np.arange(count) * 100 / rate_hz + rng.uniform()
    offset = np.abs(2 * (phase % 1) - 1) - 0.5
    waveform = np.exp(2j * np.pi * np.cumsum(0.1 * offset))
    return shifted(waveform, rng.uniform(-0.4, 0.4) * rate_hz, rate_hz)


WAVEFORMS: dict[str, Callable[[np.random.Generator, int, float], Samples]] = {
    "cw": cw,
    "two_tones": two_tones,
    "nbfm": nbfm,
    "qpsk": qpsk,
    "burst": burst,
    "noise_like": noise_like,
    "ofdm": ofdm,
    "hard_keyed_psk": hard_keyed_psk,
    "am": am,
    "fsk": fsk,
    "keyed_carrier": keyed_carrier,
    "chirp": chirp,
    "wlan_ofdm": wlan_ofdm,
}
"""Every waveform by its name."""


def occupied_bandwidth_hz(waveform: Samples, rate_hz: float) -> float:
    """99 % bandwidth of a waveform without noise, from its own Hann-windowed spectrum."""
    power = np.abs(np.fft.fftshift(np.fft.fft(waveform * np.hanning(waveform.size)))) ** 2
    passed = np.cumsum(power) / power.sum()
    low, high = np.searchsorted(passed, [0.005, 0.995])
    return float(high - low) * rate_hz / waveform.size


def clipped(samples: Samples, rail: float) -> Samples:
    """Limit I and Q separately, as a converter does."""
    return np.clip(samples.real, -rail, rail) + 1j * np.clip(samples.imag, -rail, rail)


def rounded(samples: Samples, bits: int) -> Samples:
    """Round I and Q to signed integers of so many bits, full scale being 1."""
    scale = 2.0 ** (bits - 1)
    return clipped(np.rint(samples.real * scale) + 1j * np.rint(samples.imag * scale), scale - 1) / scale
