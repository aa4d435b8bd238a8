"""Advisory locks: one holder of a session, one planner, one live run.

They belong to a database connection, so the server frees them when their holder dies, however it dies.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from heimdall_assets.db.engine import each_alone, translated
from heimdall_assets.errors import SessionBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine


def session_key(session_id: UUID) -> int:
    """Lock number of a session."""
    return _key(f"session:{session_id}")


def run_key(run_id: str) -> int:
    """Lock number of a run: held while its process lives."""
    return _key(f"run:{run_id}")


def _key(name: str) -> int:
    digest = hashlib.sha256(f"heimdall_assets:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


PLANNER_KEY = _key("planner")
RECEIVERS_KEY = _key("receivers")


_TRY = sa.text("SELECT pg_try_advisory_lock(:key)")
_RELEASE = sa.text("SELECT pg_advisory_unlock(:key)")
_KEEP_SETTINGS = sa.text("SELECT pg_advisory_xact_lock_shared(:key)")


@contextmanager
def session_lock(
    engine: Engine,
    session_id: UUID,
    *,
    timeout_seconds: float,
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Connection]:
    """Hold a session's lock, waiting for another holder to finish.

    Parameters
    ----------
    engine : Engine
        Heimdall's database.
    session_id : UUID
        The session.
    timeout_seconds : float
        Longest wait.
    meanwhile : callable, optional
        Gives a context manager that is entered for as long as another holder is waited for.

    Yields
    ------
    Connection
        The connection that holds the lock, with no transaction open. What is stored goes through it: if it is lost,
        so is the lock, and the statement fails instead of storing beside a new holder.

    Raises
    ------
    SessionBusy
        The lock was not free within the time.
    """
    with _held(engine, session_key(session_id), timeout_seconds, f"session {session_id}", meanwhile) as connection:
        yield connection


@contextmanager
def run_lock(engine: Engine, run_id: str) -> Iterator[None]:
    """Hold a run's lock: as long as it is held, the run's process is alive."""
    with _held(engine, run_key(run_id), 5.0, f"run {run_id}"):
        yield


@contextmanager
def run_claim(engine: Engine, run_id: str) -> Iterator[bool]:
    """Be the only worker that carries out a run, from before it begins; False where another one is.

    Not the run's lock, which the run itself takes later, on a connection of its own.
    """
    with translated(), engine.connect() as connection:
        key = _key(f"claim:{run_id}")
        with connection.begin():
            is_ours = bool(connection.scalar(_TRY, {"key": key}))
        try:
            yield is_ours
        finally:
            if is_ours:
                _release(connection, key)


@contextmanager
def _held(
    engine: Engine,
    key: int,
    timeout_seconds: float,
    what: str,
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Connection]:
    # The lock belongs to the connection, not to a transaction: it outlives the commits.
    with translated(), engine.connect() as connection:
        if not _scalar_alone(connection, _TRY, key):
            with meanwhile():
                _wait_for(connection, key, timeout_seconds, what)
        try:
            yield connection
        finally:
            _release(connection, key)


def _scalar_alone(connection: Connection, query: sa.TextClause, key: int) -> object:
    with each_alone(connection):
        return connection.scalar(query, {"key": key})


def _wait_for(connection: Connection, key: int, timeout_seconds: float, what: str) -> None:
    try:
        with translated(), connection.begin():
            wait = {"ms": str(_ms(timeout_seconds))}
            connection.execute(sa.text("SELECT set_config('lock_timeout', :ms, true)"), wait)
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": key})
    except SessionBusy as error:
        raise SessionBusy(f"{what} is being worked on elsewhere, for more than {timeout_seconds:g} s") from error


def _release(connection: Connection, key: int) -> None:
    """Free the lock; by closing the connection where that cannot be said on it (the server frees it then)."""
    try:
        connection.rollback()
        _scalar_alone(connection, _RELEASE, key)
    except exc.DBAPIError:
        connection.invalidate()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@contextmanager
def planner_lock(engine: Engine) -> Iterator[Connection | None]:
    """Hold the one planner's lock for a transaction; None where somebody else is planning."""
    with translated(), engine.begin() as connection:
        taken = connection.scalar(sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": PLANNER_KEY})
        yield connection if taken else None


@contextmanager
def planner_turn(engine: Engine) -> Iterator[Connection]:
    """Hold the planner's lock for a transaction, waiting for whoever is planning; for what must be short."""
    with translated(), engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": PLANNER_KEY})
        yield connection


def keep_settings(connection: Connection) -> None:
    """Let no setting of a receiver change until the transaction ends; for those that compare features with them.

    To be taken before any lock on a row.
    """
    connection.execute(_KEEP_SETTINGS, {"key": RECEIVERS_KEY})


def change_settings(connection: Connection) -> None:
    """Be the only one that changes settings of receivers until the transaction ends, and the only one that compares.

    Whoever stores features at the time either committed before, and its row is seen by what follows, or comes after
    and sees the new settings. The planner's lock is taken first, since both change the states of many sessions.
    """
    for key in (PLANNER_KEY, RECEIVERS_KEY):
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def await_planner(connection: Connection) -> None:
    """Keep the planner out until the end of the caller's transaction, waiting for a tick that is under way."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": PLANNER_KEY})


HELD = """
SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def held_keys(connection: Connection) -> set[int]:
    """Numbers of all advisory locks that somebody holds in this database."""
    return {int(key) for (key,) in connection.execute(sa.text(HELD))}


def live_runs(connection: Connection, run_ids: Collection[str]) -> set[str]:
    """Those of the given runs whose process is alive."""
    held = held_keys(connection)
    return {run_id for run_id in run_ids if run_key(run_id) in held}
