"""Occupied bandwidth, centroid, roll-off, line share."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.dsp.shape import crossing
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, noise, shifted, tone, with_snr
from heimdall_assets_tests.dsp.trials import measured


def test_a_crossing_is_interpolated_inside_its_bin() -> None:
    passed = np.array([[1.0, 3.0, 4.0], [1.0, 3.0, 4.0], [1.0, 3.0, 4.0]])
    # the first bin reaches from -0.5 to 0.5
    assert crossing(passed, np.zeros(3), np.array([0.5, 2.0, 4.0])).tolist() == [0.0, 1.0, 2.5]


def test_a_target_that_rounding_leaves_unreached_is_met_at_the_end() -> None:
    assert crossing(np.array([[1.0, 2.0]]), np.zeros(1), np.array([2.0000001])).tolist() == [1.5]


def test_a_rectangular_spectrum_has_the_figures_of_a_rectangle() -> None:
    rng = np.random.default_rng(1)
    spectrum = np.fft.fft(noise(rng, LENGTH))
    spectrum[np.abs(np.fft.fftfreq(LENGTH, 1 / RATE_HZ)) > 10_000] = 0
    band = np.fft.ifft(spectrum)
    rows = measured(with_snr(shifted(band / band.std(), 30_000, RATE_HZ), 30, rng)[np.newaxis])
    # 4000 independent bins: edges and moments are known to a few percent of the width, at the worst
    assert rows.bandwidth_hz == pytest.approx(0.99 * 20_000, rel=0.02)
    assert rows.centroid_hz == pytest.approx(30_000, abs=400)
    assert rows.rolloff_hz == pytest.approx(20_000 + 0.85 * 20_000, abs=600)


def test_a_lone_line_is_a_few_bins_wide_wherever_it_lies() -> None:
    rng = np.random.default_rng(2)
    for frequency_hz in (-99_990.0, -12_345.6, 0.0, 80.0, 99_900.0):  # inside bands, at their edges, at the band's
        rows = measured(with_snr(tone(frequency_hz, LENGTH, RATE_HZ), 20, rng)[np.newaxis])
        assert 5 <= rows.bandwidth_hz <= 25
        assert rows.centroid_hz == pytest.approx(frequency_hz, abs=2.5)
        assert rows.line_share == pytest.approx(1, abs=0.03)


def test_two_equal_lines_hold_half_of_the_power_each() -> None:
    rng = np.random.default_rng(3)
    pair = (tone(-20_000, LENGTH, RATE_HZ) + tone(30_000, LENGTH, RATE_HZ)) / np.sqrt(2)
    rows = measured(with_snr(pair, 20, rng)[np.newaxis])
    assert rows.line_share == pytest.approx(0.5, abs=0.03)
    assert rows.centroid_hz == pytest.approx(5000, abs=200)
