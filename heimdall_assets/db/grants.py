"""What a role must be granted to run the pipeline where somebody else owns the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import Identifier

from heimdall_assets.db import tables, training
from heimdall_assets.db.migrate import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

HEIMDALL_TABLES = (
    tables.websdr_stations,
    tables.known_sources,
    tables.recording_sessions,
    tables.measurements,
)
"""Other services write these: they are only read, except by `heimdall ingest`."""


def grants(role: str, *, ingest: bool = False) -> list[str]:
    """The statements that let a role run the pipeline; for the owner of the tables, after the upgrade.

    Parameters
    ----------
    role : str
        Its name, as it stands in pg_roles.
    ingest : bool
        It may also register recordings, and correct those that it registered.

    Returns
    -------
    list of str
        GRANT statements without semicolons. Repeating them changes nothing.
    """
    name = Identifier(role).as_string()
    shared = tables.measurement_features
    ours = [table for table in tables.metadata.sorted_tables if table not in {*HEIMDALL_TABLES, shared}]
    statements = [
        f"GRANT USAGE ON SCHEMA {tables.SCHEMA} TO {name}",
        _grant("SELECT", HEIMDALL_TABLES, name),
        _grant("SELECT, INSERT, UPDATE", [shared], name),
        _grant("SELECT, INSERT, UPDATE, DELETE", ours, name),
        f"GRANT SELECT ON {VERSION_TABLE}, {training.VIEW} TO {name}",
    ]
    if ingest:
        # An ingest repeated corrects what it wrote; a time stamp, which is a part of the key, by deleting.
        statements.append(_grant("INSERT", HEIMDALL_TABLES, name))
        corrected = (tables.websdr_stations, tables.recording_sessions, tables.measurements)
        statements.append(_grant("UPDATE", corrected, name))
        statements.append(_grant("DELETE", [tables.measurements], name))
    return statements


def _grant(privileges: str, granted: Sequence[sa.Table], name: str) -> str:
    return f"GRANT {privileges} ON {', '.join(table.fullname for table in granted)} TO {name}"
