"""Checks of this machine: the embedded server, processes that run old code, disks, and the way to the recordings."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from heimdall_assets import embedded
from heimdall_assets.diagnosis.findings import FAILURE, OK, WARNING, Finding
from heimdall_assets.errors import AccessDenied, RecordingError
from heimdall_assets.iq import urls
from heimdall_assets.iq.roots import reach
from heimdall_assets.settings import default_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.settings import Settings

GIB = 1024**3
LITTLE_BYTES = 10 * GIB
LEAST_BYTES = GIB
OWN_WORDS = ("heimdall_assets", "dagster._daemon", "dagster_webserver", "dagster-daemon", "dagster-webserver")
"""One of them stands in the command line of every process that runs this code for long."""


def server_finding(settings: Settings) -> Finding:
    """Check that the embedded PostgreSQL is running."""
    pid = embedded.server_pid(settings.home)
    if pid is not None:
        return Finding("embedded_server", OK, f"PostgreSQL runs under {settings.home}, process {pid}")
    if not (settings.home / "postgres").exists():
        message, remedy = f"there is none under {settings.home} yet", "start `heimdall up`, or set HEIMDALL_HOME"
    else:
        message, remedy = f"PostgreSQL under {settings.home} is not running", "start `heimdall up`"
    return Finding("embedded_server", FAILURE, message, remedy)


def processes_finding(settings: Settings, changed_at: datetime) -> Finding:
    """Check that what runs here with this home was started after the code was changed last."""
    old = [
        process
        for process in _own_processes(settings.home)
        if datetime.fromtimestamp(process.create_time(), UTC) < changed_at
    ]
    if not old:
        return Finding("processes", OK, "every process of this home has started since the code was changed")
    changed = f"{changed_at:%Y-%m-%d %H:%M} UTC"
    names = ", ".join(f"{process.pid} ({_kind(process)})" for process in old)
    return Finding("processes", WARNING, f"started before the code was changed ({changed}): {names}", "restart them")


def disk_finding(
    check: str, folder: Path, *, little_bytes: int = LITTLE_BYTES, least_bytes: int = LEAST_BYTES
) -> Finding:
    """Check that the disk of a folder has room.

    Parameters
    ----------
    check : str
        Name of the finding.
    folder : Path
        It may not exist yet: then the disk is that of the folder in which it would be made.
    little_bytes, least_bytes : int
        Below them it is a warning, or a failure.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        free_bytes = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(check, FAILURE, f"{folder} cannot be looked at: {error.strerror}", "see its rights")
    message = f"{free_bytes / GIB:,.1f} GiB free for {folder}"
    if free_bytes >= little_bytes:
        return Finding(check, OK, message)
    status = WARNING if free_bytes >= least_bytes else FAILURE
    return Finding(check, status, message, "make room: a full disk stops PostgreSQL, and recordings come in cut off")


def home_finding(settings: Settings) -> Finding:
    """Check that the home can be written."""
    home = settings.home
    if not home.exists():
        return Finding("home", WARNING, f"{home} does not exist yet", "the first `heimdall up` makes it")
    if os.access(home, os.W_OK | os.X_OK):
        return Finding("home", OK, f"{home} can be written")
    return Finding("home", FAILURE, f"{home} cannot be written", "see its rights, or set HEIMDALL_HOME")


def root_findings(settings: Settings) -> Iterator[Finding]:
    """Check every root of recordings, and the disks of those that are folders."""
    for check, variable, root in (
        ("store", "HEIMDALL_IQ_ROOT", settings.resolved_iq_root),
        *((f"store_{i}", "HEIMDALL_IQ_EXTRA_ROOTS", extra) for i, extra in enumerate(settings.iq_extra_roots, 1)),
    ):
        is_own = settings.is_embedded and settings.iq_root is None and check == "store"
        if is_own and not Path(root).exists():
            yield Finding(check, WARNING, f"{root} does not exist yet", "the first `heimdall ingest` makes it")
            continue
        try:
            reach(root, settings)
        except AccessDenied as error:
            # Without the right to list, a store denies what is not there.
            yield Finding(
                check, WARNING, error.message, "see that recordings may be read; the right to list is not needed"
            )
            continue
        except RecordingError as error:
            remedy = f"see that {variable} names it and that it can be read: sessions fail, and are tried again"
            yield Finding(check, FAILURE, error.message, remedy)
            continue
        yield Finding(check, OK, f"{urls.shown(root)} answers")
        if not urls.is_url(root):
            yield disk_finding(check.replace("store", "disk_iq"), Path(root))


def _own_processes(home: Path) -> list[psutil.Process]:
    """Processes with our code that use the home, as far as this user may see that; not this one."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        program, *arguments = process.info["cmdline"] or ("",)
        is_ours = "python" in Path(program).name and any(word in " ".join(arguments) for word in OWN_WORDS)
        if process.pid == os.getpid() or not is_ours:
            continue
        try:
            if process.environ().get("HEIMDALL_HOME", str(default_home())) == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _kind(process: psutil.Process) -> str:
    command = " ".join(process.info["cmdline"] or ())
    kinds = {"heimdall_assets.web": "API", "webserver": "webserver", "daemon": "daemon", "cli": "heimdall"}
    return next((kind for word, kind in kinds.items() if word in command), "code server or run")
