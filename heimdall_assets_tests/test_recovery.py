"""Processes are killed as power cuts and the kernel kill them: the work is done all the same, by nobody's hand."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest
import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.urls import dagster_url, heimdall_url
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes
from heimdall_assets.services import start_daemon
from heimdall_assets_tests.conftest import drop_database, make_database, settings_for
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.engine import URL, Engine


@dataclass(frozen=True)
class Daemon:
    """A daemon on a database of its own; it is started again when it ends, as `heimdall up` does."""

    factory: SessionFactory
    processes: Processes
    dagster: Engine

    def children(self) -> list[psutil.Process]:
        """The daemon and the code server, with all that they started."""
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if "dagster._daemon" in child.cmdline() or "dagster api grpc" in " ".join(child.cmdline()):
                    found += [child, *child.children(recursive=True)]
        return found

    def runs(self) -> dict[str, str]:
        """Run -> status, of runs that extract."""
        query = "SELECT run_id, status FROM runs WHERE pipeline_name IN ('extract_features', 'extract_sessions')"
        with transaction(self.dagster) as connection:
            return {row[0]: row[1] for row in connection.execute(sa.text(query))}

    def runs_of(self, session_ids: list[UUID]) -> set[str]:
        """The runs that began attempts at these."""
        query = "SELECT run_id FROM heimdall.feature_attempts WHERE recording_session_id = ANY (:ids)"
        return {row[0] for row in self.factory.rows(query, ids=session_ids)}

    def are_done(self, session_ids: list[UUID]) -> bool:
        """True once all of them have features; starts again what was killed."""
        self.processes.check()
        return {self.factory.state(key) for key in session_ids} == {"done"}


@pytest.fixture(scope="module")
def daemon(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for this module's tests."""
    folder = tmp_path_factory.mktemp("recovery")
    url = make_database(server_url)
    settings = settings_for(url, folder)
    engine = open_engine(heimdall_url(settings), pool_size=4)
    dagster = open_engine(dagster_url(settings), pool_size=1)
    environment = dagster_environment(settings)
    environment.update(HEIMDALL_WORKERS="2")
    with Processes(environment, folder / "logs") as processes:
        start_daemon(processes)
        yield Daemon(SessionFactory(engine, settings), processes, dagster)
    for each in (engine, dagster):
        each.dispose()
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


@pytest.mark.timeout(900)  # it starts a daemon twice and a run twice, whatever else the machine does
def test_when_run_code_server_and_daemon_are_killed_at_once_the_run_is_found_dead_and_its_sessions_are_done(
    daemon: Daemon,
) -> None:
    ids = daemon.factory.add_many(4)
    # The run does the others and waits for this one: it is alive for as long as the test wants.
    with session_lock(daemon.factory.engine, ids[0], timeout_seconds=5):
        wait_for(lambda: len(daemon.runs_of(ids[1:])) == 1, "the run to begin", timeout_s=90)
        wait_for(lambda: daemon.are_done(ids[1:]), "all sessions but one", timeout_s=60)
        (run_id,) = daemon.runs_of(ids[1:])
        assert daemon.runs()[run_id] == "STARTED"
        killed = daemon.children()
        assert len(killed) >= 3  # daemon, code server, run
        for process in killed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(killed, timeout=10)
    wait_for(lambda: daemon.are_done(ids), "the session that was left", timeout_s=240)
    wait_for(lambda: daemon.runs()[run_id] == "FAILURE", "the dead run to be found", timeout_s=240)
    attempts = daemon.factory.rows(
        "SELECT recording_session_id, count(*) FROM heimdall.feature_attempts GROUP BY recording_session_id"
    )
    assert {key: count for key, count in attempts} == dict.fromkeys(ids, 1)  # noqa: C416  # two columns
