"""Carriers, constant parts and clipping in the accuracy report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp import analyze
from heimdall_assets_tests.benchmarks.accuracy_rows import LEAST_DETECTED, PLAIN_CHUNKS
from heimdall_assets_tests.benchmarks.intervals import Line, bias_line, rate_line, rmse_line
from heimdall_assets_tests.dsp.plain import plain_figures
from heimdall_assets_tests.dsp.signals import (
    LENGTH,
    RATE_HZ,
    WAVEFORMS,
    Samples,
    clipped,
    noise,
    rounded,
    tone,
    with_snr,
)
from heimdall_assets_tests.dsp.trials import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

DC_DB = -20.0
"""A constant part this strong, over the noise."""


def carrier_lines(seed: int, count: int) -> Iterator[Line]:
    """A carrier's frequency against the Cramer-Rao bound."""
    rng = np.random.default_rng([seed, 7])
    for snr_db in (-10, 0, 10, 20, 30, 40):
        variance = 6 / ((2 * np.pi) ** 2 * 10 ** (snr_db / 10) * LENGTH * (LENGTH**2 - 1))
        errors: list[float] = []
        plain: list[float] = []
        for _ in range(5 * count):
            frequency_hz = rng.uniform(-0.4, 0.4) * RATE_HZ
            samples = with_snr(tone(frequency_hz, LENGTH, RATE_HZ, rng.uniform(0, 6)), snr_db, rng)
            errors.append(measured(samples[np.newaxis]).carrier_hz[0] - frequency_hz)
            if len(plain) < PLAIN_CHUNKS:
                plain.append(plain_figures(samples, RATE_HZ).frequency_hz - frequency_hz)
        bound_hz = RATE_HZ * np.sqrt(variance)
        plain_ratio = float(np.sqrt(np.mean(np.square(plain))) / bound_hz)
        yield rmse_line("cw", "frequency rmse / bound", snr_db, np.array(errors) / bound_hz, 1.15, plain_ratio)


def dc_lines(seed: int, count: int) -> Iterator[Line]:
    """Noise with a constant part: a carrier where the receiver is not known to have an offset, else nothing."""
    rng = np.random.default_rng([seed, 8])
    chunks = 5
    kept: list[float] = []
    removed: list[float] = []
    frequencies_hz: list[float] = []
    plain: list[bool] = []
    for _ in range(4 * count):
        samples = noise(rng, chunks * LENGTH).astype(np.complex64) + np.complex64(10 ** (DC_DB / 20))
        figures = analyze(samples, RATE_HZ)
        kept.append(figures.features["signal_present"]["mean"] or 0.0)
        frequencies_hz.append(figures.features["frequency_offset_hz"]["mean"] or np.nan)
        features = analyze(samples, RATE_HZ, remove_dc=True).features
        removed.append(features["signal_present"]["mean"] or 0.0)
        if len(plain) < PLAIN_CHUNKS:
            plain.append(plain_figures(samples[:LENGTH].astype(np.complex128), RATE_HZ).is_present)
    present = float(np.mean(plain))
    yield rate_line(
        "DC spike", "reported by default", DC_DB, np.array(kept), LEAST_DETECTED, at_least=True, plain=present
    )
    yield bias_line("DC spike", "frequency bias Hz", DC_DB, np.array(frequencies_hz), 0.05)
    yield rate_line(
        "DC spike", "reported with remove_dc", DC_DB, np.array(removed), 2e-3, at_least=False, plain=present
    )


def clipped_lines(seed: int, count: int) -> Iterator[Line]:
    """Samples beyond the rail: flagged, with their fraction; others not."""
    rng = np.random.default_rng([seed, 9])

    def flags(make: Callable[[], tuple[Samples, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found, errors = [], []
        for _ in range(count):
            samples, fraction = make()
            notes = analyze(samples, RATE_HZ).notes
            found.append(float(notes["clipped"]))
            errors.append(notes["clipped_fraction"] / fraction - 1 if fraction else 0.0)
        return np.array(found), np.array(errors)

    def over(waveform: str, rail_rms: float) -> tuple[Samples, float]:
        samples = with_snr(WAVEFORMS[waveform](rng, LENGTH, RATE_HZ), 20, rng)
        parts = samples.view(np.float64)
        rail = rail_rms * float(np.sqrt(np.mean(parts**2)))
        return clipped(samples, rail), float(np.mean(np.abs(parts) >= rail))

    def within(waveform: str) -> tuple[Samples, float]:
        samples = with_snr(WAVEFORMS[waveform](rng, LENGTH, RATE_HZ), 20, rng)
        return rounded(0.9 * samples / np.abs(samples.view(np.float64)).max(), 8), 0.0

    for waveform, rail_rms in (("qpsk", 1.5), ("noise_like", 2.5), ("cw", 1.3)):
        found, errors = flags(lambda waveform=waveform, rail_rms=rail_rms: over(waveform, rail_rms))  # type: ignore[misc]
        signal = f"{waveform}, clipped"
        yield rate_line(signal, "flagged", 20, found, 1.0, at_least=True, plain=0.0)
        yield bias_line(signal, "clipped fraction bias", 20, errors, 0.01)
    found, _ = flags(lambda: within("qpsk"))
    yield rate_line("qpsk in 8 bits", "flagged", 20, found, 0.0, at_least=False, plain=0.0)
