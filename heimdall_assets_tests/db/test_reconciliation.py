"""Every kind of disagreement is found, nothing else is, and repairing leaves none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, heartbeats, reconciliation, states, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.states import RetryRule
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.db.rows import add_features
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

RULE = RetryRule(max_attempts=4, base_seconds=10.0, max_seconds=25.0)


def found(connection: Connection) -> list[tuple[Any, ...]]:
    return [
        (item.session_id, item.stored, item.should_be, item.why) for item in reconciliation.disagreements(connection)
    ]


def send(connection: Connection, statement: str, **parameters: Any) -> None:
    connection.execute(sa.text(statement), parameters)


@pytest.fixture
def session(engine: Engine, factory: SessionFactory, settings: Settings) -> UUID:
    """A session that is done, among one of each other state; the planner looked after they came."""
    done = factory.add()
    others = [factory.add((GOOD, MISSING)), factory.add((TRUNCATED,)), factory.add((MISSING,)), factory.add((None,))]
    waiting, ignored, running = factory.add_many(3)
    for key in (done, *others):
        extract_session(engine, key, settings)
    with transaction(engine) as connection:
        discovery.discover(connection)
        states.ignore(connection, [ignored])
        heartbeats.beat(connection, heartbeats.PLANNER)
        assert found(connection) == []
        work.reserve(connection, "fresh-1", [waiting])
    with session_lock(engine, running, timeout_seconds=5), transaction(engine) as connection:
        attempts.begin_attempt(connection, running, run_id="run", feature_version=1)
        attempts.finish_attempt(connection, running, 1, outcome="failed", seconds=0.1)
        states.set_back(connection, running, state="pending")
    return done


SEEDED = {
    "a state that forgot the features": (
        "UPDATE heimdall.feature_states SET state = 'pending' WHERE recording_session_id = :id",
        ("pending", "done", "features are there"),
    ),
    "a state without features": (
        (
            "SET LOCAL session_replication_role = replica; "
            "DELETE FROM heimdall.measurement_features WHERE recording_session_id = '{id}'"
        ),
        ("done", "pending", "there are no features"),
    ),
    "a session that is not in the ledger": (
        "DELETE FROM heimdall.feature_states WHERE recording_session_id = :id",
        (None, "done", "the session is completed, and is not in the ledger"),
    ),
    "a session that went": (
        "SET LOCAL session_replication_role = replica; DELETE FROM heimdall.recording_sessions WHERE id = '{id}'",
        ("done", None, "the session is gone, or not completed"),
    ),
    "wrong numbers": (
        "UPDATE heimdall.feature_states SET measurements_with_features = 1 WHERE recording_session_id = :id",
        ("done", "done", "3 of 3 measurements have features, not 1 of 3"),
    ),
    "a wrong version": (
        "UPDATE heimdall.feature_states SET feature_version = NULL WHERE recording_session_id = :id",
        ("done", "done", f"the features are of version {FEATURE_VERSION}, not none"),
    ),
}


@pytest.mark.parametrize(("statement", "expected"), SEEDED.values(), ids=SEEDED)
def test_what_is_wrong_is_found_alone_and_repaired(
    engine: Engine, session: UUID, statement: str, expected: tuple[Any, ...]
) -> None:
    with transaction(engine) as connection:
        for part in statement.replace("{id}", str(session)).split("; "):
            send(connection, part, **({"id": session} if ":id" in part else {}))
        send(connection, "SET LOCAL session_replication_role = origin")
        assert found(connection) == [(session, *expected)]
        reconciliation.repair(connection, RULE)
        assert found(connection) == []


def test_sums_that_are_wrong_are_found_and_counted_again(engine: Engine, session: UUID) -> None:
    with transaction(engine) as connection:
        send(connection, "UPDATE heimdall.feature_totals SET sessions = sessions + 1 WHERE state = 'done'")
        (item,) = reconciliation.disagreements(connection)
        assert (item.session_id, item.should_be) == (None, "1 sessions, 3 of 3 measurements, 3 used")
        assert f"state done, version {FEATURE_VERSION}" in item.why
        assert reconciliation.repair(connection, RULE) == reconciliation.Repair(0, 0, 0, 0, recounted=True)
        assert found(connection) == []


def test_what_runs_without_a_worker_is_found_and_what_has_one_is_not(engine: Engine, session: UUID) -> None:
    with session_lock(engine, session, timeout_seconds=5), transaction(engine) as connection:
        attempts.begin_attempt(connection, session, run_id="run", feature_version=1)
        assert found(connection) == []
    with transaction(engine) as connection:
        assert found(connection) == [(session, "attempt 2 is open", "lost", "nobody is working on it")]
        assert reconciliation.repair(connection, RULE).lost == 1
        assert found(connection) == []
        state = states.state_of(connection, session)
    assert state is not None
    assert state.state == "done"


def test_an_attempt_that_nobody_closed_is_found(engine: Engine, session: UUID) -> None:
    with transaction(engine) as connection:
        attempts.begin_attempt(connection, session, run_id="run", feature_version=1)
        states.set_back(connection, session, state="done")
        assert found(connection) == [(session, "attempt 2 is open", "lost", "nobody is working on it")]
        reconciliation.repair(connection, RULE)
        assert found(connection) == []


def test_what_is_on_its_way_does_not_disagree(engine: Engine, factory: SessionFactory, session: UUID) -> None:
    new = factory.add(updated_at=factory.scalar("SELECT clock_timestamp()"))
    with transaction(engine) as connection:
        send(connection, "DELETE FROM heimdall.measurement_features WHERE recording_session_id = :id", id=session)
        assert found(connection) == []  # the change is queued, and the planner has not looked at the new one
        heartbeats.beat(connection, heartbeats.PLANNER)
        assert found(connection) == [(new, None, "pending", "the session is completed, and is not in the ledger")]
        work.absorb_changes(connection, 9)
        add_features(connection, new)
        discovery.discover(connection)
        assert found(connection) == []
