"""How right decisions and SNRs are behind front ends that are not flat: the accuracy report's rows, made smaller."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.passes import current
from heimdall_assets_tests.dsp.front_end_trials import Front, false_alarms, gains, shaped, snr_trials
from heimdall_assets_tests.dsp.receivers import SHAPES, droop, through
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, Real, noise

FRONTS: tuple[Front, ...] = (
    *((name, 3.0) for name in SHAPES),
    ("quadratic", 0.6),
    ("quadratic", 9.0),
    ("cic", 9.0),
    ("tilt", 9.0),
    ("roll_off", 6.0),
)


@pytest.mark.parametrize("name", ["quadratic", "tilt"])
def test_a_response_applied_to_a_spectrum_is_that_applied_to_samples(name: str) -> None:
    grid = grid_for(LENGTH, RATE_HZ)
    white = noise(np.random.default_rng(1), LENGTH)
    behind = through(white, droop(name, 9.0))
    both = np.stack([white, behind]).astype(np.complex64)
    waveform, spectrum = current().transform(both, grid, slice(0, grid.num_bins))
    position: Real = 2 * (np.arange(grid.num_bins) + grid.first_bin) / grid.num_bins
    _, applied = shaped(waveform, spectrum, gains((name, 9.0), position), grid)
    np.testing.assert_allclose(applied.band_power[0], spectrum.band_power[1], rtol=0.02)  # the window widens a bin
    np.testing.assert_allclose(applied.band_moment[0], spectrum.band_moment[1], rtol=0.04)
    np.testing.assert_allclose(applied.coefficients[0], spectrum.coefficients[1], atol=0.01)
    assert applied.peak[0] == spectrum.peak[1]


@pytest.mark.parametrize(
    ("length", "count", "probability"), [(LENGTH, 150, 1e-3), (2400, 1000, 1e-3), (2400, 300, 1e-2)]
)
def test_noise_behind_a_front_end_is_no_signal(length: int, count: int, probability: float) -> None:
    alarms = false_alarms(FRONTS, count, length, 1, probability=probability)
    assert np.mean(list(alarms.values())) <= 2 * probability
    assert max(found.sum() for found in alarms.values()) <= 3 * probability * count + 2


def test_a_single_chunk_of_noise_behind_a_front_end_is_no_signal() -> None:
    alarms = false_alarms(FRONTS[::2], 500, 2400, 2, chunks=1)
    assert np.mean(list(alarms.values())) <= 2e-3


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("signal", ["cw", "nbfm", "qpsk", "noise_like_30"])
def test_the_snr_behind_a_front_end_is_that_of_total_powers(signal: str, snr_db: float) -> None:
    fronts: list[Front] = [("quadratic", 3.0), ("cic", 9.0), ("half_band", 3.0), ("tilt", 3.0)]
    for result in snr_trials(signal, snr_db, fronts, 3, LENGTH, seed=1).values():
        assert result.is_present.all()
        assert np.nanmean(result.error_db) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("signal", ["cw", "nbfm", "qpsk"])
def test_the_snr_of_short_chunks_behind_a_front_end_is_that_of_total_powers(signal: str, snr_db: float) -> None:
    fronts: list[Front] = [("quadratic", 3.0), ("cic", 9.0), ("half_band", 3.0), ("tilt", 3.0)]
    for result in snr_trials(signal, snr_db, fronts, 10, 2400, seed=1).values():
        assert np.nanmean(result.error_db) == pytest.approx(0, abs=0.3)
