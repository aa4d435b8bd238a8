"""A real daemon, broker and two workers: they share the work, stop when asked to, and die without losing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heimdall_assets.db.locks import session_lock
from heimdall_assets.defs.cancellation import NOTICED
from heimdall_assets_tests.brokers import is_installed
from heimdall_assets_tests.conftest import drop_database, make_database, settings_for
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.fleet import kill_worker, pid_of, running_fleet, runs_by_worker, worker_of
from heimdall_assets_tests.invariants import assert_ledger_agrees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.engine import URL

    from heimdall_assets_tests.system import System

pytestmark = pytest.mark.timeout(600)  # a daemon and two workers start, whatever else the machine does


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def system(
    request: pytest.FixtureRequest, server_url: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A fleet for this module's tests, which use sessions of their own; batches of 20, a session at a time."""
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed: apt-get install redis-server rabbitmq-server")
    folder = tmp_path_factory.mktemp(request.param)
    url = make_database(server_url)
    variables = {"HEIMDALL_BATCH_SIZE": "20", "HEIMDALL_WORKERS": "1"}
    with running_fleet(request.param, settings_for(url, folder), folder, **variables) as system:
        yield system
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


def test_both_workers_take_part_and_every_session_is_done_once(system: System) -> None:
    ids = system.factory.add_many(80)
    system.drain()
    stored = system.stored()
    assert {key: stored.get(key) for key in ids} == dict.fromkeys(ids, 1)
    shares = runs_by_worker(system)
    assert len(shares) == 2
    assert None not in shares
    assert_ledger_agrees(system.factory.engine)


def test_a_worker_that_is_killed_in_the_middle_of_a_batch_loses_nothing_and_its_run_is_found_dead(
    system: System,
) -> None:
    ids = system.factory.add_many(20, minutes=1000)
    # The run does the others, or some of them, and waits for this one: it is alive for as long as the test wants.
    with session_lock(system.factory.engine, ids[10], timeout_seconds=5):
        run_id = run_waiting_for(system, ids)
        worker = worker_of(system, run_id)
        assert worker is not None
        kill_worker(pid_of(worker))
    wait_for(lambda: system.api.run(run_id)["status"] == "FAILURE", "the dead run to be found", timeout_s=120)
    system.processes.check()
    system.drain()
    stored = system.stored()
    assert {key: stored.get(key) for key in ids} == dict.fromkeys(ids, 1)
    assert {system.factory.state(key) for key in ids} == {"done"}
    assert_ledger_agrees(system.factory.engine)


def test_a_run_that_is_stopped_in_the_ui_ends_and_its_worker_goes_on(system: System) -> None:
    ids = system.factory.add_many(20, minutes=2000)
    with session_lock(system.factory.engine, ids[10], timeout_seconds=5):
        run_id = run_waiting_for(system, ids)
        system.api.terminate(run_id)
        # Its worker must have seen that before the session is free again, or the run would end by itself.
        wait_for(lambda: NOTICED in system.api.messages(run_id), "the worker to notice", timeout_s=30, poll_s=0.1)
    wait_for(lambda: system.api.run(run_id)["status"] == "CANCELED", "the run to be cancelled", timeout_s=60)
    system.drain()
    stored = system.stored()
    assert {key: stored.get(key) for key in ids} == dict.fromkeys(ids, 1)
    assert worker_of(system, run_id) in runs_by_worker(system)


def run_waiting_for(system: System, ids: list[UUID]) -> str:
    """Wait until a run is at work on the sessions; its id."""
    query = "SELECT DISTINCT run_id FROM heimdall.feature_attempts WHERE recording_session_id = ANY (:ids)"
    wait_for(lambda: system.factory.rows(query, ids=ids), "a run to begin", timeout_s=120)
    ((run_id,),) = system.factory.rows(query, ids=ids)
    return str(run_id)
