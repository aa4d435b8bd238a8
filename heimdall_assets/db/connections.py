"""How a connection begins: with a server session of its own, and with the settings that this code relies on.

A server, a database and a role have defaults of their own, such as a German DateStyle or a statement_timeout of five
seconds. Every connection sets what matters here, by a statement after connecting: PgBouncer refuses the start-up
parameter ``options``.

A pooler that gives each transaction another server session is refused. Advisory locks, which keep two workers from
computing one session, and these settings belong to a server session.
"""

from __future__ import annotations

import select
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import ExecStatus
from sqlalchemy import event

from heimdall_assets.errors import DatabaseUnavailable, UnfitServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL, Dialect, Engine

CONNECT_TIMEOUT_S = 5

SETTINGS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "jit": "off",
}
"""Those that a server does not know, since it is older, are left out. Compiling a statement on a table of hundreds of
pieces takes longer than carrying it out, hence no jit."""

_SET = "SELECT " + ", ".join(
    f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN set_config('{name}', '{value}', false) END"
    for name, value in SETTINGS.items()
)

_SET_NO_ENCODING = "SELECT set_config('client_encoding', 'SQL_ASCII', false)"
"""Such a server would refuse to send bytes that are not UTF-8; :mod:`heimdall_assets.db.values` reads them."""

ENCODINGS = ("UTF8", "SQL_ASCII")
"""Of a database: those that hold every text. SQL_ASCII keeps the bytes that it is given, which are UTF-8."""

_PROBE = "heimdall_assets.probe"
_PROBES = 3
"""With other clients on the same pooler, one could by chance get the same server session twice."""

_suitable: set[URL] = set()
"""What this process has found to hold every text, in sessions of the connections' own."""


def set_session(engine: Engine) -> None:
    """Have every new connection of an engine set :data:`SETTINGS`; for psycopg 3 and psycopg2."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: list[Any], parameters: dict[str, Any]) -> Any:
        return _connected(lambda: dialect.connect(*arguments, **parameters))


def set_session_and_check(engine: Engine, *, stores_text: bool = True) -> None:
    """As :func:`set_session`, for psycopg 3; the first connection of this process to a URL checks the server.

    Connecting raises :class:`UnfitServer` where a pooler gives each transaction another server session, and where the
    database's encoding cannot hold every text.

    Parameters
    ----------
    engine : Engine
        Of a URL with the driver psycopg 3.
    stores_text : bool
        False: the encoding does not matter.
    """

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: list[Any], parameters: dict[str, Any]) -> Any:
        def open_connection() -> Any:
            return dialect.connect(*arguments, **parameters)

        if engine.url in _suitable:
            return _connected(open_connection)
        connection = _connected(open_connection, lambda raw: _require_session(raw, open_connection, engine.url))
        if stores_text:
            try:
                _require_encoding(connection, engine.url)
            except BaseException:
                connection.close()
                raise
            _suitable.add(engine.url)
        return connection


def is_pooled(connection: Any) -> bool:
    """True where a pooler stands between a driver's connection and the server.

    A server says at connecting which of its processes answers. A pooler says something else: what it hands on of
    that would be wrong as soon as another process answers.
    """
    return bool(connection.info.backend_pid != int(_ask(connection, "SELECT pg_backend_pid()") or 0))


def _connected(open_connection: Callable[[], Any], check: Callable[[Any], None] | None = None) -> Any:
    """A driver's new connection with the settings; the check comes first, since a pooler could give them to others."""
    connection = open_connection()
    try:
        if check is not None:
            check(connection)
        before, connection.autocommit = connection.autocommit, True
        with connection.cursor() as cursor:
            cursor.execute(_SET)
            if hasattr(connection, "set_client_encoding"):  # psycopg2, which does not see what a statement sets
                connection.set_client_encoding(SETTINGS["client_encoding"])
            elif connection.info.parameter_status("server_encoding") == "SQL_ASCII":
                cursor.execute(_SET_NO_ENCODING)
        connection.autocommit = before
    except BaseException:
        connection.close()
        raise
    return connection


def _require_encoding(connection: Any, url: URL) -> None:
    encoding = (_ask(connection, "SHOW server_encoding") or b"").decode()
    if encoding not in ENCODINGS:
        raise UnfitServer(
            f"database {url.database} has the encoding {encoding}, which cannot hold every text",
            f"dump it, and restore it into one made with CREATE DATABASE {url.database} TEMPLATE template0 "
            "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )


def _require_session(connection: Any, open_connection: Callable[[], Any], url: URL) -> None:
    if not is_pooled(connection):
        return
    other = open_connection()
    try:
        keeps_session = all(_keeps_session(connection, other) for _ in range(_PROBES))
    finally:
        other.close()
    if not keeps_session:
        raise UnfitServer(
            f"database {url.database} is behind a pooler in transaction mode, where session locks do not hold",
            "set pool_mode = session (PgBouncer), or name the PostgreSQL server directly in HEIMDALL_DATABASE_URL (and "
            "HEIMDALL_DAGSTER_DATABASE_URL), a second URL beside that of the pooler",
        )


def _keeps_session(connection: Any, other: Any) -> bool:
    """True if what a connection sets is there in its next transaction, and not in one of another connection.

    The other one's transaction stays open meanwhile: it holds the server session that was free last.
    """
    token = uuid.uuid4().hex
    read = f"SELECT coalesce(current_setting('{_PROBE}', true), '') = '{token}'"
    if _ask(connection, f"SELECT set_config('{_PROBE}', '{token}', false)") is None:
        raise _no_answer()
    try:
        is_shared = _ask(other, f"BEGIN; {read}")
    except psycopg.Error as error:
        if "transaction blocks not allowed" in str(error):  # PgBouncer with pool_mode = statement
            return False
        raise
    if is_shared is None:
        raise _no_answer()
    is_kept = is_shared == b"f" and _ask(connection, read) == b"t"
    _ask(other, "ROLLBACK")
    return is_kept


def _no_answer() -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"the pooler gives no server connection within {CONNECT_TIMEOUT_S} s: let its pool be larger"
    )


def _ask(connection: psycopg.Connection[Any], query: str) -> bytes | None:
    """The first value of a query's last result; None where none comes in time.

    A pooler lets a query wait for minutes until one of its server connections is free, and a connection's own
    functions know no limit.
    """
    link = connection.pgconn
    link.send_query(query.encode())
    value = None
    while True:
        while link.is_busy():
            if not select.select([link.socket], [], [], CONNECT_TIMEOUT_S)[0]:
                return None
            link.consume_input()
        result = link.get_result()
        if result is None:
            return value
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace").strip())
        value = result.get_value(0, 0) if result.ntuples else b""
