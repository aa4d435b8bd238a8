"""Indexes on Heimdall's tables, made without blocking their writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context, op
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable

Index = tuple[str, str, str]
"""Its name, its table, its columns and condition."""


def create_indexes(indexes: Iterable[Index]) -> None:
    """Create each index where it is missing; concurrently except on a hypertable, which refuses that.

    To be called before anything else of a revision: what stands before it would be committed, and not be undone
    where the revision fails later.
    """
    offline = context.is_offline_mode()
    with op.get_context().autocommit_block():
        for name, table, definition in indexes:
            how = "" if not offline and _is_hypertable(table) else "CONCURRENTLY "
            if not offline and _is_broken(name):
                op.execute(f"DROP INDEX {how}heimdall.{name}")
            op.execute(f"CREATE INDEX {how}IF NOT EXISTS {name} ON heimdall.{table} {definition}")


def _is_broken(index: str) -> bool:
    """True of what an interrupted CREATE INDEX CONCURRENTLY leaves: it is never used, yet it has the name."""
    query = text("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
    return bool(op.get_bind().scalar(query, {"name": f"heimdall.{index}"}))


def _is_hypertable(table: str) -> bool:
    bind = op.get_bind()
    if bind.scalar(text("SELECT to_regclass('_timescaledb_catalog.hypertable')")) is None:
        return False
    query = text(
        "SELECT count(*) FROM _timescaledb_catalog.hypertable WHERE schema_name = 'heimdall' AND table_name = :table"
    )
    return bool(bind.scalar(query, {"table": table}))
