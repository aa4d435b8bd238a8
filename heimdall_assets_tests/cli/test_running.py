"""`heimdall up` and `dagster dev`, as processes: a recording that comes in is measured, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from heimdall_assets import embedded
from heimdall_assets.db import coverage
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.errors import DatabaseError
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import load_settings, settings_table
from heimdall_assets.synthetic import SyntheticNetwork
from heimdall_assets.web.tasks import PREFIX
from heimdall_assets_tests.dagster_api import DagsterAPI, wait_for
from heimdall_assets_tests.web.client import Client

if TYPE_CHECKING:
    from pathlib import Path

HEIMDALL = [sys.executable, "-m", "heimdall_assets.cli"]
pytestmark = pytest.mark.timeout(900)  # a busy machine is no defect

FEATURES_WITHIN_S = 150.0
CELERY_FIGURES = (
    "total_recordings",
    "recordings_with_features",
    "recordings_without_features",
    "total_measurements",
    "measurements_with_features",
    "measurements_without_features",
    "coverage_percent",
)
"""Keys of the replaced job's statistics."""


def environment_with(home: Path, **more: str) -> dict[str, str]:
    """The environment of these tests with a home of its own and no other setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEIMDALL_", "DAGSTER_"))}
    return {**kept, "HEIMDALL_HOME": str(home), **more}


def heimdall(home: Path, *arguments: str) -> Any:
    """Run a command with ``--json``; its document."""
    done = subprocess.run(
        [*HEIMDALL, *arguments, "--json"],
        env=environment_with(home),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WITHOUT_SIGINT = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"]
"""Runs a command with SIGINT ignored, as a shell runs what goes to the background."""


def start(command: list[str], home: Path, *, log: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start a long-running command."""
    with log.open("wb") as out:
        return subprocess.Popen(command, env=environment_with(home, **more), stdout=out, stderr=subprocess.STDOUT)


def left_behind(home: Path) -> dict[psutil.Process, str]:
    """Processes that use the home, PostgreSQL's included, with their commands."""
    found = {}
    for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        uses_it = (process.info["environ"] or {}).get("HEIMDALL_HOME") == str(home) or str(home) in command
        if uses_it and process.info["status"] != psutil.STATUS_ZOMBIE:
            found[process] = command
    return found


def kill_code_server(home: Path) -> None:
    """Kill the one process that has the definitions, without a word."""
    (server,) = [process for process, command in left_behind(home).items() if "dagster api grpc" in command]
    server.kill()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def recording(folder: Path, seed: int) -> Path:
    """A folder with a synthetic session."""
    network = SyntheticNetwork(seed=seed, num_receivers=3)
    return network.write(network.sessions(1)[0], folder / str(seed))


def wait_for_features(home: Path, count: int, timeout_s: float = FEATURES_WITHIN_S) -> None:
    """Wait until so many sessions have features.

    In the home's PostgreSQL: the command says the same, for two seconds of a processor each time.
    """
    settings = load_settings(home=home, database_url=None)

    def featured() -> object:
        try:
            engine = open_engine(heimdall_url(settings), pool_size=1)
            with transaction(engine) as connection:
                figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
        except DatabaseError:  # it is being started
            return None
        engine.dispose()
        return figures["recordings_with_features"]

    wait_for(lambda: featured() == count, f"features of {count} sessions", timeout_s=timeout_s, poll_s=0.5)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of the test's own."""
    return tmp_path / "home"


