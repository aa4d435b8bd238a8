"""Servers as they are: defaults of roles and databases, encodings, and poolers."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db import connections, migrate, tables
from heimdall_assets.db.connections import SETTINGS, is_pooled
from heimdall_assets.db.engine import autocommit, create_database_if_missing, open_engine, transaction
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.urls import DAGSTER_DRIVER
from heimdall_assets.defs.pooled import pooled_engine
from heimdall_assets.errors import DatabaseUnavailable, SessionBusy, UnfitServer
from heimdall_assets_tests.conftest import drop_database, maintenance, make_database
from heimdall_assets_tests.pooler import needs_pgbouncer, pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL, Connection, Engine

ODD_DEFAULTS = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "0",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "10ms",
    "lock_timeout": "10ms",
    "idle_in_transaction_session_timeout": "10ms",
    "idle_session_timeout": "10ms",
    "transaction_timeout": "10ms",
    "jit": "on",
}
TEXT = 'Zürich … 東京 📡 "µs" \\ '


@pytest.fixture(autouse=True)
def nothing_checked() -> Iterator[None]:
    """As in a new process."""
    connections._suitable.clear()
    yield
    connections._suitable.clear()


def ours(url: URL) -> Engine:
    return open_engine(url, pool_size=2)


def dagsters(url: URL) -> Engine:
    return pooled_engine(url.set(drivername=DAGSTER_DRIVER).render_as_string(hide_password=False))


@contextmanager
def connected(open_one: Callable[[URL], Engine], url: URL) -> Iterator[Connection]:
    engine = open_one(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@pytest.mark.parametrize("open_one", [ours, dagsters])
def test_odd_defaults_of_a_database_do_not_reach_a_connection(
    database_url: URL, open_one: Callable[[URL], Engine]
) -> None:
    with autocommit(maintenance(database_url.set(database="postgres"))) as connection:
        known = set(connection.scalars(sa.text("SELECT lower(name) FROM pg_settings")))
        for name, value in ODD_DEFAULTS.items():
            if name.lower() in known:
                connection.execute(sa.text(f"ALTER DATABASE {database_url.database} SET {name} = '{value}'"))
    with connected(open_one, database_url) as connection:
        given = {name: connection.scalar(sa.text(f"SELECT current_setting('{name}', true)")) for name in SETTINGS}
        assert {name: value for name, value in given.items() if value is not None} == {
            name: value for name, value in SETTINGS.items() if name.lower() in known
        }
        connection.execute(sa.text("SELECT pg_sleep(0.05)"))
        assert connection.scalar(sa.text("SELECT CAST(:text AS text)"), {"text": TEXT}) == TEXT
        assert connection.scalar(sa.text("SELECT timestamptz '2025-06-01 12:00+02'")).isoformat() == (
            "2025-06-01T10:00:00+00:00"
        )
        assert connection.scalar(sa.text("SELECT interval '-1 day -2 hours'")).total_seconds() == -93_600
        assert connection.scalar(sa.text("SELECT 0.1::float8 + 0.2::float8")) == 0.1 + 0.2
        connection.rollback()
        assert connection.scalar(sa.text("SHOW jit")) == "off"  # not undone with the transaction


@contextmanager
def database_of_encoding(server_url: URL, encoding: str) -> Iterator[URL]:
    url = server_url.set(database=f"t{uuid.uuid4().hex[:12]}")
    with autocommit(maintenance(url.set(database="postgres"))) as connection:
        connection.execute(
            sa.text(
                f"CREATE DATABASE {url.database} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            )
        )
    try:
        yield url
    finally:
        drop_database(url)


@pytest.mark.parametrize("open_one", [ours, dagsters])
def test_a_database_of_encoding_sql_ascii_keeps_every_text(server_url: URL, open_one: Callable[[URL], Engine]) -> None:
    with database_of_encoding(server_url, "SQL_ASCII") as url, connected(open_one, url) as connection:
        connection.execute(sa.text("CREATE TEMP TABLE kept (text varchar(255))"))
        connection.execute(sa.text("INSERT INTO kept VALUES (:text)"), {"text": TEXT})
        assert connection.scalar(sa.text("SELECT text FROM kept")) == TEXT


def test_the_tables_and_json_of_ours_work_in_a_database_of_encoding_sql_ascii(server_url: URL) -> None:
    with database_of_encoding(server_url, "SQL_ASCII") as url:
        engine = ours(url)
        migrate.upgrade(engine)
        figures = tables.feature_coverage_reports
        with transaction(engine) as connection:
            connection.execute(sa.insert(figures).values(figures={"message": TEXT, TEXT: [1.5, None]}))
        with transaction(engine) as connection:
            assert connection.scalar(sa.select(figures.c.figures)) == {"message": TEXT, TEXT: [1.5, None]}
        engine.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_every_text_is_refused_by_name(server_url: URL, encoding: str) -> None:
    with database_of_encoding(server_url, encoding) as url:
        message = f"database {url.database} has the encoding {encoding}, .*: dump it, and .* ENCODING 'UTF8'"
        for _ in range(2):
            with pytest.raises(UnfitServer, match=message), connected(ours, url):
                pass


@needs_pgbouncer
@pytest.mark.parametrize("pool_mode", ["transaction", "statement"])
@pytest.mark.parametrize("pool_size", [1, 5])
@pytest.mark.parametrize("more", [{}, {"server_round_robin": 1}, {"server_reset_query_always": 1}])
def test_a_pooler_that_does_not_keep_sessions_is_refused(
    database_url: URL, pool_mode: str, pool_size: int, more: dict[str, object]
) -> None:
    with pooled(database_url, pool_mode, pool_size=pool_size, **more) as url:
        message = f"database {url.database} is behind a pooler in transaction mode, .*: set pool_mode = session"
        for _ in range(2):
            with pytest.raises(UnfitServer, match=message), connected(ours, url):
                pass


@needs_pgbouncer
def test_a_pooler_that_keeps_sessions_is_used_by_both_engines(database_url: URL) -> None:
    with pooled(database_url, "session") as url:
        for open_one in (ours, dagsters):
            with connected(open_one, url) as connection:
                assert connection.scalar(sa.text("SHOW statement_timeout")) == "0"
                assert connection.scalar(sa.text("SHOW jit")) == "off"


@needs_pgbouncer
def test_locks_hold_through_a_pooler_that_keeps_sessions(database_url: URL) -> None:
    session_id = uuid.uuid4()
    with pooled(database_url, "session") as url:
        engine, direct = ours(url), ours(database_url)
        with (
            session_lock(engine, session_id, timeout_seconds=1),
            pytest.raises(SessionBusy),
            session_lock(direct, session_id, timeout_seconds=0.1),
        ):
            pass
        with session_lock(direct, session_id, timeout_seconds=1):
            pass
        engine.dispose()
        direct.dispose()


@needs_pgbouncer
def test_a_database_is_created_through_a_pooler_and_can_be_used_at_once(server_url: URL) -> None:
    with pooled(server_url, "session", server_login_retry=1) as url:
        new = url.set(database=f"t{uuid.uuid4().hex[:12]}")
        try:
            assert create_database_if_missing(new)
            with connected(ours, new) as connection:
                assert connection.scalar(sa.text("SELECT current_database()")) == new.database
        finally:
            drop_database(server_url.set(database=new.database))


@needs_pgbouncer
def test_a_pool_without_a_second_connection_says_so(server_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 0.5)
    existing = make_database(server_url)
    try:
        with (
            pooled(existing, "session", pool_size=1) as url,
            pytest.raises(DatabaseUnavailable, match=r"gives no server connection within 0\.5 s: let its pool be"),
            connected(ours, url),
        ):
            pass
    finally:
        drop_database(existing)


@needs_pgbouncer
def test_a_pooler_is_told_from_the_server_itself(database_url: URL) -> None:
    with pooled(database_url, "session") as url:
        for each, is_there in ((database_url, False), (url, True)):
            with connected(ours, each) as connection:
                assert is_pooled(connection.connection.driver_connection) is is_there
