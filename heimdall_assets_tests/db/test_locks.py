"""Advisory locks: one holder, freed with its connection, seen by others."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import (
    PLANNER_KEY,
    held_keys,
    live_runs,
    planner_lock,
    run_key,
    run_lock,
    session_key,
    session_lock,
)
from heimdall_assets.errors import DatabaseError, SessionBusy

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

KEY = uuid.UUID(int=7)


def test_a_second_holder_waits_for_the_first(engine: Engine) -> None:
    order: list[str] = []

    def second() -> None:
        with session_lock(engine, KEY, timeout_seconds=30):
            order.append("second")

    thread = threading.Thread(target=second)
    with session_lock(engine, KEY, timeout_seconds=1):
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_waiting_too_long_names_the_session(engine: Engine) -> None:
    with (
        session_lock(engine, KEY, timeout_seconds=1),
        pytest.raises(SessionBusy, match=f"session {KEY} is being worked on elsewhere"),
        session_lock(engine, KEY, timeout_seconds=0.05),
    ):
        pass
    with session_lock(engine, KEY, timeout_seconds=1):  # the failed wait left nothing behind
        pass


def test_a_holder_whose_connection_dies_holds_nothing(engine: Engine) -> None:
    with (  # noqa: PT012  # the lock is lost in the middle of its block
        pytest.raises(DatabaseError),
        session_lock(engine, KEY, timeout_seconds=1) as connection,
    ):
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.commit()
        with transaction(engine) as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with session_lock(engine, KEY, timeout_seconds=1):
            pass
        connection.execute(sa.text("SELECT 1"))  # what would be stored now fails


def test_the_lock_outlives_the_holders_transactions(engine: Engine) -> None:
    with session_lock(engine, KEY, timeout_seconds=1) as connection:
        with connection.begin():
            connection.execute(sa.text("SELECT 1"))
        with transaction(engine) as other:
            assert session_key(KEY) in held_keys(other)
    with transaction(engine) as other:
        assert session_key(KEY) not in held_keys(other)


def test_only_one_planner_plans(engine: Engine) -> None:
    with planner_lock(engine) as first, planner_lock(engine) as second:
        assert first is not None
        assert second is None
    with planner_lock(engine) as third:
        assert third is not None


def test_a_run_is_alive_while_it_holds_its_lock(engine: Engine) -> None:
    with run_lock(engine, "run-1"), transaction(engine) as connection:
        assert live_runs(connection, ["run-1", "run-2"]) == {"run-1"}
    with transaction(engine) as connection:
        assert live_runs(connection, ["run-1"]) == set()


def test_lock_numbers_of_either_sign_are_read_back_as_they_were_taken(engine: Engine) -> None:
    keys = [run_key(f"run-{index}") for index in range(200)]
    assert min(keys) < 0 < max(keys)
    assert PLANNER_KEY not in keys
    with transaction(engine) as connection:
        for key in keys:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        assert held_keys(connection) == set(keys)
