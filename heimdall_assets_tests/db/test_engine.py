"""Connections: what the driver says becomes the project's own words, without a password in them."""

from __future__ import annotations

import math
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db import tables
from heimdall_assets.db.engine import (
    autocommit,
    create_database_if_missing,
    each_alone,
    open_engine,
    transaction,
    translated,
)
from heimdall_assets.errors import (
    BadData,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    SessionBusy,
    WrongDatabase,
)
from heimdall_assets_tests.conftest import drop_database, make_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL, Engine

PASSWORD = "hunter2"


@contextmanager
def role(server_url: URL, options: str) -> Iterator[URL]:
    """A database role of the test's own, with the password; the server's URL with both."""
    name = f"role_{uuid.uuid4().hex[:12]}"
    engine = open_engine(server_url.set(database="postgres"), pool_size=1)
    with autocommit(engine) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} {options} PASSWORD '{PASSWORD}'"))
    try:
        yield server_url.set(username=name, password=PASSWORD)
    finally:
        with autocommit(engine) as connection:
            connection.execute(sa.text(f"DROP ROLE {name}"))
        engine.dispose()


@contextmanager
def engine_of(url: URL) -> Iterator[Engine]:
    """An engine that is closed at the end."""
    engine = open_engine(url, pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def everything_said(error: BaseException) -> str:
    """The texts of an error and of all that caused it, as a traceback would show them."""
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        texts += [str(current), repr(current)]
        current = current.__cause__ or current.__context__
    return "\n".join(texts)


def run(engine: Engine, *statements: str) -> None:
    """Statements in one transaction."""
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def run_each(engine: Engine, *statements: str) -> None:
    """Statements that are transactions of their own."""
    with autocommit(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize("attempt", [run, run_each])
def test_a_server_that_is_not_there_is_unavailable_and_the_password_is_nowhere(
    attempt: Callable[[Engine], None],
) -> None:
    nobody = sa.URL.create("postgresql", "user", PASSWORD, "127.0.0.1", closed_port(), "heimdall")
    with engine_of(nobody) as engine:
        with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL is not available: .*onnection refused") as caught:
            attempt(engine)
        assert PASSWORD not in everything_said(caught.value) + repr(engine) + str(engine.url)
    with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL is not available: .*onnection refused") as caught:
        create_database_if_missing(nobody)
    assert PASSWORD not in everything_said(caught.value)
    assert caught.value.transient


def test_a_database_that_does_not_exist_is_the_wrong_one(server_url: URL) -> None:
    with engine_of(server_url.set(database="no_such_database")) as engine:
        with pytest.raises(WrongDatabase, match=r'the database does not exist .*"no_such_database"') as caught:
            run(engine)
        assert not caught.value.transient


def test_a_role_that_does_not_exist_is_refused_and_not_taken_for_a_missing_database(server_url: URL) -> None:
    with pytest.raises(DatabaseRefused, match=r'let the role in .*role "nobody_known" does not exist') as caught:
        create_database_if_missing(server_url.set(username="nobody_known"))
    assert "CREATE DATABASE" not in caught.value.message
    assert "not available" not in caught.value.message
    assert not caught.value.transient


def test_a_role_that_may_not_log_in_or_connect_is_refused(server_url: URL, database_url: URL) -> None:
    with role(server_url, "NOLOGIN") as url, engine_of(url) as engine, pytest.raises(DatabaseRefused) as caught:
        run(engine, "SELECT 1")
    assert "is not permitted to log in" in caught.value.message
    with role(server_url, "LOGIN") as url, engine_of(url.set(database=database_url.database)) as engine:
        with engine_of(database_url) as owner:
            run(owner, f"REVOKE CONNECT ON DATABASE {database_url.database} FROM PUBLIC")
        with pytest.raises(DatabaseRefused, match="permission denied for database"):
            run(engine, "SELECT 1")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT now() + 1e300 * interval '1 second'",
        "SELECT 'infinity'::timestamptz - interval 'infinity'",
        "SELECT timestamptz '294276-12-31' + interval '1 year'",
        "SELECT '1e400'::numeric::double precision",
        "SELECT 9223372036854775807 + 1",
        "SELECT '\\u0000'::jsonb",
        "SELECT '\"\\ud800\"'::jsonb",
        "SELECT 'x'::int",
    ],
)
def test_arithmetic_and_values_that_postgresql_cannot_hold_are_bad_data(engine: Engine, statement: str) -> None:
    with pytest.raises(BadData, match="a value that cannot be held: ") as caught:
        run(engine, statement)
    assert not caught.value.transient


def test_a_text_that_cannot_be_sent_is_bad_data_and_not_a_lost_connection(engine: Engine) -> None:
    statement = sa.select(tables.websdr_stations).where(tables.websdr_stations.c.name == "a\x00b")
    with pytest.raises(BadData, match="NUL"), transaction(engine) as connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "kind", "meaning"),
    [
        ("SELECT 1 FROM heimdall.recording_sessions", WrongDatabase, "table of Heimdall is missing: run `heimdall db"),
        ("CREATE TABLE heimdall.x ()", WrongDatabase, "schema heimdall is missing: run `heimdall db upgrade` first"),
        ("SELECT no_such_column FROM pg_class", WrongDatabase, "column of Heimdall's tables is missing"),
        ("SELECT 1 / 0", DatabaseError, "division by zero"),
        ("SELEC", DatabaseError, "syntax error"),
    ],
)
def test_what_the_server_refuses_says_what_to_do(
    server_url: URL, statement: str, kind: type[DatabaseError], meaning: str
) -> None:
    # template1 is on every server and has no tables
    with engine_of(server_url.set(database="template1")) as engine, pytest.raises(kind, match=meaning) as caught:
        run(engine, statement)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)  # without PostgreSQL's LINE 1: and its arrow
    assert not caught.value.transient


