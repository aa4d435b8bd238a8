"""Sessions arrive as their seed says, whatever is away meanwhile, and what happens to their files is known."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING

from heimdall_assets_tests.chaos.arrivals import DELETION, TRUNCATION, Arrival, Arrivals, Sort, expected_of
from heimdall_assets_tests.factory import GOOD

if TYPE_CHECKING:
    from heimdall_assets_tests.factory import SessionFactory

SECONDS = 2.4


def test_sessions_arrive_completed_with_all_files_that_are_to_come(factory: SessionFactory) -> None:
    arrivals = Arrivals(factory, seed=5, seconds=SECONDS)
    arrivals.start()
    arrivals.finish()
    assert len(arrivals.known) == 3  # 75 a minute
    rows = factory.rows("SELECT id FROM heimdall.recording_sessions WHERE status = 'completed'")
    assert {row[0] for row in rows} == {arrival.session_id for arrival in arrivals.known}
    located = factory.rows("SELECT iq_data_location FROM heimdall.measurements WHERE iq_data_location IS NOT NULL")
    for (location,) in located:
        assert (factory.root / location).exists() == (not location.startswith("never/"))


def test_a_seed_decides_what_arrives(factory: SessionFactory) -> None:
    def arrive(seed: int) -> list[Arrival]:
        arrivals = Arrivals(factory, seed, SECONDS)
        arrivals.start()
        arrivals.finish()
        return arrivals.known

    first, again, other = arrive(1), arrive(1), arrive(2)  # the same ones again are written once
    assert first == again
    assert {arrival.session_id for arrival in first}.isdisjoint(arrival.session_id for arrival in other)
    written = factory.scalar("SELECT count(*) FROM heimdall.recording_sessions")
    assert written == len(first) + len(other)


def test_one_session_a_minute_holds_a_value_that_nobody_can_work_with(factory: SessionFactory) -> None:
    arrivals = Arrivals(factory, seed=5, seconds=24.0)
    arrivals.start()
    arrivals.finish()
    [poisonous] = [arrival for arrival in arrivals.known if arrival.sort is Sort.POISONOUS]
    query = "SELECT id FROM heimdall.recording_sessions WHERE NOT isfinite(session_start)"
    assert factory.rows(query) == [(poisonous.session_id,)]
    expected = expected_of(poisonous)
    assert expected.states == {"quarantined"}
    assert "bad_row" in expected.reasons


def test_files_of_one_session_alone_are_damaged_once_and_not_while_their_folder_is_away(
    factory: SessionFactory,
) -> None:
    factory.write_files()
    arrivals = Arrivals(factory, seed=1, seconds=SECONDS)
    own, other = (Arrival(factory.add(), Sort.OWN) for _ in range(2))
    arrivals.known += [own, other, Arrival(factory.add(), Sort.GOOD)]
    (factory.root / "own").mkdir()
    whole = (factory.root / GOOD).read_bytes()
    for arrival in (own, other):
        (factory.root / f"own/{arrival.session_id}.npy").write_bytes(whole)
    factory.root.rename(factory.root.with_suffix(".away"))
    assert not arrivals.damage(own, TRUNCATION)
    factory.root.with_suffix(".away").rename(factory.root)
    assert arrivals.damageable(is_waiting=False) == [own, other]
    assert arrivals.damage(own, TRUNCATION)
    assert arrivals.damage(other, DELETION)
    assert arrivals.damageable(is_waiting=False) == []
    assert (factory.root / f"own/{own.session_id}.npy").read_bytes() == whole[: len(whole) // 2]
    assert not (factory.root / f"own/{other.session_id}.npy").exists()
    assert expected_of(own).reasons == {"truncated"}
    assert "not_found" in expected_of(other).reasons


def test_what_is_left_alone_has_one_end() -> None:
    session_id = uuid.UUID(int=1)
    ends = Counter(state for sort in Sort for state in expected_of(Arrival(session_id, sort)).states)
    assert ends == {"done": 5, "partial": 1, "quarantined": 3, "empty": 1}
