"""Columns of Heimdall's tables that only some databases have, and what may stand in them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_COLUMN = sa.text("""
    SELECT count(*) FROM information_schema.columns
    WHERE table_schema = 'heimdall' AND table_name = :table AND column_name = :column""")
_CHECKS = sa.text("""
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass('heimdall.' || :table) AND contype = 'c'""")

_ranges: WeakKeyDictionary[Engine, dict[tuple[str, str], tuple[float, float] | None]] = WeakKeyDictionary()


def has_column(connection: Connection, table: str, column: str) -> bool:
    """True if a table of the schema has the column; asked once per engine."""
    return range_of(connection, table, column) is not None


def range_of(connection: Connection, table: str, column: str) -> tuple[float, float] | None:
    """The whole numbers that the table's CHECK constraints allow in a column, bounds included; asked once per engine.

    Returns
    -------
    (float, float) or None
        Infinite where nothing is said; None where the table has no such column.
    """
    known = _ranges.setdefault(connection.engine, {})
    if (table, column) not in known:
        known[table, column] = _range(connection, table, column)
    return known[table, column]


def _range(connection: Connection, table: str, column: str) -> tuple[float, float] | None:
    if not connection.scalar(_COLUMN, {"table": table, "column": column}):
        return None
    low, high = -math.inf, math.inf
    for check in connection.scalars(_CHECKS, {"table": table}):
        for comparison, number in re.findall(rf"\b{column}\W*?(>=|>|<=|<)\D*?(\d+)", check):
            bound = float(number)
            if comparison.startswith(">"):
                low = max(low, bound + (comparison == ">"))
            else:
                high = min(high, bound - (comparison == "<"))
    return low, high
