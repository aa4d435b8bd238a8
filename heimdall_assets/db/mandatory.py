"""Columns that a database demands: others made them mandatory without a default, and an insert has to fill them.

What is written there is true, or the row is refused: a figure that nobody knows is not made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from heimdall_assets.db.tables import SCHEMA
from heimdall_assets.errors import FactMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

_MANDATORY = sa.text("""
    SELECT a.attname::text AS name, t.typcategory::text AS category, t.typname::text AS type
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
      AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''""")

_BY_TYPE = {"json": "'{}'", "jsonb": "'{}'", "timestamptz": "now()", "timestamp": "now()", "date": "now()"}
_BY_CATEGORY = {"S": "'unknown'", "B": "false", "A": "'{}'"}
"""SQL by a type's name or PostgreSQL's category of it: strings, booleans, arrays; nothing for numbers."""


def insert_into(table: sa.Table, values: Mapping[str, Any], connection: Connection, **truths: Any) -> Insert:
    """An insert that fills every mandatory column.

    Parameters
    ----------
    table : Table
        One of Heimdall's own.
    values : mapping
        What is known; None where it is not.
    connection : Connection
        Asked for the columns.
    **truths
        What is true of a column, if it is mandatory and not among the values.

    Raises
    ------
    FactMissing
        A column is mandatory, and there is nothing true to write.
    """
    row = dict(values)
    for column in connection.execute(_MANDATORY, {"table": table.fullname}):
        if row.get(column.name) is not None:
            continue
        if truths.get(column.name) is not None:
            row[column.name] = truths[column.name]
            continue
        literal = None if column.name in table.c else _BY_TYPE.get(column.type, _BY_CATEGORY.get(column.category))
        if literal is None:
            raise FactMissing(
                f"{table.fullname}.{column.name} is mandatory in this database, and neither the recording nor its "
                f"description says it (row {row.get('name') or row.get('session_name') or row.get('id')})"
            )
        row[column.name] = sa.literal_column(literal)
    known = {column.name: column.type for column in table.c}
    target = sa.table(table.name, *(sa.column(name, known.get(name)) for name in row), schema=SCHEMA)
    return insert(target).values(row)
