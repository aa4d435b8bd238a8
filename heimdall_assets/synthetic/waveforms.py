"""What the transmitters send: complex baseband waveforms of unit power while keyed.

Symbol sequences are shaped in the frequency domain, so that every sample rate will do and the waveforms are
periodic over their length: a delay by a phase ramp then adds nothing but the delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

ComplexSamples = NDArray[np.complex64]
RealSamples = NDArray[np.float64]

BURST_PERIOD_S = 0.2
"""A packet transmitter keys once in this time ..."""
BURST_S = 0.05
"""... for this long."""


@dataclass(frozen=True, slots=True)
class Modulation:
    """A kind of transmission.

    Attributes
    ----------
    name, description : str
        Its key in ``MODULATIONS``, and what it stands for.
    duty : float
        Mean power over the power while keyed, in (0, 1].
    waveform : callable
        (generator, number of samples, sample rate in Hz) -> complex64 of unit power while keyed.
    """

    name: str
    description: str
    duty: float
    waveform: Callable[[np.random.Generator, int, float], ComplexSamples]


def phasor(cycles: RealSamples) -> ComplexSamples:
    """Return exp(2 pi i cycles), shape (n,); the phase is reduced in double precision before it is rounded."""
    angle = ((cycles - np.rint(cycles)) * (2 * np.pi)).astype(np.float32)
    result = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=result.real)
    np.sin(angle, out=result.imag)
    return result


def _frequency_modulated(frequency_hz: RealSamples, sample_rate_hz: float) -> ComplexSamples:
    return phasor(np.cumsum(frequency_hz) / sample_rate_hz)


def _root_raised_cosine(frequency_hz: RealSamples, symbol_rate_hz: float, rolloff: float) -> RealSamples:
    """Return the root-raised-cosine response, 1 at frequency 0 (Proakis and Salehi, Digital Communications)."""
    excess = (np.abs(frequency_hz) / symbol_rate_hz - (1 - rolloff) / 2) / rolloff
    return np.cos(np.pi / 2 * np.clip(excess, 0, 1))


def _shaped(
    symbols: NDArray[np.complex128],
    num_samples: int,
    sample_rate_hz: float,
    symbol_rate_hz: float,
    rolloff: float,
) -> NDArray[np.complex128]:
    """Interpolate periodic symbols to num_samples; a constant sequence keeps its value."""
    frequency_hz = np.fft.fftfreq(num_samples, 1 / sample_rate_hz).astype(np.float64)
    harmonics = np.rint(frequency_hz * num_samples / sample_rate_hz).astype(np.int64)
    periodic = np.fft.fft(symbols)[harmonics % symbols.size]
    response = _root_raised_cosine(frequency_hz, symbol_rate_hz, rolloff)
    return np.fft.ifft(periodic * response) * (num_samples / symbols.size)


def _num_symbols(num_samples: int, sample_rate_hz: float, symbol_rate_hz: float) -> int:
    return max(1, round(num_samples * symbol_rate_hz / sample_rate_hz))


def _speech(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> RealSamples:
    """Return speech-like noise in [-1, 1]: 300 Hz to 3 kHz, -6 dB an octave from 500 Hz, 4 syllables a second."""
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / sample_rate_hz)
    spectrum = np.zeros(frequency_hz.size, np.complex128)
    voiced = (frequency_hz >= 300) & (frequency_hz <= 3000)
    real, imaginary = rng.standard_normal((2, np.count_nonzero(voiced)))
    spectrum[voiced] = (real + 1j * imaginary) / np.maximum(frequency_hz[voiced] / 500, 1)
    audio = np.fft.irfft(spectrum, num_samples)
    time_s = np.arange(num_samples) / sample_rate_hz
    audio *= 1 + 0.8 * np.cos(2 * np.pi * (4 * time_s + rng.uniform()))
    return np.tanh(audio / np.std(audio))


def _cw(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> ComplexSamples:  # noqa: ARG001  # registry's signature
    return np.ones(num_samples, np.complex64)


def _nbfm(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> ComplexSamples:
    return _frequency_modulated(2500 * _speech(rng, num_samples, sample_rate_hz), sample_rate_hz)


def _fm_repeater(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> ComplexSamples:
    tone = np.sin(2 * np.pi * (88.5 * np.arange(num_samples) / sample_rate_hz + rng.uniform()))
    speech = _speech(rng, num_samples, sample_rate_hz)
    return _frequency_modulated(2200 * speech + 300 * tone, sample_rate_hz)


def _qpsk(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> ComplexSamples:
    symbol_rate_hz = 18_000.0
    quadrants = rng.integers(4, size=_num_symbols(num_samples, sample_rate_hz, symbol_rate_hz))
    symbols = np.exp(1j * np.pi / 2 * (quadrants + 0.5))
    shaped = _shaped(symbols, num_samples, sample_rate_hz, symbol_rate_hz, rolloff=0.35)
    unit_power: ComplexSamples = (shaped / np.sqrt(np.mean(np.abs(shaped) ** 2))).astype(np.complex64)
    return unit_power


def _4fsk(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> ComplexSamples:
    symbol_rate_hz = 4800.0
    levels = 2.0 * rng.integers(4, size=_num_symbols(num_samples, sample_rate_hz, symbol_rate_hz)) - 3
    shaped = _shaped(levels.astype(np.complex128), num_samples, sample_rate_hz, symbol_rate_hz, rolloff=0.2)
    return _frequency_modulated(648 * shaped.real, sample_rate_hz)


def _packet(rng: np.random.Generator, num_samples: int, sample_rate_hz: float) -> ComplexSamples:
    time_s = np.arange(num_samples) / sample_rate_hz
    bits = rng.integers(2, size=_num_symbols(num_samples, sample_rate_hz, 1200.0) + 1)
    tone_hz = np.where(bits[(time_s * 1200).astype(np.int64)] == 1, 1200.0, 2200.0)
    audio = np.sin(2 * np.pi * np.cumsum(tone_hz) / sample_rate_hz)
    from_middle_s = np.abs((time_s + rng.uniform(0, BURST_PERIOD_S)) % BURST_PERIOD_S - BURST_PERIOD_S / 2)
    ramp = np.clip((BURST_S / 2 - from_middle_s) / 0.002 + 0.5, 0, 1)
    keyed = np.sin(np.pi / 2 * ramp).astype(np.float32)  # sin^2 edges: the energy of a burst is that of 50 ms
    return _frequency_modulated(3000 * audio, sample_rate_hz) * keyed


MODULATIONS: dict[str, Modulation] = {
    modulation.name: modulation
    for modulation in (
        Modulation("cw", "unmodulated carrier: the long dash of a beacon", 1.0, _cw),
        Modulation("nbfm", "narrow-band FM, speech-like, 2.5 kHz peak deviation", 1.0, _nbfm),
        Modulation("fm_repeater", "the same with an 88.5 Hz tone (CTCSS) of 300 Hz deviation", 1.0, _fm_repeater),
        Modulation("qpsk", "QPSK, 18 kBd, root-raised cosine 0.35", 1.0, _qpsk),
        Modulation("4fsk", "4FSK, 4.8 kBd, +-648 and +-1944 Hz, as DMR (ETSI TS 102 361-1)", 1.0, _4fsk),
        Modulation("packet", "AFSK 1200 Bd on FM, a burst of 50 ms every 200 ms", BURST_S / BURST_PERIOD_S, _packet),
    )
}
"""Every modulation by its name."""
