"""Child processes: started with logs, started again when they end, and gone when we are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from heimdall_assets import processes
from heimdall_assets.errors import SettingError
from heimdall_assets.processes import Processes, ProcessFailed, stop_signals, wait_until
from heimdall_assets.services import dagster_processes, require_free_port
from heimdall_assets_tests.dagster_api import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings

SLEEPER_WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
time.sleep(300)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(300)
"""
NOTES_ITS_END = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(float(sys.argv[2]))
    with pathlib.Path(sys.argv[1]).open("a") as notes:
        notes.write(sys.argv[2] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(300)
"""
ASKS_FOR_SIGINT = """
import signal
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
"""
STARTS_ONE = f"""
import pathlib, sys, time
from heimdall_assets.processes import Processes, stop_signals
with stop_signals() as stopped, Processes({{}}, pathlib.Path(sys.argv[1])) as children:
    children.start("child", [sys.executable, "-c", {ASKS_FOR_SIGINT!r}])
    time.sleep(2)
"""


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    """An empty set whose patience is short."""
    monkeypatch.setattr(processes, "STOP_GRACE_S", 1.0)
    monkeypatch.setattr(processes, "RESTART_DELAY_S", 0.01)
    return Processes(os.environ, tmp_path / "logs")


def log_of(children: Processes, name: str) -> str:
    """What a child wrote."""
    wait_for(lambda: children.log_path(name).read_text().strip(), f"{name} to write", timeout_s=20, poll_s=0.05)
    return children.log_path(name).read_text().strip()


def keep_checking(children: Processes, name: str, *, ends: int, for_ever: bool = False) -> None:
    """Start a child again until it has ended so often."""
    seen: set[int] = set()

    def has_ended_so_often() -> bool:
        children.check(for_ever=for_ever)
        seen.add(children.pid(name))
        return len(seen) > ends

    wait_for(has_ended_so_often, f"{name} to end {ends} times", poll_s=0.02)


def test_stopping_ends_children_and_what_they_started(children: Processes) -> None:
    with children:
        children.start("sleeper", [sys.executable, "-c", SLEEPER_WITH_CHILD])
        grandchild = psutil.Process(int(log_of(children, "sleeper")))
        assert grandchild.is_running()
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_a_child_that_ignores_sigterm_is_killed(children: Processes) -> None:
    with children:
        children.start("deaf", [sys.executable, "-c", DEAF])
        log_of(children, "deaf")
        started = time.monotonic()
    assert time.monotonic() - started < 15


def test_what_others_need_ends_after_them(children: Processes, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with children:
        children.start("needed", [sys.executable, "-c", NOTES_ITS_END, str(notes), "0"], ends_last=True)
        children.start("slow", [sys.executable, "-c", NOTES_ITS_END, str(notes), "0.3"])
        assert {log_of(children, name) for name in ("needed", "slow")} == {"ready"}
    assert notes.read_text() == "0.3 0 "


def test_a_child_that_ends_is_started_again_but_not_for_ever(children: Processes) -> None:
    with children:
        children.start("brief", [sys.executable, "-c", "print('once more')"])
        with pytest.raises(ProcessFailed, match=r"brief ended with code 0, again and again: see .*brief\.log"):
            keep_checking(children, "brief", ends=processes.MAX_RESTARTS + 1)
        assert children.log_path("brief").read_text().count("once more") == 1 + processes.MAX_RESTARTS


def test_it_is_started_at_once_then_after_growing_waits_and_for_ever_where_that_is_asked_for(
    children: Processes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "LONGEST_DELAY_S", 0.05)
    with children:
        children.start("brief", [sys.executable, "-c", ""])
        keep_checking(children, "brief", ends=processes.MAX_RESTARTS + 2, for_ever=True)
    waits_s = [record.args[2] for record in caplog.records if isinstance(record.args, tuple)]
    assert waits_s == pytest.approx([0, 0.01, 0.02, 0.04, 0.05, 0.05, 0.05])


def test_a_child_that_ends_now_and_then_is_started_again_for_ever(
    children: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STEADY_S", 0.0)
    with children:
        children.start("long", [sys.executable, "-c", ""])
        keep_checking(children, "long", ends=processes.MAX_RESTARTS + 2)


def test_a_taken_port_is_named_before_anything_is_started() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingError, match=f"127.0.0.1:{port} cannot be listened on"):
            require_free_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(SettingError, match=r"192\.0\.2\.1:3000 cannot be listened on"):
        require_free_port("192.0.2.1", 3000)


def test_both_stop_signals_set_the_event_and_their_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        with stop_signals() as stopped:
            assert not stopped.is_set()
            os.kill(os.getpid(), number)
            assert stopped.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_children_can_be_interrupted_although_sigint_was_inherited_as_ignored(tmp_path: Path) -> None:
    """Dagster ends its helpers by SIGINT; started from a script in the background, they would never hear it."""
    subprocess.run(
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", STARTS_ONE, str(tmp_path)],
        check=True,
        timeout=60,
    )
    assert (tmp_path / "child.log").read_text().strip() == "True"


def test_waiting_ends_with_the_condition_the_time_or_the_stop() -> None:
    stopped = threading.Event()
    assert wait_until(lambda: True, stopped=stopped, timeout_s=5)
    assert not wait_until(lambda: False, stopped=stopped, timeout_s=0.05, poll_s=0.01)
    stopped.set()
    assert not wait_until(lambda: True, stopped=stopped, timeout_s=5)


@pytest.mark.parametrize(
    ("workers", "said", "runs"), [(8, None, "10"), (2, None, "4"), (8, "3", "3"), (0, None, "None")]
)
def test_as_many_runs_are_let_out_as_keep_the_workers_busy_unless_the_environment_says_otherwise(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, workers: int, said: str | None, runs: str
) -> None:
    if said is not None:
        monkeypatch.setenv("HEIMDALL_MAX_CONCURRENT_RUNS", said)
    code = "import os; print(os.environ.get('HEIMDALL_MAX_CONCURRENT_RUNS'), flush=True)"
    with dagster_processes(settings, workers=workers) as children:
        children.start("child", [sys.executable, "-c", code])
        assert log_of(children, "child") == runs


def test_links_lead_to_what_was_started_unless_the_environment_says_otherwise(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_DASHBOARD_URL", "https://dashboard.example")
    code = "import os; print(os.environ['HEIMDALL_DAGSTER_UI_URL'], os.environ['HEIMDALL_DASHBOARD_URL'], flush=True)"
    ui, dashboard = "http://127.0.0.1:3001", "http://127.0.0.1:8011"
    with dagster_processes(settings, dagster_ui_url=ui, dashboard_url=dashboard) as children:
        children.start("child", [sys.executable, "-c", code])
        assert log_of(children, "child") == "http://127.0.0.1:3001 https://dashboard.example"
