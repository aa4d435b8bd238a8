"""Runs as processes of this machine, forked from one that has imported everything.

The start of an interpreter and the imports of Dagster, numpy, scipy and numba take seconds of processor time, which
is as much as fifty sessions; a fork takes milliseconds.
"""

import multiprocessing
import multiprocessing.forkserver
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil
from dagster import DagsterInstance, DagsterRun
from dagster._cli.api import _execute_run_command_body
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance import InstanceRef
from dagster._serdes import deserialize_value, serialize_value

from heimdall_assets.defs.cancellation import stoppable
from heimdall_assets.release import installed_release

PROCESS_TAG = "heimdall/process"
"""Says of a run which process carries it out; a run that is executed again from the UI has a copy until it starts."""

DEFINITIONS = "heimdall_assets.definitions"
PRELOADED = "heimdall_assets.defs.preloaded"

_CLOCK_TOLERANCE_S = 2.0
"""A process's start, in seconds since 1970, is computed from the machine's start, which shifts with its clock."""


@dataclass(frozen=True)
class LocalProcess:
    """A process of some machine.

    Attributes
    ----------
    host : str
        Name of the machine.
    pid : int
        Its number there.
    started_s : float
        When it started, in seconds since 1970, since numbers are used again.
    """

    host: str
    pid: int
    started_s: float

    @classmethod
    def of(cls, pid: int) -> "LocalProcess":
        """A running process of this machine."""
        return cls(socket.gethostname(), pid, psutil.Process(pid).create_time())

    @classmethod
    def from_tag(cls, value: str) -> "LocalProcess":
        """Read what :meth:`to_tag` wrote."""
        host, pid, started_s = value.rsplit(":", 2)
        return cls(host, int(pid), float(started_s))

    def to_tag(self) -> str:
        """For a run's tags, where people see it."""
        return f"{self.host}:{self.pid}:{self.started_s}"

    @property
    def is_gone(self) -> bool:
        """True if it has ended; False where it is another machine's, of which nothing is known here."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or (
                abs(process.create_time() - self.started_s) > _CLOCK_TOLERANCE_S
            )
        except psutil.NoSuchProcess:
            return True


class RunForks:
    """The process that runs are forked from; it is started when asked for, or with the first run.

    It ends with this process. It has the code that lay on the disk then: once that has changed, it must not be used
    any more.
    """

    def __init__(self) -> None:
        self._digest: str | None = None

    def prepare(self) -> None:
        """Start it; it imports while this process goes on.

        Raises
        ------
        OSError
            It cannot be started, such as where memory is short; the first run tries again.
        """
        self._digest = self._digest or installed_release().digest
        _context()
        multiprocessing.forkserver.ensure_running()

    def can_carry_out(self, run: DagsterRun) -> bool:
        """True for runs of our own definitions, in this Python, as long as their code is what it was."""
        if run.job_code_origin is None:
            return False
        repository = run.job_code_origin.repository_origin
        pointer = repository.code_pointer
        is_ours = isinstance(pointer, ModuleCodePointer) and pointer.module == DEFINITIONS
        if not is_ours or not _is_this_python(repository.executable_path):
            return False
        digest = installed_release().digest
        self._digest = self._digest or digest
        return digest == self._digest

    def start(self, instance: DagsterInstance, run_id: str) -> None:
        """Fork a process for a run.

        The run's tags name the process before it begins: should it be killed at once, that can be seen.

        Raises
        ------
        OSError, EOFError
            There is no process to fork from, such as where memory is short.
        """
        context = _context()
        word, give_word = context.Pipe(duplex=False)
        with word, give_word:
            process = context.Process(target=_carry_out, args=(serialize_value(instance.get_ref()), run_id, word))
            process.start()
            if process.pid is None:
                raise ChildProcessError("the process that was to carry out the run has no number")
            with suppress(psutil.NoSuchProcess):  # killed already, which whoever looks for dead runs will see
                instance.add_run_tags(run_id, {PROCESS_TAG: LocalProcess.of(process.pid).to_tag()})
            with suppress(BrokenPipeError):
                give_word.send_bytes(b"go")


def _is_this_python(executable_path: str) -> bool:
    """True for any name of this environment's interpreter: python, python3, python3.11."""
    other, ours = Path(executable_path), Path(sys.executable)
    # Environments link to one interpreter: it is the folder that tells them apart.
    return other.parent == ours.parent and other.resolve() == ours.resolve()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def _carry_out(instance_ref: str, run_id: str, word: Connection) -> None:
    """What a forked process does: one run, from beginning to end."""
    with word:
        try:
            word.recv_bytes()
        except EOFError:  # whoever launched it could not say so, and does not know of it
            return
    with (
        DagsterInstance.from_ref(deserialize_value(instance_ref, InstanceRef)) as instance,
        stoppable(instance, run_id),
    ):
        _execute_run_command_body(run_id, instance, lambda _event: None, set_exit_code_on_failure=False)
