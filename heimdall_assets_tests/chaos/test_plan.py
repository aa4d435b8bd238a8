"""The plan: decided by its seed alone, and hard enough."""

from __future__ import annotations

from collections import Counter

import pytest

from heimdall_assets_tests.chaos.plan import KILLS, Kind, make_plan
from heimdall_assets_tests.chaos.points import KILL_POINTS


def test_a_seed_decides_the_whole_plan() -> None:
    assert make_plan(7, 5) == make_plan(7, 5)
    assert make_plan(7, 5) != make_plan(8, 5)


@pytest.mark.parametrize("seed", range(20))
def test_five_minutes_hold_at_least_five_kills_each_and_everything_else_at_least_once(seed: int) -> None:
    plan = make_plan(seed, 5)
    kills = Counter(int(fault.at_s // 60) for fault in plan if fault.kind in KILLS)
    assert sorted(kills) == [0, 1, 2, 3, 4]
    assert min(kills.values()) >= 5
    assert {fault.kind for fault in plan} == set(Kind)
    assert {fault.point for fault in plan if fault.point} == set(KILL_POINTS)
    assert plan == sorted(plan)
    assert all(0 <= fault.at_s < 300 for fault in plan)


def test_a_fraction_of_a_minute_has_its_share() -> None:
    kills = [fault for fault in make_plan(3, 0.5) if fault.kind in KILLS]
    assert 3 <= len(kills) <= 4
    assert all(fault.at_s < 30 for fault in kills)
