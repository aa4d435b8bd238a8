"""Time from GNSS stamps: the rate of the clock that samples, and UTC of the first sample.

KiwiSDR stamps each block of samples with GPS time. The nominal sample rate is only a round number; the true one is
the slope of the stamps. The first stamps are often stale: their time is that of an earlier fix, minutes ago,
though their samples are good. Such stamps are left out, and the start is extrapolated back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import MalformedRecording

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRESH_SECONDS = 60
"""A fix of at most this age dates its block."""
NO_FIX = 254
STEP_TOLERANCE = 0.05
"""Stamps are in step if their distance is that of their samples within 5 %; the nominal rate may be truncated."""
MAX_DELAY_NS = 100e6
WEEK = timedelta(weeks=1)
WEEK_NS = 604_800 * 10**9
GPS_EPOCH = datetime(1980, 1, 6, tzinfo=UTC)
LEAP_SECONDS = ((datetime(2017, 1, 1, tzinfo=UTC), 18), (datetime(2015, 7, 1, tzinfo=UTC), 17))
"""GPS - UTC in seconds, since when, latest first (IERS Bulletin C); KiwiSDRs exist since 2016."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What the stamps say: GPS time of week of the first sample in ns (negative: the week before), s per sample."""

    begin_ns: float
    sample_s: float


def fit_clock(positions: NDArray[np.int64], stamps: NDArray[np.void], nominal_s: float, name: str) -> Clock | None:
    """Time of the first sample and duration of a sample, from the longest run of fresh stamps that are in step.

    Parameters
    ----------
    positions : ndarray of int64, shape (n,)
        Which samples the stamps date, strictly ascending.
    stamps : structured ndarray, shape (n,)
        ``age_s`` (seconds since the last fix; 254 and 255: none), ``second`` of the GPS week, ``nanosecond``.
    nominal_s : float
        Duration of a sample at the nominal sample rate, in s.
    name : str
        The file's, for messages.

    Returns
    -------
    Clock or None
        Least squares over the longest run of stamps whose distances are those of their samples; None where no two
        are. A block that was lost ends a run, so that the rate stays right.

    Raises
    ------
    MalformedRecording
        The stamps run steadily, but at another rate.
    """
    fresh = stamps["age_s"] <= FRESH_SECONDS
    usable = np.flatnonzero(fresh if fresh.sum() >= 2 else stamps["age_s"] < NO_FIX)
    if len(usable) < 2:
        return None
    position = positions[usable]
    time_ns = stamps["second"][usable].astype(np.int64) * 10**9 + stamps["nanosecond"][usable]
    time_ns = time_ns + WEEK_NS * np.concatenate([[0], np.cumsum(np.diff(time_ns) < -WEEK_NS // 2)])
    sample_s = np.diff(time_ns) / np.diff(position) / 1e9
    in_step = np.abs(sample_s / nominal_s - 1) <= STEP_TOLERANCE
    if not in_step.any():
        _refuse_other_rate(sample_s, nominal_s, name)
        return None
    first, last = _longest_run(in_step)
    x = (position[first : last + 2] - position[first]).astype(np.float64)
    y = (time_ns[first : last + 2] - time_ns[first]) / 1e9
    slope = float(np.dot(x - x.mean(), y - y.mean()) / np.dot(x - x.mean(), x - x.mean()))
    offset_s = float(y.mean() - slope * (x.mean() + position[first]))
    return Clock(begin_ns=float(time_ns[first]) + offset_s * 1e9, sample_s=slope)


def undelayed(clock: Clock, first_stamp: np.void) -> float:
    """GPS time of week in ns of the first sample of a resampled file: that of its own stamp, if it is in step.

    A resampler hands out its first sample with its first block, and all later ones after its delay, milliseconds: a
    clock that is fitted to them begins too late.
    """
    stamped_ns = float(first_stamp["second"]) * 1e9 + float(first_stamp["nanosecond"])
    is_in_step = abs(stamped_ns - clock.begin_ns) <= MAX_DELAY_NS
    return stamped_ns if first_stamp["age_s"] <= FRESH_SECONDS and is_in_step else clock.begin_ns


def _refuse_other_rate(sample_s: NDArray[np.float64], nominal_s: float, name: str) -> None:
    """A clock that runs steadily at another rate than ``fmt `` claims is a contradiction, not a missing fix."""
    median = float(np.median(sample_s))
    if len(sample_s) >= 8 and median > 0 and np.mean(np.abs(sample_s / median - 1) <= STEP_TOLERANCE) > 0.5:
        raise MalformedRecording(
            f"{name} has {1 / nominal_s:.6g} samples per second by its fmt chunk, "
            f"but {1 / median:.6g} by its time stamps"
        )


def _longest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last index of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    return int(begins[longest]), int(ends[longest]) - 1


def utc(time_of_week_ns: float, near: datetime | None) -> datetime | None:
    """UTC of a GPS time of week, in the week that brings it nearest to another time; None without one."""
    if near is None or not GPS_EPOCH.year < near.year < MAXYEAR:
        return None
    leap = next((seconds for since, seconds in LEAP_SECONDS if near >= since), LEAP_SECONDS[-1][1])
    in_first_week = GPS_EPOCH + timedelta(microseconds=round(time_of_week_ns / 1000)) - timedelta(seconds=leap)
    return in_first_week + round((near - in_first_week) / WEEK) * WEEK
