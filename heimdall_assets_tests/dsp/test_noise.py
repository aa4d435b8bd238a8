"""The noise floor of chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.noise import Floor
from heimdall_assets_tests.dsp.signals import (
    LENGTH,
    RATE_HZ,
    Samples,
    noise,
    noise_like,
    ofdm,
    with_snr,
)

if TYPE_CHECKING:
    from heimdall_assets.dsp.passes import Passes

GRID = grid_for(LENGTH, RATE_HZ)


def floor_of(passes: Passes, samples: Samples, *, in_time: bool = True) -> Floor:
    chunk = samples.astype(np.complex64)[np.newaxis]
    waveform, spectrum = passes.transform(chunk, GRID, slice(0, GRID.num_bins))
    return passes.noise_floor(spectrum.band_power, GRID, waveform.slot_power if in_time else None)


def test_white_noise_is_its_own_floor_and_even(passes: Passes) -> None:
    floor = floor_of(passes, noise(np.random.default_rng(1), LENGTH))
    assert floor.per_bin * GRID.num_bins == pytest.approx(1, rel=0.02)  # 4 standard deviations of 1 / sqrt(40000)
    assert floor.spread_db == pytest.approx(0, abs=0.05)
    assert floor.dispersion == pytest.approx(1, abs=0.2)


def test_a_gap_in_the_spectrum_shows_the_floor(passes: Passes) -> None:
    rng = np.random.default_rng(2)
    floor = floor_of(passes, with_snr(noise_like(rng, LENGTH, RATE_HZ), 20, rng))
    assert floor.per_bin * GRID.num_bins == pytest.approx(1, rel=0.06)  # from a fifth of the bins


def test_quiet_time_shows_the_floor_of_bursts_that_fill_the_band(passes: Passes) -> None:
    rng = np.random.default_rng(3)
    samples = noise(rng, LENGTH)
    samples[: LENGTH // 2] *= 10
    assert floor_of(passes, samples).per_bin * GRID.num_bins == pytest.approx(1, rel=0.05)
    assert floor_of(passes, samples, in_time=False).per_bin * GRID.num_bins > 10


def test_gaps_of_zeros_are_not_quiet_noise(passes: Passes) -> None:
    samples = noise(np.random.default_rng(4), LENGTH)
    samples[1000:6000] = 0
    samples[20_000:23_000] = 0
    # a fifth of the time is missing, and with it a fifth of the power, a quarter under the window: that is all
    assert floor_of(passes, samples).per_bin * GRID.num_bins == pytest.approx(0.75, rel=0.05)


def test_the_sidelobes_of_a_strong_signal_are_an_uneven_floor(passes: Passes) -> None:
    rng = np.random.default_rng(5)
    floor = floor_of(passes, with_snr(ofdm(rng, LENGTH, RATE_HZ), 30, rng))
    assert floor.spread_db > 0.3
    assert floor.per_bin * GRID.num_bins > 2


def test_a_floor_below_the_resolution_is_a_limit_and_no_estimate() -> None:
    found = Floor(np.array([1.0, 1e-9]), np.array([0.5, 0.5]), np.array([2.0, 2.0]), np.array([True, True]))
    limited = found.above(np.array([1e-6, 1e-6]))
    assert limited.per_bin.tolist() == [1.0, 1e-6]
    assert limited.is_resolved.tolist() == [True, False]
    assert limited.spread_db.tolist() == [0.5, 0.0]
    assert limited.dispersion.tolist() == [2.0, 1.0]
