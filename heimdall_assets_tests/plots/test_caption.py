"""Numbers in words: the best unit, and no more digits than are known."""

from __future__ import annotations

import pytest

from heimdall_assets.plots.caption import frequency, scale_of, seconds, spacing


@pytest.mark.parametrize(
    ("value_hz", "expected"),
    [(0.0, (1.0, "Hz")), (999.9, (1.0, "Hz")), (-1e3, (1e3, "kHz")), (145.5e6, (1e6, "MHz")), (2.4e9, (1e9, "GHz"))],
)
def test_a_frequency_has_the_unit_in_which_it_reads_best(value_hz: float, expected: tuple[float, str]) -> None:
    assert scale_of(value_hz) == expected


@pytest.mark.parametrize(
    ("value_hz", "deviation_hz", "expected"),
    [
        (48_798.12, 0.02, "48.798120 ± 0.000020 kHz"),
        (-20_000.0, 18_000.0, "-20 ± 18 kHz"),
        (0.08, 0.2, "0.08 ± 0.20 Hz"),
        (620.6, 0.0, "620.6 Hz"),
        (23_330.0, 0.0, "23.33 kHz"),
        (6_080.0, 0.0, "6.080 kHz"),
        (0.0, 0.0, "0.000 Hz"),
        (5.0, 1e-12, "5.000 Hz"),
        (100.0, 5e6, "100 ± 5000000 Hz"),
    ],
)
def test_a_measured_frequency_has_the_digits_that_its_deviation_leaves(
    value_hz: float, deviation_hz: float, expected: str
) -> None:
    assert frequency(value_hz, deviation_hz) == expected


@pytest.mark.parametrize(("value_hz", "expected"), [(5.0, "5 Hz"), (390.625, "391 Hz"), (4687.5, "4.69 kHz")])
def test_a_set_frequency_has_three_digits(value_hz: float, expected: str) -> None:
    assert spacing(value_hz) == expected


@pytest.mark.parametrize(
    ("value_s", "expected"),
    [(0.0, "0 s"), (0.99990, "1 s"), (29.4849, "29.485 s"), (100.0, "100 s"), (5.12e-6, "5.12e-06 s")],
)
def test_a_time_has_milliseconds_or_three_digits(value_s: float, expected: str) -> None:
    assert seconds(value_s) == expected
