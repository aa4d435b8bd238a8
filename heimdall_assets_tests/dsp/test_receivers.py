"""The generators of receivers that are not flat: what they claim of their samples is so."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets_tests.dsp.receivers import SHAPES, WITHIN, droop, filtered, through, with_gaps
from heimdall_assets_tests.dsp.signals import RATE_HZ, noise

POSITIONS = np.linspace(-1, 1, 2001)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("depth_db", [0.3, 3.0, 9.0])
def test_a_shape_falls_by_its_depth(name: str, depth_db: float) -> None:
    shape_db = droop(name, depth_db)(POSITIONS)
    assert shape_db.max() == pytest.approx(0, abs=1e-9)
    assert shape_db.min() == pytest.approx(-depth_db, rel=0.03)  # the half-band filters' ripple adds to it


@pytest.mark.parametrize("name", SHAPES)
def test_noise_keeps_its_power_behind_a_front_end(name: str) -> None:
    behind = through(noise(np.random.default_rng(1), 200_000), droop(name, 9.0))
    assert np.mean(np.abs(behind) ** 2) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("signal", WITHIN)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.97])
def test_a_filtered_receiver_delivers_its_passband(signal: str, share: float) -> None:
    half_width_hz = share * RATE_HZ / 2
    samples = filtered(np.random.default_rng(2), 40_000, RATE_HZ, half_width_hz, 16, signal=signal, snr_db=20)
    power = np.abs(np.fft.fft(samples)) ** 2
    inside = np.abs(np.fft.fftfreq(power.size, 1 / RATE_HZ)) <= 1.02 * half_width_hz
    assert power[inside].sum() / power.sum() > 0.99
    assert np.abs(samples.view(np.float64)).max() == pytest.approx(0.3, abs=2**-15)


@pytest.mark.parametrize("pieces", [1, 20])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_gaps_are_zeros_of_the_share_that_was_asked_for(share: float, pieces: int) -> None:
    samples = with_gaps(np.random.default_rng(3), noise(np.random.default_rng(4), 40_000), share, pieces)
    is_zero = np.concatenate([[False], samples == 0, [False]])
    assert np.mean(samples == 0) == pytest.approx(share, abs=1e-3)
    assert 1 <= np.count_nonzero(np.diff(is_zero.astype(int)) == 1) <= pieces
