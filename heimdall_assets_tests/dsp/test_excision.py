"""Distribution of mean noise powers, and forward consecutive mean excision."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.dsp.excision import (
    EXCISION_PROBABILITY,
    HANN_THIRD_CUMULANT,
    HANN_VARIANCE,
    MeanPower,
    averaged,
    consecutive_mean_excision,
)

RNG_SEED = 1


def hann_means(bins: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Means over neighbouring bins of white noise under a Hann window, whose spectrum is (-1/2, 1, -1/2)."""
    rng = np.random.default_rng(RNG_SEED)
    powers = np.empty(count)
    for start in range(0, count, 10_000):
        part = powers[start : start + 10_000]
        parts = rng.standard_normal((2, part.size, bins + 2), np.float32)
        windowed = parts[..., 1:-1] - (parts[..., :-2] + parts[..., 2:]) / 2
        part[:] = (windowed**2).sum(axis=0).mean(axis=1) / 3
    return powers


def test_the_cumulants_are_those_of_the_window() -> None:
    theta = 2 * np.pi * np.arange(4096) / 4096
    weight = (1 - np.cos(theta)) ** 2 / 1.5
    assert pytest.approx(np.mean(weight**2)) == HANN_VARIANCE
    assert pytest.approx(2 * np.mean(weight**3)) == HANN_THIRD_CUMULANT


@pytest.mark.parametrize("bins", [8, 32, 128])
def test_the_tail_under_a_hann_window_is_met(bins: int) -> None:
    means = hann_means(bins, 200_000)
    distribution = MeanPower.of_hann_bins(bins)
    assert means.std() == pytest.approx(distribution.deviation, rel=0.04)
    for probability in (1e-2, 1e-3):
        # 2000 and 200 of 200,000 are known to 2 and 7 %; the formula is 20 % off for 8 bins, whose ends matter
        share = np.mean(means > distribution.threshold(probability))
        assert share == pytest.approx(probability, rel=0.3)


def test_the_tail_of_independent_samples_is_that_of_the_gamma_distribution() -> None:
    # of one exponential variable: exp(-t)
    assert MeanPower.of_samples(1).threshold(1e-3) == pytest.approx(-np.log(1e-3))


def test_noise_keeps_its_mean_although_the_tail_is_cut() -> None:
    bins = 16
    cells = hann_means(bins, 400_000).reshape(400, 1000)
    distribution = MeanPower.of_hann_bins(bins)
    estimates = consecutive_mean_excision(cells, distribution, 0.1)
    assert distribution.excised_mean == pytest.approx(0.9976, abs=0.001)
    assert estimates.mean() == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize("occupied", [0.1, 0.5, 0.85])
def test_cells_with_signal_do_not_raise_the_noise(occupied: float) -> None:
    bins = 16
    cells = hann_means(bins, 100_000).reshape(100, 1000)
    cells[:, : int(occupied * 1000)] *= 100
    estimates = consecutive_mean_excision(cells, MeanPower.of_hann_bins(bins), 0.1)
    assert estimates.mean() == pytest.approx(1, abs=0.01)


def test_infinite_cells_are_not_noise() -> None:
    cells = hann_means(16, 1000).reshape(1, 1000)
    expected = consecutive_mean_excision(cells[:, :800], MeanPower.of_hann_bins(16), 0.1)
    cells[0, 800:] = np.inf
    assert consecutive_mean_excision(cells, MeanPower.of_hann_bins(16), 0.1) == pytest.approx(expected, rel=0.01)


def test_excision_rejects_as_much_noise_as_it_says() -> None:
    threshold = MeanPower.of_hann_bins(32).threshold(EXCISION_PROBABILITY)
    assert np.mean(hann_means(32, 200_000) > threshold) == pytest.approx(1e-3, rel=0.3)


def test_averages_leave_out_a_remainder() -> None:
    bands = np.arange(10.0).reshape(1, 10)
    assert averaged(bands, 4).tolist() == [[1.5, 5.5]]
