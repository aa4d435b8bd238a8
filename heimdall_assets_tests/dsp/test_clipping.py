"""Samples at the rail."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.dsp import analyze
from heimdall_assets.dsp.clipping import RailCounter, find_extremes
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, Samples, clipped, noise, rounded, tone, with_snr


def fraction_of(*groups: Samples) -> float:
    counter = RailCounter()
    for group in groups:
        chunks = group.astype(np.complex64).reshape(2, -1)
        counter.add(chunks, find_extremes(chunks))
    return counter.clipped_fraction


NOISE = noise(np.random.default_rng(1), LENGTH)


@pytest.mark.parametrize("rail", [0.5, 1.0, 2.0, 2.5])
def test_clipped_noise_is_flagged_with_its_fraction(rail: float) -> None:
    beyond = np.mean(np.abs(NOISE.view(np.float64)) >= rail)
    assert fraction_of(clipped(NOISE, rail)) == pytest.approx(beyond)


@pytest.mark.parametrize("bits", [8, 16])
def test_clipping_of_integer_samples_is_flagged(bits: int) -> None:
    fraction = fraction_of(rounded(0.5 * NOISE, bits))
    rail = 1 - 1.5 / 2 ** (bits - 1)  # from here on values round to the largest integer
    assert fraction == pytest.approx(np.mean(np.abs(0.5 * NOISE.view(np.float64)) >= rail), rel=0.01)


def test_a_clipped_tone_is_flagged() -> None:
    assert fraction_of(clipped(tone(12_345.6, LENGTH, RATE_HZ), 0.9)) > 0.2


UNCLIPPED = {
    "noise": NOISE,
    "noise in 16 bits": rounded(0.1 * NOISE, 16),
    "noise in 8 bits": rounded(0.2 * NOISE, 8),
    "noise of a few steps": rounded(0.01 * NOISE, 8),
    "noise of less than a step": rounded(0.003 * NOISE, 8),
    "a tone": tone(12_345.6, LENGTH, RATE_HZ),
    "a tone whose values repeat": tone(12_500, LENGTH, RATE_HZ),
    "a tone at a quarter of the rate": tone(50_000, LENGTH, RATE_HZ),
    "a tone in 16 bits": rounded(0.9 * tone(12_345.6, LENGTH, RATE_HZ), 16),
    "a tone in 8 bits": rounded(0.9 * tone(12_345.6, LENGTH, RATE_HZ), 8),
    "a tone in noise": rounded(0.1 * with_snr(tone(12_345.6, LENGTH, RATE_HZ), 10, np.random.default_rng(2)), 8),
    "a keyed carrier without noise": np.repeat([1.0 + 0j, 0, 1, 1], LENGTH // 4),
    "two values": np.where(NOISE.real > 0, 1, -1) + 1j * np.where(NOISE.imag > 0, 1, -1),
}


@pytest.mark.parametrize("name", UNCLIPPED)
def test_what_was_not_clipped_is_not_flagged(name: str) -> None:
    assert fraction_of(UNCLIPPED[name]) == 0


def test_the_rail_is_that_of_all_groups() -> None:
    low, high = clipped(0.3 * NOISE, 1.0), clipped(NOISE, 1.0)
    whole = fraction_of(np.concatenate([low, high]))
    assert fraction_of(low, high) == pytest.approx(whole)
    assert fraction_of(high, low) == pytest.approx(whole)


def test_clipping_is_in_the_notes() -> None:
    notes = analyze(clipped(NOISE, 1.5), RATE_HZ).notes
    assert notes["clipped"] is True
    assert notes["clipped_fraction"] == pytest.approx(np.mean(np.abs(NOISE.view(np.float64)) >= 1.5))
    assert any("clipped" in remark for remark in notes["remarks"])
