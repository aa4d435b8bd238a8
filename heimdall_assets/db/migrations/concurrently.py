"""Indexes on Heimdall's tables, made without blocking their writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context, op

if TYPE_CHECKING:
    from collections.abc import Iterable

Index = tuple[str, str, str]
"""Its name, its table, its columns and condition."""


def create_indexes(indexes: Iterable[Index]) -> None:
    """Create each index where it is missing; concurrently except on a hypertable, which refuses that.

    To be called before anything else of a revision: what stands before it would be committed, and not be undone
    where the revision fails later. What the database is like is looked at beforehand, by ``migrate.catalog_of``.
    """
    catalog = context.config.attributes.get("catalog")
    hypertables = frozenset() if catalog is None else catalog.hypertables
    broken = frozenset() if catalog is None else catalog.broken_indexes
    with op.get_context().autocommit_block():
        for name, table, definition in indexes:
            how = "" if table in hypertables else "CONCURRENTLY "
            if name in broken:
                op.execute(f"DROP INDEX {how}heimdall.{name}")
            op.execute(f"CREATE INDEX {how}IF NOT EXISTS {name} ON heimdall.{table} {definition}")
