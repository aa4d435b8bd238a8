"""Bringing a database to the revision that this code needs, and knowing whether it is there."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from heimdall_assets.db.engine import autocommit, transaction, translated
from heimdall_assets.db.tables import SCHEMA
from heimdall_assets.errors import WrongDatabase

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

VERSION_TABLE = f"{SCHEMA}.feature_alembic_version"
_CREATE_SCHEMA = f"""DO $$
BEGIN
    -- not IF NOT EXISTS: that asks for the right to create schemas even where it is there
    IF to_regnamespace('{SCHEMA}') IS NULL THEN CREATE SCHEMA {SCHEMA}; END IF;
END $$;"""
_UPGRADE_LOCK = 0x6865696D64616C6C  # "heimdall": two upgrades at once take turns
_TURN_POLL_S = 0.2


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def head_revision() -> str:
    """The revision that this code needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None where it was never upgraded."""
    with transaction(engine) as connection:
        if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": VERSION_TABLE}) is None:
            return None
        revision = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return None if revision is None else str(revision)


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Run every migration that is missing.

    Returns
    -------
    tuple
        The revision before (None: never upgraded) and after.

    Raises
    ------
    WrongDatabase
        The database is at a revision that this code does not know, or a privilege is missing.
    """
    head = head_revision()
    before = current_revision(engine)
    if before == head:
        return before, head
    _refuse_unknown(before)
    config = _config()
    # An autocommit connection would not do: Alembic opens and closes transactions itself. The lock is on another
    # connection, since CREATE INDEX CONCURRENTLY waits for every transaction that is open elsewhere.
    with autocommit(engine) as guard:
        _take_turn(guard)
        try:
            with transaction(engine) as connection:
                if connection.scalar(sa.text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
                    connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
                config.attributes["catalog"] = catalog_of(connection)
            with translated(), engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
        finally:
            guard.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _UPGRADE_LOCK})
    return before, head


def _take_turn(guard: Connection) -> None:
    """Take the upgrade's lock by asking again and again.

    A statement that waited for it would be a transaction that is open, for which the holder's CREATE INDEX
    CONCURRENTLY waits: for ever, since the server does not see that the two are one upgrade.
    """
    while not guard.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _UPGRADE_LOCK}):
        time.sleep(_TURN_POLL_S)


def upgrade_sql(from_revision: str | None, catalog: Catalog | None = None) -> str:
    """The migrations as SQL, for a DBA to read or run: ``psql -v ON_ERROR_STOP=1``, outside a transaction.

    Parameters
    ----------
    from_revision : str or None
        Where the database is; None for one that was never upgraded.
    catalog : Catalog, optional
        What :func:`catalog_of` says of that database; without it the statements that depend on it say so.
    """
    buffer = io.StringIO()
    config = _config()
    config.output_buffer = buffer
    config.attributes["catalog"] = catalog
    with redirect_stdout(buffer):
        command.upgrade(config, f"{from_revision or 'base'}:head", sql=True)
    return f"{_CREATE_SCHEMA}\n\n{buffer.getvalue()}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """What of an existing database decides how indexes are made.

    Attributes
    ----------
    has_session_link : bool
        measurements has a recording_session_id, or will have been made with one.
    hypertables : frozenset of str
        Tables of the schema that TimescaleDB partitions, or PostgreSQL itself: CREATE INDEX CONCURRENTLY is refused on
        them.
    broken_indexes : frozenset of str
        What an interrupted CREATE INDEX CONCURRENTLY left: never used, yet it has the name.
    """

    has_session_link: bool
    hypertables: frozenset[str]
    broken_indexes: frozenset[str]


def catalog_of(connection: Connection) -> Catalog:
    """Look at a database as it is."""
    no_link = """
        SELECT count(*) FROM pg_class c WHERE c.oid = to_regclass(:table)
        AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                        AND a.attname = 'recording_session_id')"""
    lacks_link = connection.scalar(sa.text(no_link), {"table": f"{SCHEMA}.measurements"})
    hypertables: frozenset[str] = frozenset()
    if connection.scalar(sa.text("SELECT to_regclass('_timescaledb_catalog.hypertable')")) is not None:
        query = "SELECT table_name::text FROM _timescaledb_catalog.hypertable WHERE schema_name = :schema"
        hypertables = frozenset(connection.scalars(sa.text(query), {"schema": SCHEMA}))
    query = "SELECT relname::text FROM pg_class WHERE relkind = 'p' AND relnamespace = to_regnamespace(:schema)"
    hypertables |= frozenset(connection.scalars(sa.text(query), {"schema": SCHEMA}))
    broken = """
        SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE NOT i.indisvalid AND c.relnamespace = to_regnamespace(:schema)"""
    return Catalog(
        has_session_link=not lacks_link,
        hypertables=hypertables,
        broken_indexes=frozenset(connection.scalars(sa.text(broken), {"schema": SCHEMA})),
    )


def require_current(engine: Engine) -> None:
    """Raise where the database is not at this code's revision.

    Raises
    ------
    WrongDatabase
        With what to do about it.
    """
    revision = current_revision(engine)
    if revision == head_revision():
        return
    _refuse_unknown(revision)
    state = "was never upgraded" if revision is None else f"is at revision {revision}, not {head_revision()}"
    raise WrongDatabase(f"the database {engine.url.database} {state}: run `heimdall db upgrade`")


def _refuse_unknown(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise WrongDatabase(
            f"the database is at revision {revision}, which this version does not know: install a newer one"
        )
