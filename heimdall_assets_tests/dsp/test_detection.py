"""Detection and support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.dsp.detection import Detection, guarded, widened
from heimdall_assets.dsp.grid import grid_for

if TYPE_CHECKING:
    from heimdall_assets.dsp.passes import Passes

GRID = grid_for(40_000, 200e3)


def bands_of_noise(rows: int = 1, seed: int = 1) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.gamma(16.5, 1 / 16.5, (rows, GRID.num_bands))


def decide(
    passes: Passes,
    bands: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    peak_power: float = 1.0,
    peak_band: int = 600,
    probability: float = 1e-3,
) -> Detection:
    rows = len(bands)
    peaks, places = np.full(rows, peak_power), np.full(rows, peak_band, np.intp)
    return passes.detect(bands, peaks, places, np.ones(rows), GRID, probability, 0.0)


def test_noise_holds_no_signal_and_no_support(passes: Passes) -> None:
    detection = decide(passes, bands_of_noise())
    assert not detection.present.any()
    assert not detection.support.any()


def test_a_strong_bin_is_a_line_with_a_support_of_its_band_and_a_guard(passes: Passes) -> None:
    detection = decide(passes, bands_of_noise(), peak_power=50.0, peak_band=600)
    assert detection.line.all()
    assert detection.single.all()
    assert np.flatnonzero(detection.support[0]).tolist() == [599, 600, 601]


def test_the_threshold_of_a_bin_is_that_of_the_exponential_tail(passes: Passes) -> None:
    # 40,000 bins, six kinds of test of which five windows fit 1250 bands: ln(40000 x 6 / 1e-3) = 19.3
    threshold = np.log(40_000 * 6 / 1e-3)
    assert decide(passes, bands_of_noise(), peak_power=0.98 * threshold).present.tolist() == [False]
    assert decide(passes, bands_of_noise(), peak_power=1.02 * threshold).present.tolist() == [True]


@pytest.mark.parametrize(("width", "rise"), [(1, 3.5), (16, 0.6), (100, 0.25), (400, 0.13)])
def test_the_wider_a_signal_the_weaker_it_may_be(passes: Passes, width: int, rise: float) -> None:
    bands = bands_of_noise(rows=20)
    bands[:, 300 : 300 + width] += rise
    detection = decide(passes, bands)
    assert detection.present.mean() >= 0.95
    found = detection.support[:, 300 : 300 + width].mean()
    assert found > 0.8


def test_a_line_does_not_smear_into_the_windows_over_it(passes: Passes) -> None:
    bands = bands_of_noise()
    bands[0, 600] = 1e6
    support = decide(passes, bands, peak_power=1e6, peak_band=600).support
    assert np.flatnonzero(support[0]).tolist() == [599, 600, 601]


def test_a_lower_false_alarm_probability_asks_for_more(passes: Passes) -> None:
    bands = bands_of_noise()
    bands[0, 500:516] += 1
    assert decide(passes, bands, probability=1e-6).margin < decide(passes, bands, probability=1e-2).margin


def test_widening_adds_one_band_to_either_side() -> None:
    support = np.array([[False, False, True, False, False, True]])
    assert widened(support).tolist() == [[False, True, True, True, True, True]]


@pytest.mark.parametrize(("width", "guard"), [(1, 1), (6, 2), (14, 3), (62, 9), (254, 33)])
def test_the_guard_is_a_band_and_an_eighth_of_the_width(width: int, guard: int) -> None:
    support = np.zeros((1, 1000), bool)
    support[0, 400 : 400 + width] = True
    occupied = np.flatnonzero(guarded(support)[0])
    assert (400 - occupied[0], occupied[-1] - (399 + width)) == (guard, guard)


def test_the_guard_stops_at_the_edge_of_the_band() -> None:
    support = np.zeros((1, 100), bool)
    support[0, 60:] = True
    assert np.flatnonzero(guarded(support)[0])[[0, -1]].tolist() == [54, 99]