def test_a_role_without_a_privilege_is_told_which(database_url: URL) -> None:
    with role(database_url, "LOGIN") as url, engine_of(url) as stranger:
        with pytest.raises(
            WrongDatabase, match=r"lacks a privilege \(permission denied for schema heimdall\)"
        ) as caught:
            run(stranger, "SELECT 1 FROM heimdall.feature_states")
        assert PASSWORD not in everything_said(caught.value)


def test_a_lost_connection_is_unavailable_and_the_next_one_works(engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL is not available"):
        run(engine, "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1")
    run(engine, "SELECT 1")


def test_a_connection_that_died_in_the_pool_is_replaced_unnoticed(engine: Engine) -> None:
    with transaction(engine) as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    with engine_of(engine.url) as killer:
        run(killer, f"SELECT pg_terminate_backend({pid}, 5000)")
    with transaction(engine) as connection:
        assert connection.scalar(sa.text("SELECT pg_backend_pid()")) != pid


def test_waiting_for_a_lock_too_long_is_being_busy(engine: Engine) -> None:
    take = "LOCK TABLE heimdall.feature_states IN ACCESS EXCLUSIVE MODE"
    with transaction(engine) as holder:
        holder.execute(sa.text(take))
        with pytest.raises(SessionBusy, match="another run holds the lock"):
            run(engine, "SET LOCAL lock_timeout = '20ms'", take)


def test_a_pool_without_a_free_connection_says_so(database_url: URL) -> None:
    engine = sa.create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with transaction(engine), pytest.raises(DatabaseUnavailable, match="no free connection"):
        run(engine)
    engine.dispose()


def test_errors_of_the_caller_pass_through_untouched_and_undo_the_transaction(engine: Engine) -> None:
    def insert_and_fail() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.insert(tables.websdr_stations).values(name="RX1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        insert_and_fail()
    with translated(), engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.websdr_stations)) == 0


def test_autocommit_keeps_each_statement_whatever_follows(engine: Engine) -> None:
    with pytest.raises(DatabaseError, match="division by zero"):
        run_each(engine, "INSERT INTO heimdall.websdr_stations (name) VALUES ('RX1')", "SELECT 1 / 0")
    with transaction(engine) as connection:
        assert connection.scalar(sa.select(tables.websdr_stations.c.name)) == "RX1"


def test_statements_are_transactions_of_their_own_inside_of_the_block_and_not_after_it(engine: Engine) -> None:
    def insert_and_fail(name: str) -> None:
        connection.execute(sa.insert(tables.websdr_stations).values(name=name))
        connection.execute(sa.text("SELECT 1 / 0"))

    with engine.connect() as connection:
        with pytest.raises(DatabaseError), translated(), each_alone(connection):
            insert_and_fail("kept")
        with pytest.raises(DatabaseError), translated(), connection.begin():
            insert_and_fail("taken back")
    with transaction(engine) as connection:
        assert connection.scalars(sa.select(tables.websdr_stations.c.name)).all() == ["kept"]


def test_a_connection_that_is_lost_inside_of_the_block_is_not_opened_anew(engine: Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(DatabaseUnavailable), translated(), each_alone(connection):
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert connection.invalidated


def test_a_number_that_json_does_not_know_is_refused_before_it_is_sent(engine: Engine) -> None:
    statement = sa.insert(tables.feature_coverage_reports).values(figures={"coverage_percent": math.nan})
    with (
        transaction(engine) as connection,
        pytest.raises(ValueError, match="Out of range float values are not JSON compliant"),
    ):
        connection.execute(statement)


def test_connections_name_the_program_that_holds_them(engine: Engine) -> None:
    with transaction(engine) as connection:
        assert connection.scalar(sa.text("SHOW application_name")) == "heimdall_assets"


def test_a_missing_database_is_created_once(server_url: URL) -> None:
    # A name that has to be quoted
    url = server_url.set(database=f"Heimdall {uuid.uuid4().hex[:8]}_dagster", drivername="postgresql+psycopg2")
    try:
        assert create_database_if_missing(url)
        assert not create_database_if_missing(url)
    finally:
        engine = open_engine(server_url.set(database="postgres"), pool_size=1)
        with autocommit(engine) as connection:
            connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{url.database}"'))
        engine.dispose()


def test_of_several_that_create_a_database_at_once_one_does_and_nobody_fails(server_url: URL) -> None:
    url = server_url.set(database=f"t{uuid.uuid4().hex[:12]}")
    try:
        with ThreadPoolExecutor(4) as pool:
            created = list(pool.map(create_database_if_missing, [url] * 4))
        assert sorted(created) == [False, False, False, True]
    finally:
        drop_database(url)


def test_who_may_not_create_a_database_is_told_what_a_dba_can_run(server_url: URL) -> None:
    with role(server_url, "LOGIN") as url:
        with pytest.raises(WrongDatabase, match="let a DBA run CREATE DATABASE x_dagster") as caught:
            create_database_if_missing(url.set(database="x_dagster"))
        assert "permission denied to create database" in caught.value.message
        assert PASSWORD not in everything_said(caught.value)


def test_a_role_that_may_not_create_databases_can_use_one_that_is_there(server_url: URL) -> None:
    existing = make_database(server_url)
    try:
        with role(server_url, "LOGIN NOCREATEDB") as url:
            assert not create_database_if_missing(url.set(database=existing.database))
    finally:
        drop_database(existing)
