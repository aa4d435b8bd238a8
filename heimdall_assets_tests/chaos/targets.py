"""The processes of the system under test: finding them, killing them, starting them again; PostgreSQL too."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from heimdall_assets import embedded
from heimdall_assets.errors import DatabaseUnavailable
from heimdall_assets.services import CODE_SERVER
from heimdall_assets_tests.chaos.points import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heimdall_assets.processes import Processes
    from heimdall_assets.settings import Settings

DAEMON = "dagster._daemon"
SERVES_CODE = "dagster api grpc"
SPAWNED = "multiprocessing.spawn"
FORKED = "multiprocessing.forkserver"
WORKER = "heimdall_assets.cli worker"
"""What command lines hold. A forked process has that of the process that it was forked from."""

STOP_TIMEOUT_S = 30.0
START_TIMEOUT_S = 90.0
KILL_TIMEOUT_S = 5.0


@dataclass
class Targets:
    """All that can be killed.

    Parameters
    ----------
    processes : Processes
        Which started the daemon.
    settings : Settings
        Of the embedded PostgreSQL, which the driver keeps running.
    folder : Path
        The markers' folder: every process of the system has it in its environment.
    log_folder : Path
        Of the processes.
    workers : sequence of str
        Names of the Celery workers, if there are any.
    """

    processes: Processes
    settings: Settings
    folder: Path
    log_folder: Path
    workers: Sequence[str] = ()
    kills: int = 0
    restarts: int = 0
    deaths: list[str] = field(default_factory=list)
    _noted: set[int] = field(default_factory=set)

    def runs(self) -> list[psutil.Process]:
        """Processes that carry out runs: spawned, forked, or of a Celery worker's pool."""
        return [process for process in self._mine() if _is_run(process)]

    def starters(self) -> list[psutil.Process]:
        """What runs are started from, also that whose daemon was killed: code server, what forks, Celery workers."""
        return [process for process in self._mine() if _is_starter(process)]

    def kill(self, process: psutil.Process) -> bool:
        """SIGKILL one process; False where it has ended before."""
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False
        self.kills += 1
        psutil.wait_procs([process], timeout=KILL_TIMEOUT_S)
        self._replace_starters()
        return True

    def kill_daemon(self, *, with_all: bool) -> None:
        """SIGKILL the daemon, with all that it and others before it started, or alone; start another."""
        victims = [*self.runs(), *self.starters()] if with_all else []
        self.kills += 1
        killed = [*self.daemons(), *victims]
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(killed, timeout=KILL_TIMEOUT_S)
        self._replace_starters()
        self.restarts += 1
        self.processes.start_again("daemon")

    def daemons(self) -> list[psutil.Process]:
        """The daemon, and a second one if there is one."""
        return [process for process in self._mine() if DAEMON in _command(process)]

    def _replace_starters(self) -> None:
        """Start again what `heimdall up` starts again: the code server, workers."""
        for name in (CODE_SERVER, *self.workers):
            if not self.processes.is_running(name):
                self.restarts += 1
                self.processes.start_again(name)

    def note_deaths(self) -> None:
        """Start again what ended by itself, which nothing should; it is reported at the end."""
        for name in (CODE_SERVER, "daemon", "webserver", *self.workers):
            code, pid = self.processes.exit_code(name), self.processes.pid(name)
            if code is None or pid in self._noted:
                continue
            self._noted.add(pid)
            # The planner works in the code server: some of the points where a process is killed lie there.
            if (name, code) != (CODE_SERVER, -signal.SIGKILL):
                self.deaths.append(name)
        self.processes.check(for_ever=True)

    def stop_postgres(self, how: signal.Signals) -> None:
        """End the server: SIGINT ends its connections, SIGQUIT all at once, SIGKILL does not even tell it."""
        pid = embedded.server_pid(self.settings.home)
        if pid is None:
            return
        postmaster = psutil.Process(pid)
        postmaster.send_signal(how)
        postmaster.wait(STOP_TIMEOUT_S)

    def start_postgres(self) -> None:
        """Start the server again; on a busy machine it may not come up in the time that one attempt allows."""
        self.restarts += 1
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                embedded.revive(self.settings)
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def kill_everything(self) -> None:
        """End whatever is left of the system, orphans included."""
        for process in self._mine():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _mine(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(FOLDER_VARIABLE) == str(self.folder):
                    found.append(process)
        return found


def _is_run(process: psutil.Process) -> bool:
    command = _command(process)
    if SPAWNED in command:
        return True
    if FORKED in command:
        return DAEMON not in _parent_command(process)
    return WORKER in command and WORKER in _parent_command(process)


def _is_starter(process: psutil.Process) -> bool:
    command = _command(process)
    if SERVES_CODE in command:
        return True
    if FORKED in command:
        return DAEMON in _parent_command(process)
    return WORKER in command and WORKER not in _parent_command(process)


def _parent_command(process: psutil.Process) -> str:
    return next((_command(parent) for parent in _parents(process)), "")


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.parents())
    except psutil.Error:
        return []
