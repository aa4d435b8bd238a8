"""Geometric dilution of precision."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.dsp import gdop
from heimdall_assets.dsp.geometry import centroid_latlon
from heimdall_assets.errors import BadParameter

DCF77 = (50.0152, 9.0112)
KIWIS = [(53.665337, 7.282766), (45.779290, 0.614638), (47.1721, 8.42683)]
METRES_PER_DEGREE = 111_195.0


def ring(count: int, centre: tuple[float, float], radius_m: float = 1000.0) -> list[tuple[float, float]]:
    """Receivers evenly around a centre; small, so that the Earth is flat, and its flattening is 0.3 % at the most."""
    angles = 2 * np.pi * np.arange(count) / count + 0.3
    north = radius_m * np.sin(angles) / METRES_PER_DEGREE
    east = radius_m * np.cos(angles) / METRES_PER_DEGREE / np.cos(np.radians(centre[0]))
    return list(zip(centre[0] + north, centre[1] + east, strict=True))


@pytest.mark.parametrize("count", [3, 4, 5, 7, 12, 100])
def test_a_ring_of_n_receivers_has_the_root_of_5_over_n(count: int) -> None:
    assert gdop(ring(count, (45.0, 9.0)), (45.0, 9.0)) == pytest.approx(np.sqrt(5 / count), rel=0.005)


def test_the_receivers_of_dcf77_have_a_dilution_of_2_28() -> None:
    # 2.28 from plane bearings; the Earth's curvature and flattening make less than 3 %
    assert gdop(KIWIS, DCF77) == pytest.approx(2.28, rel=0.03)


@given(st.integers(3, 20), st.integers(0, 1000))
def test_no_geometry_beats_the_ring(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.column_stack([rng.uniform(40, 50, count), rng.uniform(5, 15, count)])
    value = gdop(places, (45.0, 10.0))
    assert value is None or value >= np.sqrt(5 / count) * 0.999


def test_another_receiver_never_makes_it_worse() -> None:
    rng = np.random.default_rng(1)
    places = np.column_stack([rng.uniform(40, 50, 12), rng.uniform(5, 15, 12)])
    values = [gdop(places[:count], (45.0, 10.0)) for count in range(3, 13)]
    assert all(a is not None and b is not None and b <= a for a, b in pairwise(values))


@pytest.mark.parametrize("places", [[], KIWIS[:1], KIWIS[:2]])
def test_fewer_than_three_receivers_have_none(places: list[tuple[float, float]]) -> None:
    assert gdop(places, DCF77) is None


def test_receivers_in_one_direction_have_none() -> None:
    assert gdop([(46.0, 9.0), (47.0, 9.0), (48.0, 9.0)], (45.0, 9.0)) is None


def test_receivers_on_one_line_through_the_emitter_have_none() -> None:
    assert gdop([(44.0, 9.0), (46.0, 9.0), (47.0, 9.0)], (45.0, 9.0)) is None


def test_a_receiver_at_the_emitter_has_none() -> None:
    assert gdop([*KIWIS, DCF77], DCF77) is None


def test_altitudes_are_used_where_given() -> None:
    flat = ring(4, (45.0, 9.0), 10_000.0)
    level = [(*place, 0.0) for place in flat]
    high = [(*place, 10_000.0) for place in flat]
    assert gdop(level, (45.0, 9.0, 0.0)) == pytest.approx(gdop(flat, (45.0, 9.0)), rel=1e-9)
    # 45 degrees up: the horizontal parts shrink by the root of 2: sqrt(2 x 4/4 + 1/4)
    assert gdop(high, (45.0, 9.0)) == pytest.approx(1.5, rel=0.01)


def test_the_date_line_is_no_line() -> None:
    assert gdop(ring(5, (10.0, 180.0)), (10.0, -180.0)) == pytest.approx(1, rel=0.005)


@pytest.mark.parametrize(
    ("places", "emitter", "message"),
    [
        ([(91.0, 0.0), (0, 0), (1, 1)], DCF77, "latitudes within"),
        ([(np.nan, 0.0), (0, 0), (1, 1)], DCF77, "receivers_latlon=.* are not finite"),
        (KIWIS, (50.0, np.inf), "emitter_latlon=.* are not finite"),
        ([1.0, 2.0, 3.0], DCF77, r"receivers_latlon of shape \(3,\)"),
        (KIWIS, (1.0,), r"emitter_latlon of shape \(1, 1\)"),
        ([("a", "b")], DCF77, "are not coordinates in degrees"),
    ],
)
def test_what_is_no_place_is_refused(places: Any, emitter: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        gdop(places, emitter)


def test_the_centroid_lies_between_places() -> None:
    assert centroid_latlon([(44.0, 9.0), (46.0, 9.0)]) == pytest.approx((45.0, 9.0))
    assert centroid_latlon([(0.0, 179.0), (0.0, -177.0)]) == pytest.approx((0.0, -179.0))
    assert centroid_latlon([]) is None
    assert centroid_latlon([(0.0, 0.0), (0.0, 180.0)]) is None
