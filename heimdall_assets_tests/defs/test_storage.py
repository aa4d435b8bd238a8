"""Dagster's storage: what the webserver keeps open survives a restart of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from heimdall_assets_tests.defs.conftest import Dagster

LIMITS = {"statement_timeout": 5000, "pool_recycle": 3600, "max_overflow": 5}
BREAK = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
)


def test_pages_are_shown_after_a_restart_of_postgresql_without_an_error_first(dagster: Dagster) -> None:
    instance = dagster.instance
    instance.optimize_for_webserver(**LIMITS)

    def look() -> None:
        """Ask each of the three storages."""
        assert instance.get_runs() == []
        assert instance.get_dynamic_partitions("recording_sessions") == []
        assert instance.all_instigator_state() == []

    look()
    url = dagster_url(current_settings())
    engine = open_engine(url, pool_size=1)
    with transaction(engine) as connection:
        assert connection.scalar(sa.text(BREAK), {"name": url.database}) >= 3
    engine.dispose()
    look()