def test_up_measures_what_comes_in_stops_without_a_trace_and_goes_on_when_started_again(
    home: Path, tmp_path: Path
) -> None:
    api_port = free_port()
    command = [*WITHOUT_SIGINT, *HEIMDALL, "up", "--port", str(free_port()), "--api-port", str(api_port)]
    log = tmp_path / "up.log"
    process = start(command, home, log=log)
    wait_for(lambda: "Sensor and schedule are on" in log.read_text(), "up to be ready", timeout_s=150)
    # the printed address holds the token, and no log of the server does
    token = (home / "admin.token").read_text().strip()
    assert f"/login#token={token}\n" in log.read_text()
    assert "GET /health/live" in (home / "logs" / "api.log").read_text()
    assert token not in (home / "logs" / "api.log").read_text()
    assert heimdall(home, "ingest", str(recording(tmp_path, 1)))[0]["is_new"]
    wait_for_features(home, 1)
    kill_code_server(home)
    call_what_old_scripts_call(Client(f"http://127.0.0.1:{api_port}", token), home, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    wait_for(lambda: not left_behind(home), "all to end", timeout_s=60)

    assert heimdall(home, "ingest", str(recording(tmp_path, 2)))[0]["is_new"]
    figures = heimdall(home, "stats")
    assert figures["recordings_pending"] == 1
    process = start(command, home, log=log)
    wait_for_features(home, figures["recordings_with_features"] + 1, timeout_s=90)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    wait_for(lambda: not left_behind(home), "all to end", timeout_s=60)


def call_what_old_scripts_call(api: Client, home: Path, folder: Path) -> None:
    """Trigger, look at the figures, trigger everything and stop that: keys as the Celery job's, counts that add up.

    The recordings that are asked for wait meanwhile, so that the sensor is no faster than the calls.
    """
    assert api.post(f"{PREFIX}/pause").document["paused"]
    heimdall(home, "ingest", str(recording(folder, 4)), str(recording(folder, 5)))
    batch = api.post(f"{PREFIX}/batch-extract", {"batch_size": 10, "max_batches": 2})
    everything = api.post(f"{PREFIX}/backfill-all")
    for answer in (batch, everything):
        assert (answer.status, set(answer.document)) == (200, {"task_id", "message", "status"})
    figures = api.get(f"{PREFIX}/stats").document
    assert set(CELERY_FIGURES) <= set(figures)
    assert figures["recordings_without_features"] == 2
    stopped = api.ask("DELETE", f"{PREFIX}/tasks/{everything.document['task_id']}")
    assert stopped.document["state"] == "cancelled"
    assert api.post(f"{PREFIX}/resume").document["changed"]

    def task() -> dict[str, Any]:
        found: dict[str, Any] = api.get(f"{PREFIX}/tasks/{batch.document['task_id']}").document
        return found

    wait_for(lambda: task()["state"] == "done", "the task to end", timeout_s=FEATURES_WITHIN_S)
    end = task()
    assert end["done"] + end["failed"] == end["total_found"] == 2


def test_up_names_a_taken_port_and_exits_with_2(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [*HEIMDALL, "up", "--port", port, "--api-port", str(free_port())],
            env=environment_with(home),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"heimdall: 127.0.0.1:{port} cannot be listened on")
    assert not left_behind(home)


def test_dagster_dev_works_with_no_variable_but_the_homes(home: Path, tmp_path: Path) -> None:
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    shutil.copyfile(embedded.project_file("dagster.yaml"), dagster_home / "dagster.yaml")
    port = free_port()
    workspace = str(embedded.project_file("workspace.yaml"))
    command = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-p", str(port)]
    # Dagster stops what it started by SIGINT: where that was inherited as ignored, it would wait for them for ever.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(command, home, log=tmp_path / "dev.log", DAGSTER_HOME=str(dagster_home))
    signal.signal(signal.SIGINT, before)
    wait_for(DagsterAPI(f"http://127.0.0.1:{port}").is_up, "the webserver", timeout_s=90)
    assert heimdall(home, "ingest", str(recording(tmp_path, 3)))[0]["is_new"]
    wait_for_features(home, 1)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    wait_for(lambda: not left_behind(home), "all to end", timeout_s=60)


def test_settings_lists_every_variable(home: Path) -> None:
    assert [row["variable"] for row in heimdall(home, "settings")] == [row[0] for row in settings_table()]
