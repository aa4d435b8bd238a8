"""The calibration of confidence_score in the accuracy report."""

from __future__ import annotations

import numpy as np

from heimdall_assets_tests.benchmarks.intervals import Line
from heimdall_assets_tests.dsp.calibration import (
    HELD_OUT_CLASSES,
    HELD_OUT_NOISE,
    Outcomes,
    expected_calibration_error,
    outcomes,
)


def confidence_outcomes(seed: int, count: int) -> Outcomes:
    """Measure classes that the confidence was not fitted to."""
    return outcomes((*HELD_OUT_CLASSES, *HELD_OUT_NOISE), count, seed + 100)


def confidence_line(result: Outcomes, seed: int) -> Line:
    """Calibration of confidence_score on those."""
    probability = result.probability()
    error = expected_calibration_error(probability, result.is_right)
    rng = np.random.default_rng(seed)
    resampled = [
        expected_calibration_error(probability[chosen], result.is_right[chosen])
        for chosen in rng.integers(probability.size, size=(200, probability.size))
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Line("held-out classes", "calibration error", None, error, float(low), float(high), 0.05, error <= 0.05)
