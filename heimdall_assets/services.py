"""What `heimdall up` consists of, each as a process: code server, webserver, daemon, workers, API.

The code server has the definitions; webserver and daemon ask it. Given workspace.yaml instead, each of them would
start one of its own, and the daemon another one every minute, for some 3 s of a processor each time.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from typing import TYPE_CHECKING

from heimdall_assets.embedded import dagster_environment
from heimdall_assets.errors import SettingError
from heimdall_assets.logs import is_json
from heimdall_assets.processes import Processes, ProcessFailed, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings

DEFINITIONS = "heimdall_assets.definitions"
LOCATION = "heimdall_assets"
"""As in workspace.yaml, which is for Dagster's own commands."""

CODE_SERVER = "code-server"
CODE_SERVER_TIMEOUT_S = 120.0
"""How long the definitions may take to be loaded."""


MORE_RUNS_THAN_WORKERS = 2
"""One that waits at the broker while another ends, and one of fresh sessions."""


def dagster_processes(settings: Settings, *, workers: int = 0, **addresses: str) -> Processes:
    """A set for Dagster's processes, with the environment that they need; nothing is started yet.

    Parameters
    ----------
    settings : Settings
        Of this process.
    workers : int
        As many as are going to be started: unless the environment says how many runs there may be at a time, enough
        for them.
    **addresses
        Settings that say where links lead, such as ``dagster_ui_url``, for what the environment does not say.
    """
    environment = dagster_environment(settings)
    for name, address in addresses.items():
        environment.setdefault(settings.variable(name), address)
    if workers:
        environment.setdefault(settings.variable("max_concurrent_runs"), str(workers + MORE_RUNS_THAN_WORKERS))
    return Processes(environment, settings.home / "logs")


def start_daemon(processes: Processes) -> None:
    """Start Dagster's daemon: sensor, schedule, run queue, backfills; the code server too where none runs.

    Raises
    ------
    ProcessFailed
        The definitions cannot be loaded.
    """
    workspace = str(_workspace(processes))
    processes.start("daemon", [sys.executable, "-m", "dagster._daemon", "run", "-w", workspace, *_log_format()])


def start_workers(processes: Processes, count: int) -> None:
    """Start so many workers, which take runs from the broker of the processes' environment."""
    for number in range(1, count + 1):
        start_worker(processes, f"worker-{number}")


def start_worker(processes: Processes, name: str) -> None:
    """Start one worker, or one in the place of another that has ended."""
    processes.start(name, [sys.executable, "-m", "heimdall_assets.cli", "worker"])


def start_webserver(processes: Processes, *, host: str, port: int) -> None:
    """Start Dagster's webserver; the code server too where none runs.

    Raises
    ------
    SettingError
        The port is taken.
    ProcessFailed
        The definitions cannot be loaded.
    """
    require_free_port(host, port)
    workspace = str(_workspace(processes))
    processes.start(
        "webserver",
        [sys.executable, "-m", "dagster_webserver", "-h", host, "-p", str(port), "-w", workspace, *_log_format()],
    )


def start_api(processes: Processes, *, host: str, port: int) -> None:
    """Start the admin API and the dashboard.

    Raises
    ------
    SettingError
        The port is taken.
    """
    require_free_port(host, port)
    processes.start("api", [sys.executable, "-m", "heimdall_assets.web", host, str(port)])


def require_free_port(host: str, port: int) -> None:
    """Raise SettingError where nothing can listen on the address."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise SettingError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from error


def _workspace(processes: Processes) -> Path:
    """A workspace that names the code server of the set, which runs from here on."""
    if not processes.is_running(CODE_SERVER):
        _start_code_server(processes)
    if not wait_until(lambda: _listens(processes), stopped=threading.Event(), timeout_s=CODE_SERVER_TIMEOUT_S):
        raise ProcessFailed(f"the definitions are not loaded: see {processes.log_path(CODE_SERVER)}")
    workspace = processes.folder / "workspace.yaml"
    server = {"socket": str(_socket(processes)), "location_name": LOCATION}
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))  # JSON is YAML
    return workspace


def _start_code_server(processes: Processes) -> None:
    """Start the process that loads the definitions, or one in the place of another that has ended.

    It listens on a socket that only this user can reach: whoever speaks to it can have code carried out. Webserver
    and daemon find another one there within two seconds.
    """
    processes.start(
        CODE_SERVER,
        [
            *[sys.executable, "-m", "dagster", "api", "grpc", "--socket", str(_socket(processes))],
            *["--module-name", DEFINITIONS, "--location-name", LOCATION],
            "--use-python-environment-entry-point",  # runs are started with this Python
            *_log_format(),
        ],
        ends_last=True,  # a tick that is under way would fail
    )


def _listens(processes: Processes) -> bool:
    """True once the code server has loaded the definitions, which it does before it listens.

    For that it needs PostgreSQL, which may be coming up itself.
    """
    processes.check()
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(_socket(processes)))
        except OSError:
            return False
    return True


def _socket(processes: Processes) -> Path:
    return processes.folder / "code"


def _log_format() -> list[str]:
    """The option of Dagster's commands for lines as JSON."""
    return ["--log-format", "json"] if is_json() else []
