"""Clock and time from stamps, against clocks that the tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from heimdall_assets.errors import MalformedRecording
from heimdall_assets.iq.gnss import WEEK_NS, Clock, fit_clock, utc

STAMP = np.dtype([("age_s", "u1"), ("second", "<u4"), ("nanosecond", "<u4")])
BLOCK_S = 512 / 12001.145
NOMINAL_S = 512 / 12001


def stamps(begin_ns: float, count: int, age: int = 2) -> np.ndarray:
    """Stamps of consecutive blocks; the clock's time of week is rounded to ns and wraps at the week's end."""
    time_ns = [round(begin_ns + k * BLOCK_S * 1e9) % WEEK_NS for k in range(count)]
    return np.array([(age, t // 10**9, t % 10**9) for t in time_ns], STAMP)


def fit(values: np.ndarray) -> Clock | None:
    return fit_clock(np.arange(len(values)), values, NOMINAL_S, "rx.wav")


def test_a_steady_clock_is_found_to_a_nanosecond() -> None:
    clock = fit(stamps(5e14, 700))
    assert clock is not None
    # 0.5 ns of rounding a stamp, over 700 blocks
    assert clock.sample_s == pytest.approx(BLOCK_S, rel=1e-10)
    assert clock.begin_ns == pytest.approx(5e14, abs=1.0)


def test_stale_stamps_are_left_out_and_the_start_is_extrapolated_back() -> None:
    values = stamps(5e14, 100)
    values["second"][:7] -= 568
    clock = fit(values)
    assert clock is not None
    assert clock.sample_s == pytest.approx(BLOCK_S, rel=1e-9)
    assert clock.begin_ns == pytest.approx(5e14, abs=2.0)


def test_stamps_of_an_old_fix_are_stale_even_if_they_are_most() -> None:
    values = stamps(5e14, 100)
    values["age_s"][:80] = 200
    values["second"][:80] -= 200
    clock = fit(values)
    assert clock is not None
    assert clock.begin_ns == pytest.approx(5e14, abs=2.0)


def test_stamps_that_stand_still_until_the_fix_comes_are_stale() -> None:
    values = stamps(5e14, 60)
    values[:20] = (2, 100, 0)
    clock = fit(values)
    assert clock is not None
    assert clock.begin_ns == pytest.approx(5e14, abs=2.0)


def test_an_old_fix_is_better_than_none() -> None:
    clock = fit(stamps(5e14, 50, age=120))
    assert clock is not None
    assert clock.begin_ns == pytest.approx(5e14, abs=2.0)


@pytest.mark.parametrize("age", [254, 255])
def test_without_a_fix_there_is_no_clock(age: int) -> None:
    assert fit(stamps(5e14, 50, age=age)) is None


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_stamps_make_no_clock(count: int) -> None:
    assert fit(stamps(5e14, count)) is None


def test_stamps_that_never_change_make_no_clock() -> None:
    assert fit(np.array([(2, 100, 5)] * 50, STAMP)) is None


def test_stamps_that_no_clock_shows_are_left_out() -> None:
    values = stamps(5e14, 50)
    values["nanosecond"][3] = 4_000_000_000
    values["second"][30] = 604_800
    clock = fit(values)
    assert clock is not None
    assert clock.sample_s == pytest.approx(BLOCK_S, rel=1e-8)


def test_a_lost_block_does_not_bend_the_rate() -> None:
    values = np.concatenate([stamps(5e14, 300), stamps(5e14 + 301 * BLOCK_S * 1e9, 100)])
    clock = fit(values)
    assert clock is not None
    assert clock.sample_s == pytest.approx(BLOCK_S, rel=1e-9)
    assert clock.begin_ns == pytest.approx(5e14, abs=2.0)


def test_the_end_of_the_gps_week_is_no_jump() -> None:
    for count, begin_ns in [(100, WEEK_NS - 1e9), (2, WEEK_NS - 1e7)]:
        clock = fit(stamps(begin_ns, count))
        assert clock is not None
        assert clock.begin_ns % WEEK_NS == pytest.approx(begin_ns, abs=2.0)


def test_a_clock_that_runs_steadily_at_another_rate_contradicts_the_header() -> None:
    with pytest.raises(MalformedRecording, match=r"rx\.wav has 93\.75 .* by its fmt chunk, but 23\.4"):
        fit_clock(np.arange(50), stamps(5e14, 50), 512 / 48000, "rx.wav")


@pytest.mark.parametrize(
    ("time_of_week_s", "near", "time"),
    [
        # Monday 2017-11-27, 10:42:14 GPS
        (124_934, datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC), datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)),
        (124_934, datetime(2017, 11, 30, 9, tzinfo=UTC), datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)),
        (124_934, datetime(2017, 12, 3, 9, tzinfo=UTC), datetime(2017, 12, 4, 10, 41, 56, tzinfo=UTC)),
        # a week begins on Saturday, 23:59:42 UTC
        (0, datetime(2017, 11, 26, tzinfo=UTC), datetime(2017, 11, 25, 23, 59, 42, tzinfo=UTC)),
        (-1, datetime(2017, 11, 26, tzinfo=UTC), datetime(2017, 11, 25, 23, 59, 41, tzinfo=UTC)),
        # 17 leap seconds before 2017
        (124_934, datetime(2016, 11, 28, 10, tzinfo=UTC), datetime(2016, 11, 28, 10, 41, 57, tzinfo=UTC)),
    ],
)
def test_the_week_is_the_one_nearest_to_another_time(time_of_week_s: int, near: datetime, time: datetime) -> None:
    assert utc(time_of_week_s * 1e9, near) == time


@pytest.mark.parametrize("near", [None, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_without_a_sensible_other_time_there_is_no_time(near: datetime | None) -> None:
    assert utc(1e9, near) is None


def test_microseconds_survive() -> None:
    near = datetime(2024, 3, 5, tzinfo=UTC)
    first, second = utc(2e14, near), utc(2e14 + 1000, near)
    assert first is not None
    assert second is not None
    assert second - first == timedelta(microseconds=1)
