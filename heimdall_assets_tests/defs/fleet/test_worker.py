"""A worker starts and ends as it is told; one whose code is older than the daemon's leaves its runs to others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.defs.fleet.app import EXECUTE_RUN, FRESH, fleet_app, queue_name
from heimdall_assets.defs.fleet.release import this_code
from heimdall_assets.settings import current_settings, load_settings
from heimdall_assets_tests.brokers import broker, is_installed

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets_tests.defs.conftest import Dagster


pytestmark = pytest.mark.skipif(not is_installed("redis"), reason="redis-server is not installed")
WORKER = [sys.executable, "-m", "heimdall_assets.cli", "worker"]


def test_a_worker_says_when_it_is_ready_and_ends_when_it_is_asked_to(
    dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broker("redis", tmp_path / "redis") as url:
        monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", url)
        command = [*WORKER, "--json", "--queues", "fresh", "--name", "first"]
        with subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            document = "".join(iter(process.stdout.readline, "}\n")) + "}"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == ""
            assert process.wait(60) == 0
    assert json.loads(document) == {"worker": f"first@{socket.gethostname()}", "queues": ["fresh"], "concurrency": 1}


def test_a_worker_that_ends_by_itself_ends_with_1(
    dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broker("redis", tmp_path / "redis") as url:
        monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", url)
        # Its pool needs more files than it may open.
        command = ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *WORKER, "--concurrency", "32"]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert "Too many open files" in done.stderr
    assert done.stderr.rstrip().endswith("the worker ended although nobody had asked it to: its log says why")


def test_a_worker_that_is_behind_hands_the_run_back_and_ends_with_the_reason(
    dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broker("redis", tmp_path / "redis") as url:
        monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", url)
        app = fleet_app(load_settings())
        newer = replace(this_code(), revision="9999")
        message = {"run_id": str(uuid.uuid4()), "code": newer.as_message()}
        app.send_task(EXECUTE_RUN, kwargs=message, queue=queue_name(FRESH))
        done = subprocess.run(
            WORKER,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        with app.connection_for_read() as connection:
            left = connection.SimpleQueue(queue_name(FRESH))
            assert left.get(timeout=10).headers["task"] == EXECUTE_RUN
    current_settings.cache_clear()
    assert done.returncode == 1
    assert "database revision 9999: it stops, and leaves the run to other workers" in done.stderr
    assert done.stderr.rstrip().endswith(f"runs {this_code()}, and the daemon a newer release: upgrade it")
