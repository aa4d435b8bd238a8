"""Advisory locks: one holder, freed with its connection, seen by others."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.locks import (
    PLANNER_KEY,
    held_keys,
    live_runs,
    planner_lock,
    run_claim,
    run_key,
    run_lock,
    session_key,
    session_lock,
)
from heimdall_assets.errors import DatabaseError, SessionBusy

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

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


def test_a_waiting_holder_gets_the_lock_of_one_that_is_killed(engine: Engine) -> None:
    got = threading.Event()

    def second() -> None:
        with session_lock(engine, KEY, timeout_seconds=30):
            got.set()

    with session_lock(engine, KEY, timeout_seconds=1) as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.commit()
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.1)
        with transaction(engine) as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        assert got.wait(10)
    thread.join(10)
    with transaction(engine) as connection:  # and what the killed one left in the pool is no harm
        assert held_keys(connection) == set()


def test_a_lock_is_freed_whatever_ends_the_work_and_however_its_connection_was_left(engine: Engine) -> None:
    def fail_in_a_transaction() -> None:
        with session_lock(engine, KEY, timeout_seconds=1) as connection:
            connection.begin()
            connection.execute(sa.text("SELECT 1 / 0"))

    with pytest.raises(DatabaseError, match="division by zero"):
        fail_in_a_transaction()
    with pytest.raises(ZeroDivisionError), session_lock(engine, KEY, timeout_seconds=1):
        raise ZeroDivisionError
    with session_lock(engine, KEY, timeout_seconds=1):
        pass


def test_the_wait_for_the_lock_limits_no_other_wait(engine: Engine) -> None:
    with session_lock(engine, KEY, timeout_seconds=1) as connection:
        assert connection.scalar(sa.text("SHOW lock_timeout")) == "0"


def test_different_sessions_do_not_wait_for_each_other(engine: Engine) -> None:
    with (
        session_lock(engine, KEY, timeout_seconds=1),
        session_lock(engine, uuid.UUID(int=8), timeout_seconds=0.05),
        transaction(engine) as connection,
    ):
        assert held_keys(connection) == {session_key(KEY), session_key(uuid.UUID(int=8))}


def test_locks_of_other_databases_and_of_two_numbers_are_not_ours(engine: Engine, server_url: URL) -> None:
    other = open_engine(server_url.set(database="postgres"), pool_size=1)
    with session_lock(other, KEY, timeout_seconds=1), transaction(engine) as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(1, 2)"))
        assert held_keys(connection) == set()
        with session_lock(engine, KEY, timeout_seconds=0.05):
            assert held_keys(connection) == {session_key(KEY)}
    other.dispose()


def test_a_planner_that_fails_lets_the_next_one_plan_and_leaves_nothing(engine: Engine) -> None:
    def plan_and_fail() -> None:
        with planner_lock(engine) as connection:
            assert connection is not None
            connection.execute(sa.text("INSERT INTO heimdall.websdr_stations (name) VALUES ('RX1')"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        plan_and_fail()
    with planner_lock(engine) as connection:
        assert connection is not None
        assert connection.scalar(sa.text("SELECT count(*) FROM heimdall.websdr_stations")) == 0


def test_a_run_whose_connection_dies_is_not_alive(engine: Engine) -> None:
    with run_lock(engine, "run-1"), transaction(engine) as connection:
        holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        connection.execute(sa.text(f"SELECT pg_terminate_backend(({holder}), 5000)"))
        assert live_runs(connection, ["run-1"]) == set()


def test_a_run_is_claimed_by_one_worker_and_its_own_lock_stays_free(engine: Engine) -> None:
    with run_claim(engine, "run-1") as first, run_claim(engine, "run-1") as second, run_claim(engine, "run-2") as other:
        assert (first, second, other) == (True, False, True)
        with run_lock(engine, "run-1"):
            pass
    with run_claim(engine, "run-1") as again:
        assert again
