"""The probability that a chunk's figures are right."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.dsp.confidence import probability_floor, probability_right, snr_deviation
from heimdall_assets.dsp.noise import Floor
from heimdall_assets_tests.dsp.calibration import HELD_OUT_CLASSES, HELD_OUT_NOISE, expected_calibration_error, outcomes
from heimdall_assets_tests.dsp.trials import trials


def even(count: int = 1) -> Floor:
    return Floor(np.ones(count), np.zeros(count), np.ones(count), np.ones(count, bool))


def uneven(count: int = 1) -> Floor:
    return Floor(np.ones(count), np.full(count, 0.8), np.full(count, 1.5), np.ones(count, bool))


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def test_confidence_is_calibrated_on_signal_classes_that_it_was_not_fitted_to() -> None:
    # 1600 chunks of -10 to 40 dB behind receivers of every kind; by chance a perfect calibration would be off by 0.01
    measured = outcomes((*HELD_OUT_CLASSES, *HELD_OUT_NOISE), 1600, seed=20)
    assert expected_calibration_error(measured.probability(), measured.is_right) <= 0.05
    found = measured.margin > 1
    assert expected_calibration_error(measured.probability()[found], measured.is_right[found]) <= 0.05


def test_confidence_grows_with_the_margin_and_falls_with_chance_and_unevenness() -> None:
    snr, margin, deviation = array(100.0), array(5.0), array(0.1)
    usual = probability_right(margin, deviation, snr, even())
    assert probability_right(2 * margin, deviation, snr, even()) > usual
    assert probability_right(margin, 3 * deviation, snr, even()) < usual
    assert probability_right(margin, deviation, snr, uneven()) < usual / 2


def test_an_uneven_floor_matters_for_strong_signals_only() -> None:
    strong, weak = array(1000.0), array(1.0)
    assert probability_floor(strong, uneven()) < 0.1
    assert probability_floor(weak, uneven()) > 0.9


def test_a_near_miss_is_less_sure_to_be_noise() -> None:
    probability = probability_right(array(0.5, 0.98), array(1.0, 1.0), array(0.0, 0.0), even(2))
    assert probability[0] > probability[1]


@pytest.mark.parametrize(("name", "snr_db"), [("cw", -15), ("cw", 10), ("qpsk", -5), ("qpsk", 10), ("noise_like", 3)])
def test_the_deviation_due_to_chance_is_that_of_the_errors(name: str, snr_db: float) -> None:
    result = trials(name, snr_db, 60)
    predicted = 10 / np.log(10) * np.median(result.rows.snr_deviation)
    spread = np.nanstd(result.snr_error_db)
    # the spread of 60 errors is known to 9 % (one standard deviation)
    assert spread == pytest.approx(predicted, rel=0.3)


def test_the_deviation_is_that_of_counting_noise() -> None:
    # s = 100 over B = 10 bins: sqrt(10 + 200) / 100 with the floor known, and (1 + 10 / 100) sqrt(35/18 / F) from it
    assert snr_deviation(array(100), array(10), array(1e12)) == pytest.approx(np.sqrt(210) / 100)
    assert snr_deviation(array(1e12), array(1e11), array(50)) == pytest.approx(1.1 * np.sqrt(35 / 18 / 50))
