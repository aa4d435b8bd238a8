"""dagster-postgres with connections that stay open, and with the events of a batch in one statement.

dagster-postgres connects anew for every statement, which costs more than most of them: 10 ms an event. Here all
storages of a process share a small pool. What is written is the same, so that stock processes and these may work on
one database side by side.
"""

import os
from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa
from dagster import EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log import SqlEventLogStorageTable
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy.engine import Engine

from heimdall_assets.db.connections import set_session

KEPT_CONNECTIONS = 2
"""A process's threads mostly take turns; more are opened while they do not, as many as it takes."""


def pooled_engine(url: str) -> Engine:
    """The process's engine for a database: the same for all storages of all instances.

    Connections are checked before use, so that a restart of the server costs nothing but a reconnection.
    """
    return _engine(url, os.getpid())


@lru_cache(maxsize=8)
def _engine(url: str, _pid: int) -> Engine:
    """By process: a child that was forked must not speak on its parent's connections."""
    engine = sa.create_engine(
        url, isolation_level="AUTOCOMMIT", pool_size=KEPT_CONNECTIONS, max_overflow=-1, pool_pre_ping=True
    )
    set_session(engine)
    return engine


class PooledRunStorage(PostgresRunStorage):
    """Runs, tags and heartbeats of daemons."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool = True) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._engine = pooled_engine(postgres_url)


class PooledScheduleStorage(PostgresScheduleStorage):
    """Ticks and states of sensors and schedules."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool = True) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._engine = pooled_engine(postgres_url)


class PooledEventLogStorage(PostgresEventLogStorage):
    """The event log; an event and what is derived from it are one transaction, and so is a batch of them."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool = True) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._engine = pooled_engine(postgres_url)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event."""
        if event.dagster_event_type in ASSET_CHECK_EVENTS:
            super().store_event(event)
        else:
            self._store([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction; stock storages do so for materializations alone, not for planned ones."""
        if any(event.dagster_event_type in ASSET_CHECK_EVENTS for event in events):
            super().store_event_batch(events)
        else:
            self._store([event for event in events if not _is_failure_to_materialize(event)])

    def _store(self, events: Sequence[EventLogEntry]) -> None:
        if not events:
            return
        with self.index_transaction() as connection:
            statement = sa.insert(SqlEventLogStorageTable).returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            )
            ids = connection.scalars(statement, [self._event_to_row(event) for event in events]).all()
            about_assets = [
                (event, int(event_id))
                for event, event_id in zip(events, ids, strict=True)
                if event.dagster_event_type in ASSET_EVENTS and event.get_dagster_event().asset_key
            ]
            self._store_asset_event_tags(
                connection, [pair[0] for pair in about_assets], [pair[1] for pair in about_assets]
            )
            # The asset's row tells of its latest event alone.
            for event, event_id in {
                event.get_dagster_event().asset_key: (event, event_id) for event, event_id in about_assets
            }.values():
                self._store_asset_event(connection, event, event_id)


def _is_failure_to_materialize(event: EventLogEntry) -> bool:
    return event.is_dagster_event and event.get_dagster_event().is_asset_failed_to_materialize
