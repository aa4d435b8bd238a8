"""Redis and RabbitMQ as private processes on free ports, for tests and benchmarks; from Debian's packages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.system import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the wrapper on the path: that one runs the system's service, whatever it is asked."""
START_TIMEOUT_S = 60.0


def is_installed(kind: str) -> bool:
    """True if a broker of this kind can be started here."""
    return shutil.which("redis-server") is not None if kind == "redis" else RABBITMQ.exists()


@contextmanager
def broker(kind: str, folder: Path) -> Iterator[str]:
    """A broker that keeps everything in a folder; its URL.

    Parameters
    ----------
    kind : str
        redis or rabbitmq.
    folder : Path
        Made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _redis(folder) if kind == "redis" else _rabbitmq(folder) as url:
        yield url


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with _process(command, folder / "redis.log"):
        _wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _rabbitmq(folder: Path) -> Iterator[str]:
    port, names_port = free_port(), free_port()
    (folder / "plugins").write_text("[].\n", encoding="ascii")
    environment = {
        **os.environ,
        "HOME": str(folder),  # of the cookie
        "RABBITMQ_NODENAME": f"heimdall{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    # Erlang's name server would be started in the background and stay: it is ours from the beginning.
    names = ["epmd", "-port", str(names_port), "-address", "127.0.0.1"]
    with _process(names, folder / "epmd.log", environment):
        _wait_for_port(names_port)
        with _process([str(RABBITMQ)], folder / "rabbitmq.log", environment):
            _wait_for_port(port)
            yield f"amqp://guest:guest@127.0.0.1:{port}//"


@contextmanager
def _process(command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    with (
        log_path.open("ab") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_port(port: int) -> None:
    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(is_open, f"port {port} to open", timeout_s=START_TIMEOUT_S, poll_s=0.1)
