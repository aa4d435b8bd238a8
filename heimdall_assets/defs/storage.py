"""Dagster's tables in PostgreSQL, found by the HEIMDALL_ environment.

dagster.yaml names this class: its ``postgres:`` block can read a variable, but cannot fall back to a default, and a
missing variable stops every Dagster process with a message about YAML.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError

from heimdall_assets.db.connections import set_session
from heimdall_assets.db.engine import create_database_if_missing
from heimdall_assets.db.presence import be_present
from heimdall_assets.db.urls import dagster_url, expected_dagster_url
from heimdall_assets.defs.pooled import PooledEventLogStorage, PooledRunStorage, PooledScheduleStorage
from heimdall_assets.errors import DatabaseUnavailable
from heimdall_assets.settings import Settings, current_settings

logger = logging.getLogger(__name__)

EMBEDDED_START_TIMEOUT_S = 60.0

EVENTS_IN_A_BATCH = 250
"""The most that go into one statement: what is planned with a run, and what a run reports at a time."""

_ready_urls: set[str] = set()
"""Databases that this process has found with their tables in place."""


class HeimdallStorage(DagsterPostgresStorage):
    """dagster-postgres on pooled connections, with the database of HEIMDALL_DAGSTER_DATABASE_URL or its default."""

    def __init__(
        self,
        postgres_url: str,
        *,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        # Stock storages are made first, and do not connect; those that take their place look for the tables.
        super().__init__(postgres_url, should_autocreate_tables=False, inst_data=inst_data)
        looks = should_autocreate_tables and postgres_url not in _ready_urls
        self._run_storage = PooledRunStorage(postgres_url, looks)
        self._event_log_storage = PooledEventLogStorage(postgres_url, looks)
        self._schedule_storage = PooledScheduleStorage(postgres_url, looks)
        if looks:
            _ready_urls.add(postgres_url)
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            _check_pool_of(storage)
        # Dagster's switch for handing events to the storage in batches is this variable alone.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENTS_IN_A_BATCH))

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No configuration: the environment says it."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> "HeimdallStorage":
        """Connect; creates the database and its tables where they are missing and the role may.

        A server that is away is no reason to stop: a daemon goes on when it is back. The embedded one is started
        where it is not running, so that Dagster's own commands work with no variable set.
        """
        settings = current_settings()
        try:
            if settings.is_embedded:
                _use_embedded_server(settings)
            url = dagster_url(settings)
            if url.render_as_string(hide_password=False) not in _ready_urls:
                create_database_if_missing(url)
        except DatabaseUnavailable as error:
            logger.warning("Dagster's database: %s", error.message)
            url = expected_dagster_url(settings)
            return cls(url.render_as_string(hide_password=False), should_autocreate_tables=False, inst_data=inst_data)
        return cls(url.render_as_string(hide_password=False), inst_data=inst_data)


def _check_pool_of(storage: Any) -> None:
    """Have a storage's connections set up, and checked before they are used, where the webserver keeps some open.

    The webserver's storage makes another engine. A restart of PostgreSQL breaks its connections, and each would be an
    error page for the next who looks.
    """
    optimize = storage.optimize_for_webserver

    def optimize_and_check(**limits: int) -> None:
        optimize(**limits)
        set_session(storage._engine)  # noqa: SLF001  # as below
        dialect = storage._engine.dialect  # noqa: SLF001  # a storage has no other way to its engine

        def check(connection: Any, _record: object, _proxy: object) -> None:
            try:
                dialect.do_ping(connection)
            except dialect.loaded_dbapi.Error as error:
                raise DisconnectionError(str(error)) from error  # the pool opens another

        event.listen(storage._engine, "checkout", check)  # noqa: SLF001  # as above

    storage.optimize_for_webserver = optimize_and_check


def _use_embedded_server(settings: Settings) -> None:
    """Count as a user of the embedded server, and have it started if nobody has.

    Raises
    ------
    DatabaseUnavailable
        It did not come up in time.
    """
    be_present(settings.home)
    if _is_running(settings):
        return
    # A process of its own, not a child that dies with this one: the others that find it go on using it.
    with (settings.home / "postgres.log").open("ab") as log:
        subprocess.Popen(  # our own command line
            [sys.executable, "-m", "heimdall_assets.cli", "db", "serve", "--while-used"],
            env={**os.environ, Settings.variable("home"): str(settings.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + EMBEDDED_START_TIMEOUT_S
    while not _is_running(settings):
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(f"the embedded PostgreSQL does not start: see {settings.home}/postgres.log")
        time.sleep(0.2)


def _is_running(settings: Settings) -> bool:
    try:
        create_database_if_missing(dagster_url(settings))
    except DatabaseUnavailable:
        return False
    return True
