"""Connections, and the one place where driver errors become the project's own."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from heimdall_assets.db import values
from heimdall_assets.db.connections import CONNECT_TIMEOUT_S, ENCODINGS, set_session_and_check
from heimdall_assets.db.urls import HEIMDALL_DRIVER
from heimdall_assets.errors import (
    BadData,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    SessionBusy,
    UnfitServer,
    WrongDatabase,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection, Engine

_NEW_DATABASE_TIMEOUT_S = 30.0
"""Twice PgBouncer's server_login_retry."""
_TEMPLATE_ENCODING = "SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = 'template1'"
_UPGRADE_HINT = "run `heimdall db upgrade` first"
# What the server says before there is a connection has no SQLSTATE: libpq keeps its text only.
_REFUSALS = (
    r".* authentication failed for user",
    r'role ".*" (does not exist|is not permitted to log in)',
    r"no pg_hba\.conf entry",
    r"pg_hba\.conf rejects",
    r"permission denied for database",
)
_AT_THE_START = (
    (r'FATAL: +database ".*" does not exist', "3D000"),
    (rf"FATAL: +({'|'.join(_REFUSALS)})|no password supplied", "28000"),
)
_BY_SQLSTATE: dict[str, tuple[type[DatabaseError], str]] = {
    "42P01": (WrongDatabase, f"a table of Heimdall is missing: {_UPGRADE_HINT}"),
    "42703": (WrongDatabase, f"a column of Heimdall's tables is missing: {_UPGRADE_HINT}"),
    "3F000": (WrongDatabase, f"the schema heimdall is missing: {_UPGRADE_HINT}"),
    "3D000": (WrongDatabase, "the database does not exist"),
    "42501": (DatabaseRefused, "the database role lacks a privilege"),
    "28000": (DatabaseRefused, "the server does not let the role in"),
    "28P01": (DatabaseRefused, "the server does not let the role in"),
    "55P03": (SessionBusy, "another run holds the lock"),
}


def open_engine(url: URL, *, pool_size: int = 5, stores_text: bool = True) -> Engine:
    """Engine of the project's own statements.

    Parameters
    ----------
    url : URL
        Any ``postgresql`` URL; the driver is set to psycopg 3.
    pool_size : int
        Most connections that are kept open; more are opened when needed.
    stores_text : bool
        False: any encoding of the database will do.

    Returns
    -------
    Engine
        Connections are checked before use, so that a restart of the server costs nothing but a reconnection. Every
        connection has the settings of :mod:`heimdall_assets.db.connections`, and a server that does not fit is refused.
    """
    engine = sa.create_engine(
        url.set(drivername=HEIMDALL_DRIVER),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        json_serializer=values.to_json,
        json_deserializer=values.from_json,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "heimdall_assets"},
    )
    # before what SQLAlchemy asks a new connection
    sa.event.listen(engine, "connect", values.read_any_value, insert=True)
    set_session_and_check(engine, stores_text=stores_text)
    return engine


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLAlchemy's and the driver's errors into :class:`DatabaseError` and its kinds."""
    try:
        yield
    except exc.DBAPIError as error:
        state = _sqlstate(error)
        detail = str(error.orig).strip().partition("\n")[0]
        if state in _BY_SQLSTATE:
            kind, meaning = _BY_SQLSTATE[state]
            raise kind(f"{meaning} ({detail})") from error
        # 08: connection lost, 53: out of resources, 57P: the server is shutting down or starting
        is_lost = state is None and isinstance(error, exc.OperationalError | exc.InterfaceError)
        if error.connection_invalidated or is_lost or (state or "")[:2] in {"08", "53"} or (state or "")[:3] == "57P":
            raise DatabaseUnavailable(f"PostgreSQL is not available: {detail}") from error
        # 22: data exception (a division by zero is a fault of the statement); the driver's own have no SQLSTATE
        is_data = (state or "")[:2] == "22" and state != "22012"
        if is_data or (state is None and isinstance(error, exc.DataError)):
            raise BadData(f"a value that cannot be held: {detail}") from error
        raise DatabaseError(detail) from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailable(f"no free connection to PostgreSQL: {error}") from error


def _sqlstate(error: exc.DBAPIError) -> str | None:
    """The error's SQLSTATE; where a connection failed, that of what the server said."""
    state: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if state is None:
        return next((state for said, state in _AT_THE_START if re.search(said, str(error.orig))), None)
    return state


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One short transaction on a connection of the pool, committed at the end."""
    with translated(), engine.begin() as connection:
        yield connection


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement is a transaction of its own."""
    with translated(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def each_alone(connection: Connection) -> Iterator[None]:
    """Make every statement of the block a transaction of its own, on a connection that has none open.

    BEGIN and COMMIT are a round trip each, which takes as long as most of the statements between them.
    """
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        yield
    finally:
        connection.rollback()
        if not connection.invalidated:  # else this would open another one, which holds no locks
            connection.execution_options(isolation_level="READ COMMITTED")


def require_fit(url: URL) -> None:
    """Connect once, to be refused where the server does not fit (see :mod:`heimdall_assets.db.connections`)."""
    engine = open_engine(url, pool_size=1)
    try:
        with translated(), engine.connect():
            pass
    finally:
        engine.dispose()


def create_database_if_missing(url: URL) -> bool:
    """Create a database on its server where it does not exist yet.

    Returns
    -------
    bool
        True if it was created now.

    Raises
    ------
    WrongDatabase
        The role may not create databases; says what to do.
    """
    target = url.set(drivername=HEIMDALL_DRIVER)
    engine = open_engine(target, pool_size=1)
    try:
        with engine.connect():
            return False
    except exc.OperationalError as error:
        if _sqlstate(error) != "3D000":
            with translated():
                raise
    finally:
        engine.dispose()
    maintenance = open_engine(target.set(database="postgres"), pool_size=1, stores_text=False)
    try:
        with autocommit(maintenance) as connection:
            encoding = connection.scalar(sa.text(_TEMPLATE_ENCODING))
            other = "" if encoding in ENCODINGS else " TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            connection.exec_driver_sql(f"CREATE DATABASE {_quoted(connection, str(url.database))}{other}")
    except UnfitServer:
        raise
    except DatabaseError as error:
        if getattr(error.__cause__, "orig", None).__class__.__name__ in {"DuplicateDatabase", "UniqueViolation"}:
            return False
        raise type(error)(
            f"database {url.database} does not exist and cannot be created: {error.message}; "
            f"let a DBA run CREATE DATABASE {url.database}, or set HEIMDALL_DAGSTER_DATABASE_URL"
        ) from error
    finally:
        maintenance.dispose()
    _wait_for(target)
    return True


def _wait_for(url: URL) -> None:
    """Wait until a new database can be connected to: PgBouncer remembers for a while that there was none."""
    engine = open_engine(url, pool_size=1)
    deadline = time.monotonic() + _NEW_DATABASE_TIMEOUT_S
    try:
        while True:
            try:
                with translated(), engine.connect():
                    return
            except (DatabaseUnavailable, WrongDatabase) as error:
                if isinstance(error, UnfitServer | DatabaseRefused) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
    finally:
        engine.dispose()


def _quoted(connection: Connection, identifier: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(identifier)
