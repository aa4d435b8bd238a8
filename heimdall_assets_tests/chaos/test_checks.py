"""The judge: what is right passes, and each kind of wrong that is planted is found, and only that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db import heartbeats
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.chaos import checks
from heimdall_assets_tests.chaos.arrivals import DELETION, TRUNCATION, Arrival, Sort
from heimdall_assets_tests.chaos.checks import LOST, TWICE, WRONG
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

Case = dict[str, Arrival]


@pytest.fixture
def arrivals(engine: Engine, factory: SessionFactory, settings: Settings) -> Case:
    """A session of each sort, at its end; all is as it should be."""
    patient = settings.model_copy(update={"max_attempts": 1})
    found = {
        "good": Arrival(factory.add(), Sort.GOOD),
        "partial": Arrival(factory.add((GOOD, GOOD, TRUNCATED)), Sort.PARTIAL),
        "broken": Arrival(factory.add((TRUNCATED,)), Sort.BROKEN),
        "never": Arrival(factory.add((MISSING,)), Sort.NEVER),
        "empty": Arrival(factory.add((None,)), Sort.EMPTY),
        "own": Arrival(factory.add(), Sort.OWN),
    }
    for arrival in found.values():
        extract_session(engine, arrival.session_id, patient, run_id="run")
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER)
    return found


def colours(arrivals: Case) -> dict[str, set[str]]:
    green = {str(arrivals[name].session_id) for name in ("good", "partial", "own")}
    red = {str(arrivals[name].session_id) for name in ("broken", "never")}
    return {"materialized": green, "failed": red, "materializing": set()}


def found(engine: Engine, arrivals: Case, shown: dict[str, set[str]] | None = None) -> set[tuple[str, UUID | None]]:
    with transaction(engine) as connection:
        violations = checks.violations(connection, list(arrivals.values()), shown or colours(arrivals))
    return {(item.kind, item.session_id) for item in violations}


def send(engine: Engine, statement: str, **parameters: object) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(statement), parameters)


def test_what_is_right_passes(engine: Engine, arrivals: Case) -> None:
    assert found(engine, arrivals) == set()


STATE = "UPDATE heimdall.feature_states SET state = '{}', reason = {} WHERE recording_session_id = :id"
PLANTED = {
    "a session that nobody discovered": (
        "good",
        "DELETE FROM heimdall.feature_states WHERE recording_session_id = :id",
        {LOST, WRONG},
    ),
    "one that waits for ever": ("good", STATE.format("pending", "NULL"), {LOST, WRONG}),
    "a transient failure that is left failed": ("never", STATE.format("failed", "'not_found'"), {LOST}),
    "a session that is gone": ("good", "DELETE FROM heimdall.recording_sessions WHERE id = :id", {LOST, WRONG}),
    "features that are gone": (
        "good",
        "DELETE FROM heimdall.measurement_features WHERE recording_session_id = :id",
        {LOST, TWICE, WRONG},
    ),
    "a good session that was given up": ("own", STATE.format("quarantined", "'store_unavailable'"), {WRONG}),
    "a broken one that was given up for another reason": ("broken", STATE.format("quarantined", "'all_zero'"), {WRONG}),
    "an attempt that stored and left no result": (
        "good",
        """INSERT INTO heimdall.feature_attempts
               (recording_session_id, number, started_at, finished_at, outcome, feature_version)
           VALUES (:id, 2, now() + interval '1 minute', now() + interval '1 minute', 'done', 2)""",
        {TWICE},
    ),
    "two computations at once": (
        "good",
        """INSERT INTO heimdall.feature_attempts
               (recording_session_id, number, started_at, finished_at, outcome, feature_version)
           SELECT recording_session_id, 2, started_at, finished_at, 'failed', 2
           FROM heimdall.feature_attempts WHERE recording_session_id = :id""",
        {TWICE},
    ),
    "a failure without its row": (
        "broken",
        "DELETE FROM heimdall.measurement_features WHERE recording_session_id = :id",
        {WRONG},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_wrong_in_the_database_is_found(engine: Engine, arrivals: Case, name: str) -> None:
    which, statement, kinds = PLANTED[name]
    send(engine, statement, id=arrivals[which].session_id)
    of_session = {kind for kind, key in found(engine, arrivals) if key == arrivals[which].session_id}
    assert of_session == kinds


def test_the_same_inputs_stored_again_are_found_and_other_inputs_are_none_the_less_allowed(
    engine: Engine, arrivals: Case, factory: SessionFactory, settings: Settings
) -> None:
    own, good = arrivals["own"].session_id, arrivals["good"].session_id
    (factory.root / "other.npy").write_bytes((factory.root / GOOD).read_bytes())
    factory.replace_file(own, "other.npy")
    extract_session(engine, own, settings, recompute=True)
    assert found(engine, arrivals) == set()
    extract_session(engine, good, settings, recompute=True)
    assert found(engine, arrivals) == {(TWICE, good)}


@pytest.mark.parametrize(
    ("which", "change"),
    [
        ("good", {"materialized": False, "failed": True}),  # green shown red
        ("good", {"failed": True}),
        ("good", {"materialized": False}),  # green shown as missing
        ("good", {"materialized": False, "materializing": True}),
        ("broken", {"materialized": True, "failed": False}),  # red shown green
        ("empty", {"materialized": True}),
        ("never", {"materializing": True}),
    ],
)
def test_what_dagster_shows_otherwise_is_found(
    engine: Engine, arrivals: Case, which: str, change: dict[str, bool]
) -> None:
    shown = colours(arrivals)
    key = str(arrivals[which].session_id)
    for name, is_shown in change.items():
        shown[name] = shown[name] | {key} if is_shown else shown[name] - {key}
    assert found(engine, arrivals, shown) == {(WRONG, arrivals[which].session_id)}


def test_a_failure_that_is_shown_as_missing_is_no_green(engine: Engine, arrivals: Case) -> None:
    assert found(engine, arrivals, {**colours(arrivals), "failed": set()}) == set()


def test_of_damaged_files_what_was_first_decides(engine: Engine, arrivals: Case, factory: SessionFactory) -> None:
    now = datetime.now(UTC)
    own, broken = arrivals["own"], arrivals["broken"]
    own.damage, own.damaged_from, own.damaged_until = DELETION, now, now
    broken.sort, broken.damage, broken.damaged_from = Sort.OWN, TRUNCATION, now - timedelta(hours=1)
    broken.damaged_until = broken.damaged_from
    assert found(engine, arrivals) == set()
    own.damaged_until = now - timedelta(hours=1)  # features of files that were gone by then
    assert found(engine, arrivals) == {(WRONG, own.session_id)}


def test_a_session_that_nobody_wrote_is_found(engine: Engine, arrivals: Case) -> None:
    stranger = arrivals.pop("empty")
    shown = {"materialized": set[str](), "failed": set[str](), "materializing": set[str]()}
    shown |= colours({**arrivals, "empty": stranger})
    assert found(engine, arrivals, shown) == {(WRONG, stranger.session_id)}
