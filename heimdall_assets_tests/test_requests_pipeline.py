"""Requests and backfills from the UI, carried out by the real daemon while it is killed, asked twice, told to stop."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from heimdall_assets.db.locks import session_lock
from heimdall_assets.services import CODE_SERVER
from heimdall_assets_tests.benchmarks.ui_backfills import add_sessions, follow, launch
from heimdall_assets_tests.cli.test_running import HEIMDALL
from heimdall_assets_tests.conftest import drop_database, make_database, settings_for
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.system import running_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

    from heimdall_assets_tests.system import System

PATIENCE_S = 600.0
"""A busy machine is no defect: it takes twenty times as long."""

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def system(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One daemon and one webserver for this module's tests, which use sessions of their own."""
    folder = tmp_path_factory.mktemp("requests")
    url = make_database(server_url)
    with running_system(settings_for(url, folder), folder, HEIMDALL_WORKERS="2", HEIMDALL_BATCH_SIZE="100") as system:
        system.api.stop_schedule()
        yield system
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


def start(system: System, *arguments: str) -> subprocess.Popen[str]:
    """Start a command on the system's database."""
    return subprocess.Popen(
        [*HEIMDALL, *arguments, "--json"],
        env=system.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> tuple[int, Any]:
    """Wait for a command; its exit code and its document."""
    output, errors = process.communicate(timeout=timeout_s)
    assert output, errors
    return process.returncode, json.loads(output)


def run(system: System, *arguments: str) -> Any:
    """Run a command that succeeds; its document."""
    code, document = end(start(system, *arguments))
    assert code == 0
    return document


def request_ids(system: System) -> list[str]:
    """All requests, the newest first."""
    return [
        str(row[0]) for row in system.factory.rows("SELECT id FROM heimdall.feature_requests ORDER BY created_at DESC")
    ]


def tick_messages(system: System) -> str:
    """What ticks printed."""
    return system.processes.log_path(CODE_SERVER).read_text()


def test_two_identical_requests_over_300_sessions_survive_a_killed_daemon_and_do_the_work_once(system: System) -> None:
    system.api.stop_sensor()  # or it is faster than the commands
    keys = system.factory.add_many(300)
    commands = [start(system, "backfill", "--all", "--wait") for _ in range(2)]
    wait_for(lambda: len(request_ids(system)) == 2, "both requests", timeout_s=PATIENCE_S)
    system.api.start_sensor()

    def done() -> int:
        return len(system.stored())

    # A run that is killed before it has said a word is given up after Dagster's start timeout, minutes later.
    wait_for(
        lambda: done() >= 10 and not system.api.runs(statuses=["QUEUED", "NOT_STARTED", "STARTING"]),
        "the work to be under way",
        timeout_s=PATIENCE_S,
        poll_s=0.1,
    )
    system.kill_daemon()
    done_before, listed = done(), run(system, "requests")
    system.processes.check()  # starts it anew
    assert done_before < 300
    assert [request["status"] for request in listed] == ["running"] * 2
    ends = [end(command) for command in commands]
    assert [code for code, _ in ends] == [0, 0]
    counts = {name: ends[0][1][name] for name in ("status", "total_found", "tasks_queued", "done", "failed")}
    assert counts == {"status": "done", "total_found": 300, "tasks_queued": 300, "done": 300, "failed": 0}
    assert {document[name] for _, document in ends for name in counts} == set(counts.values())
    assert ends[0][1]["remaining"] == 0
    assert ends[0][1]["num_batches"] > 3
    assert system.stored() == dict.fromkeys(keys, 1)
    # but for the attempts that the kill ended, there is one a session
    attempts = system.factory.rows(
        "SELECT outcome, count(*) FROM heimdall.feature_attempts WHERE outcome <> 'lost' GROUP BY 1"
    )
    assert attempts == [("done", 300)]
    wait_for(lambda: not system.api.open_runs(), "all runs to end", timeout_s=PATIENCE_S)
    log = tick_messages(system)
    assert log.count("Backfill complete: 300 recordings found, 300 tasks queued") == 2
    assert "Backfill batch 1: 100 tasks queued" in log


def test_a_request_cancelled_half_way_plans_no_more_lets_runs_end_and_its_counts_add_up(system: System) -> None:
    keys = system.factory.add_many(500)
    system.set_states(keys, "quarantined", "not_found")

    def attempted() -> int:
        return int(
            system.factory.scalar(
                "SELECT count(*) FROM heimdall.feature_attempts WHERE recording_session_id = ANY (:keys)", keys=keys
            )
        )

    # Of five batches two run at a time: they must not be faster than the command and the tick that carries it out.
    with ExitStack() as held:
        for key in keys[50::100]:
            held.enter_context(session_lock(system.factory.engine, key, timeout_seconds=60))
        waiting = start(system, "backfill", "--retry-failed", "--reason", "not_found", "--wait")
        wait_for(lambda: attempted() > 0, "the work to begin", timeout_s=PATIENCE_S, poll_s=0.1)
        cancelled = run(system, "requests", "cancel", request_ids(system)[0])
        wait_for(lambda: not system.api.runs(statuses=["QUEUED"]), "the next tick", timeout_s=PATIENCE_S)
    assert cancelled["status"] in {"cancelling", "cancelled"}
    assert cancelled["done"] + cancelled["failed"] + cancelled["cancelled"] + cancelled["remaining"] == 500
    code, document = end(waiting)
    assert (code, document["status"], document["total_found"]) == (1, "cancelled", 500)
    assert (document["remaining"], document["failed"]) == (0, 0)
    assert 0 < document["done"] == attempted() < 500
    assert document["cancelled"] == 500 - document["done"]
    left = system.factory.scalar(
        "SELECT count(*) FROM heimdall.feature_states WHERE recording_session_id = ANY (:keys) "
        "AND state = 'quarantined' AND reserved_by IS NULL",
        keys=keys,
    )
    assert left == document["cancelled"]
    wait_for(lambda: not system.api.open_runs(), "all runs to end", timeout_s=PATIENCE_S)
    tags = [{"key": "heimdall/origin", "value": document["request_id"]}]
    assert {run["status"] for run in system.api.runs(tags=tags)} == {"SUCCESS", "CANCELED"}
    assert run(system, "requests", "show", document["request_id"]) == document


def test_backfills_from_the_ui_end_and_exactly_the_broken_sessions_are_red(system: System) -> None:
    block, spread = add_sessions(system, 20), add_sessions(system, 9)
    everything = add_sessions(system, 60, (3, 30, 59))
    broken = [everything[index] for index in (3, 30, 59)]
    launched = [
        launch(system, "20 contiguous", block),
        launch(system, "3 scattered", spread[::4]),
        launch(system, "60, 3 of them broken", everything, broken),
    ]
    rows = [follow(system, each, timeout_s=PATIENCE_S) for each in launched]
    assert [(row.selection, row.is_right) for row in rows] == [(each.selection, True) for each in launched]
    assert [row.runs for row in rows] == [1, 3, 1]


def test_the_jobs_of_the_launchpad_record_requests_that_are_carried_out(system: System) -> None:
    before = {request["request_id"] for request in run(system, "requests")}
    everything = {"ops": {"request_batches": {"config": {"batch_size": 3, "max_batches": None}}}}
    runs = [
        system.api.launch("batch_feature_extraction", tags={}, run_config=everything),
        system.api.launch("backfill_all_features", tags={}, run_config={}),
    ]
    wait_for(
        lambda: not {run["runId"] for run in system.api.open_runs()} & set(runs), "both runs", timeout_s=PATIENCE_S
    )

    def are_done() -> bool:
        found = system.factory.rows("SELECT id::text, status FROM heimdall.feature_requests")
        return [status for key, status in found if key not in before] == ["done"] * 2

    wait_for(are_done, "both requests to end", timeout_s=PATIENCE_S)
    new = [request for request in run(system, "requests") if request["request_id"] not in before]
    assert {request["requested_by"] for request in new} == {f"run {key}" for key in runs}
    assert {str(request["selection"]) for request in new} == {
        str({"pending": True, "batch_size": 3}),
        str({"pending": True}),
    }
