"""Arguments outside their ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heimdall_assets.dsp import analyze
from heimdall_assets.dsp.request import Request
from heimdall_assets.errors import BadParameter, TooShort
from heimdall_assets_tests.dsp.signals import noise

SAMPLES = noise(np.random.default_rng(1), 5000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate_hz": 0}, "sample_rate_hz=0 must be above 0"),
        ({"sample_rate_hz": -1.5}, r"sample_rate_hz=-1\.5 must be above 0"),
        ({"sample_rate_hz": float("nan")}, "sample_rate_hz=nan is not finite"),
        ({"sample_rate_hz": "fast"}, "sample_rate_hz='fast' is not a number"),
        ({"sample_rate_hz": None}, "sample_rate_hz=None is not a number"),
        ({"chunk_duration_ms": 0}, "chunk_duration_ms=0 must be above 0"),
        ({"chunk_duration_ms": float("inf")}, "chunk_duration_ms=inf is not finite"),
        ({"num_chunks": 0}, "num_chunks=0 must be a whole number of at least 1, or None"),
        ({"num_chunks": 2.5}, r"num_chunks=2\.5 must be a whole number"),
        ({"num_chunks": True}, "num_chunks=True must be a whole number"),
        ({"num_chunks": "all"}, "num_chunks='all' must be a whole number"),
        ({"num_chunks": float("nan")}, "num_chunks=nan must be a whole number"),
        ({"false_alarm_probability": 0}, "false_alarm_probability=0 must be above 0 and below 0.5"),
        ({"false_alarm_probability": 0.5}, r"false_alarm_probability=0\.5 must be above 0"),
        ({"calibration_db": float("nan")}, "calibration_db=nan is not finite"),
        ({"passband_hz": 3000}, "passband_hz=3000 must be a pair of frequencies"),
        ({"passband_hz": (1, 2, 3)}, r"passband_hz=\(1, 2, 3\) must be a pair"),
        ({"passband_hz": (3000, -3000)}, r"passband_hz=\(3000, -3000\) must rise and lie within"),
        ({"passband_hz": (150e3, 160e3)}, r"passband_hz=\(150000\.0, 160000\.0\) must rise .* \+-100000 Hz"),
        ({"passband_hz": (0, float("nan"))}, r"passband_hz\[1\]=nan is not finite"),
        ({"passband_hz": (0, 1000)}, "at least 16 are needed"),
    ],
)
def test_a_parameter_outside_its_range_is_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        analyze(SAMPLES, **{"sample_rate_hz": 200e3, **arguments})


def test_chunks_of_less_than_1024_samples_are_refused() -> None:
    with pytest.raises(TooShort, match=r"chunk_duration_ms=5\.0 at sample_rate_hz=200000\.0 has 1000 samples"):
        analyze(SAMPLES, 200e3, chunk_duration_ms=5.0)


def request(rate_hz: float, duration_ms: float) -> Request:
    return Request.checked(
        sample_rate_hz=rate_hz,
        chunk_duration_ms=duration_ms,
        num_chunks=5,
        false_alarm_probability=1e-3,
        calibration_db=30.0,
        passband_hz=None,
        remove_dc=False,
        response=None,
    )


@pytest.mark.parametrize(
    ("rate_hz", "duration_ms", "length"),
    [(200e3, 200.0, 40_000), (12_001.145, 200.0, 2400), (48e3, 100.3, 4814), (1e6, 4.35, 4350), (44_100, 33.3, 1468)],
)
def test_a_chunk_has_the_whole_samples_of_its_duration(rate_hz: float, duration_ms: float, length: int) -> None:
    assert request(rate_hz, duration_ms).chunk_length == length


def test_a_passband_wider_than_the_sampled_band_is_cut_to_it() -> None:
    figures = analyze(SAMPLES, 200e3, passband_hz=(-1e6, 1e6))
    assert figures.notes["passband_hz"] == [-100e3, 100e3]
