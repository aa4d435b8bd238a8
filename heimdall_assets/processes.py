"""Child processes that live and die with this one, with all that they start."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import psutil

from heimdall_assets.errors import HeimdallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

logger = logging.getLogger(__name__)

STOP_GRACE_S = 20.0
"""How long processes may take to end by themselves before they are killed."""
RESTART_DELAY_S = 2.0
"""Before the second start of what ended twice; then twice as long each time."""
LONGEST_DELAY_S = 60.0
MAX_RESTARTS = 5
STEADY_S = 600.0
"""What has run for so long does not end again and again, but once more."""


class ProcessFailed(HeimdallError):
    """A process that is needed ended; names its log."""

    reason = "process_failed"


class Processes:
    """A set of child processes, each with its own log file and process group.

    Parameters
    ----------
    environment : mapping
        Of every process.
    log_folder : Path
        Where ``NAME.log`` is appended to.

    Notes
    -----
    Install :func:`stop_signals` before starting any: a process that inherited SIGINT as ignored hands that on to
    its children unless it has a handler of its own, and Dagster stops its helpers by SIGINT.
    """

    def __init__(self, environment: Mapping[str, str], log_folder: Path) -> None:
        self._environment = dict(environment)
        self._log_folder = log_folder
        self._commands: dict[str, Sequence[str]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started_s: dict[str, float] = {}
        self._ends: dict[str, int] = {}
        self._due_s: dict[str, float] = {}
        self._needed: set[str] = set()
        self._folder: Path | None = None
        log_folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str], *, ends_last: bool = False) -> None:
        """Start a process under a name; one that others need ends after them."""
        if ends_last:
            self._needed.add(name)
        self._due_s.pop(name, None)
        self._commands[name] = command
        self._started_s[name] = time.monotonic()
        with self._log(name) as log:
            self._children[name] = subprocess.Popen(  # noqa: S603  # our own command lines
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_again(self, name: str) -> None:
        """Start what has ended, as it was started before."""
        self.start(name, self._commands[name])

    def check(self, *, for_ever: bool = False) -> None:
        """Start again what has ended: at once, and after growing waits where it ends again and again.

        To be called every second or so; it does not wait itself.

        Parameters
        ----------
        for_ever : bool
            Never give up: what is needed may be away for hours.

        Raises
        ------
        ProcessFailed
            It ended too often.
        """
        for name in list(self._children):
            code = self.exit_code(name)
            if code is None:
                continue
            if name not in self._due_s:
                self._due_s[name] = self._note_end(name, code, for_ever=for_ever)
            if time.monotonic() >= self._due_s[name]:
                self.start_again(name)

    def _note_end(self, name: str, code: int, *, for_ever: bool) -> float:
        """Clean up after a process that ended; when it is to be started again."""
        _kill_group(self.pid(name))
        now_s = time.monotonic()
        is_steady = now_s - self._started_s[name] > STEADY_S
        ends = self._ends[name] = 1 if is_steady else self._ends.get(name, 0) + 1
        if ends > MAX_RESTARTS and not for_ever:
            raise ProcessFailed(f"{name} ended with code {code}, again and again: see {self.log_path(name)}")
        delay_s = 0.0 if ends == 1 else min(RESTART_DELAY_S * 2.0 ** min(ends - 2, 60), LONGEST_DELAY_S)
        logger.warning(
            "%s ended with code %s: it is started again in %.0f s (log: %s)", name, code, delay_s, self.log_path(name)
        )
        return now_s + delay_s

    def is_running(self, name: str) -> bool:
        """True while the process has not ended; False where it was not started."""
        return name in self._children and self.exit_code(name) is None

    def exit_code(self, name: str) -> int | None:
        """What the process ended with, negative for a signal; None while it runs."""
        return self._children[name].poll()

    def pid(self, name: str) -> int:
        """The process's number; another one after it was started again."""
        return self._children[name].pid

    def log_path(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self._log_folder / f"{name}.log"

    @property
    def folder(self) -> Path:
        """A folder for sockets, which only this user can enter; its path is short, and it goes with the set."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="heimdall-"))
        return self._folder

    def stop(self) -> None:
        """End all of them, and whatever they started: by SIGTERM, and by SIGKILL what does not listen."""
        _end([child for name, child in self._children.items() if name not in self._needed])
        _end([child for name, child in self._children.items() if name in self._needed])
        self._children.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _log(self, name: str) -> IO[bytes]:
        return self.log_path(name).open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event inside the block, also where SIGINT was inherited as ignored."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def wait_until(
    condition: Callable[[], bool], *, stopped: threading.Event, timeout_s: float, poll_s: float = 0.3
) -> bool:
    """Wait for a condition; False where the time ran out or a stop was asked for."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not stopped.is_set():
        if condition():
            return True
        stopped.wait(poll_s)
    return False


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes and whatever they started, all at the same time."""
    descendants = [process for child in children for process in _descendants(child.pid)]
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_GRACE_S
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.1, deadline - time.monotonic()))
    # What a child started after the first look is in its process group.
    descendants += [process for child in children for process in _descendants(child.pid)]
    psutil.wait_procs(descendants, timeout=max(0.1, deadline - time.monotonic()))
    for child in children:
        _kill_group(child.pid)
        child.wait()
    for process in descendants:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(descendants, timeout=5)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return found


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
