"""A real PgBouncer before a test's server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

PROGRAM = "/usr/sbin/pgbouncer"

needs_pgbouncer = pytest.mark.skipif(not os.access(PROGRAM, os.X_OK), reason=f"{PROGRAM} is not installed")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def pooled(server: URL, pool_mode: str, *, pool_size: int = 20, **more: object) -> Iterator[URL]:
    """Run PgBouncer before a server; the URL of the same database through it.

    Parameters
    ----------
    server : URL
        Of the embedded server, by its socket.
    pool_mode : str
        session, transaction or statement.
    pool_size : int
        Connections to the server for each database.
    **more
        Further settings of PgBouncer.
    """
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    port, user = free_port(), server.username or "postgres"
    socket_folder = str(server.query["host"])
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": pool_mode,
        "default_pool_size": pool_size,
        **more,
    }
    configuration = folder / "pgbouncer.ini"
    lines = [f"{name} = {value}" for name, value in settings.items()]
    database = f"* = host={socket_folder} user={user}"
    configuration.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
    command = [PROGRAM, "-q", str(configuration)]
    if os.geteuid() == 0:  # as which it refuses to run; the server's own user may reach the socket
        owner = Path(socket_folder).stat().st_uid
        folder.chmod(0o755)
        command[1:1] = ["-u", pwd.getpwuid(owner).pw_name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield server.set(host="127.0.0.1", port=port, query={})
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, "PgBouncer has ended"
            assert time.monotonic() < deadline, "PgBouncer does not answer"
            time.sleep(0.05)
        else:
            return
