"""Alembic's entry point; :mod:`heimdall_assets.db.migrate` calls it with a connection, or none to print SQL."""

from __future__ import annotations

from typing import Any

from alembic import context

from heimdall_assets.db.tables import SCHEMA, metadata

VERSION_TABLE = "feature_alembic_version"


def _run() -> None:
    connection = context.config.attributes.get("connection")
    options: dict[str, Any] = {
        "target_metadata": metadata,
        "version_table": VERSION_TABLE,  # Heimdall's other services may keep an alembic_version of their own
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "transaction_per_migration": True,
    }
    if connection is None:
        # With the driver's own style every % would be printed twice.
        style = {"paramstyle": "named"}
        context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts=style, **options)
    else:
        context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()


_run()
