"""Everything running on a database of its own: webserver, daemon, and what tests and benchmarks ask of them."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets import embedded
from heimdall_assets.db import coverage, discovery, tables
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.services import CODE_SERVER, start_daemon, start_webserver
from heimdall_assets.settings import load_settings
from heimdall_assets_tests.dagster_api import DagsterAPI, wait_for
from heimdall_assets_tests.factory import SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from heimdall_assets.settings import Settings


@dataclass(frozen=True)
class System:
    """Everything running on a database of its own."""

    factory: SessionFactory
    settings: Settings
    api: DagsterAPI
    processes: Processes
    environment: dict[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, int | float | None]:
        """The figures of ``stats``."""
        with transaction(self.factory.engine) as connection:
            return coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)

    def drain(self, timeout_s: float = 120.0) -> None:
        """Wait until nothing is pending or running and all runs have ended."""

        def is_done() -> bool:
            figures = self.figures()
            return not figures["recordings_pending"] and not figures["recordings_running"]

        wait_for(is_done, "all sessions to be worked on", timeout_s=timeout_s)
        wait_for(lambda: not self.api.open_runs(), "all runs to end", timeout_s=timeout_s)

    def stored(self) -> dict[UUID, int]:
        """How often features of each session were stored."""
        rows = self.factory.rows(
            "SELECT recording_session_id, count(*) FROM heimdall.feature_attempts "
            "WHERE outcome IN ('done', 'partial') GROUP BY 1"
        )
        return {key: count for key, count in rows}  # noqa: C416  # two columns

    def attempts(self, session_ids: Sequence[UUID]) -> set[int]:
        """How many attempts the sessions had; one number if all had the same."""
        rows = self.factory.rows(
            "SELECT count(*) FROM heimdall.feature_attempts WHERE recording_session_id = ANY (:ids) "
            "GROUP BY recording_session_id",
            ids=list(session_ids),
        )
        return {row[0] for row in rows}

    def register(self, session_ids: Sequence[UUID]) -> None:
        """Give keys to Dagster in this order, as the planner does, without planning them."""
        name = recording_sessions_partitions.name
        url = heimdall_url(self.settings)
        engine = open_engine(url.set(database=f"{url.database}_dagster"))
        with transaction(engine) as connection:
            connection.execute(
                sa.text("INSERT INTO dynamic_partitions (partitions_def_name, partition) VALUES (:name, :key)"),
                [{"name": name, "key": str(key)} for key in session_ids],
            )
        engine.dispose()
        with transaction(self.factory.engine) as connection:
            discovery.discover(connection)
            connection.execute(
                sa.update(tables.feature_states)
                .where(tables.feature_states.c.recording_session_id.in_(session_ids))
                .values(registered_at=sa.func.now())
            )

    def set_states(self, session_ids: Sequence[UUID], state: str, reason: str | None = None) -> None:
        """Say of sessions that they are in a state, as if a run had left them there."""
        with transaction(self.factory.engine) as connection:
            discovery.discover(connection)
            connection.execute(
                sa.update(tables.feature_states)
                .where(tables.feature_states.c.recording_session_id.in_(session_ids))
                .values(state=state, reason=reason)
            )

    def kill_daemon(self) -> None:
        """End the daemon, its code server and its runs at once, without a word."""
        for name in ("daemon", CODE_SERVER):
            child = self.processes._children[name]
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@contextmanager
def running_system(settings: Settings, folder: Path, **variables: str) -> Iterator[System]:
    """One daemon and one webserver on the database of the settings.

    Unless variables say otherwise, retries come when somebody makes them due.
    """
    engine = open_engine(heimdall_url(settings), pool_size=4)
    environment = dagster_environment(settings)
    environment.update({"HEIMDALL_RETRY_BASE_SECONDS": "900", "HEIMDALL_RETRY_MAX_SECONDS": "3600", **variables})
    port = free_port()
    with Processes(environment, folder / "logs") as processes:
        start_webserver(processes, host="127.0.0.1", port=port)
        start_daemon(processes)
        api = DagsterAPI(f"http://127.0.0.1:{port}")
        wait_for(api.is_up, "the webserver to load the definitions", timeout_s=120)
        yield System(SessionFactory(engine, settings), settings, api, processes, environment)
    engine.dispose()


@contextmanager
def own_system(**variables: str) -> Iterator[System]:
    """:func:`running_system` with a PostgreSQL and a home of its own, which are removed at the end."""
    # Also where SIGINT was inherited as ignored, which the processes would hand on; either ends it all.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="heimdall-") as name:
        settings = load_settings(home=Path(name), database_url=None)
        Path(settings.resolved_iq_root).mkdir(parents=True, exist_ok=True)
        with embedded.database(settings), running_system(settings, Path(name), **variables) as system:
            yield system


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
