"""What processes use, seen from outside: memory, and processor time with all that they started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from heimdall_assets.settings import Settings


def memory_mb(pid: int, what: str) -> float:
    """A process's memory, in 10^6 bytes: VmRSS what it has now, VmHWM the most that it has had; 0 if it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def processor_seconds(pid: int) -> float:
    """Processor time of a process and all below it, those that have ended included."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own and that of children that have ended, user and system
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def server_pid(settings: Settings) -> int:
    """The embedded PostgreSQL's first process."""
    return int((settings.home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


@dataclass
class Workers:
    """The processes of runs.

    Attributes
    ----------
    peaks_mb : dict of int to float
        Most memory that each has had, in 10^6 bytes.
    """

    peaks_mb: dict[int, float] = field(default_factory=dict)

    def look(self, daemon_pid: int) -> None:
        """See which run processes there are below the daemon, and how much each had at most so far.

        Runs are forked from a process that is the daemon's child.
        """
        for process in psutil.Process(daemon_pid).children(recursive=True):
            try:
                if process.ppid() != daemon_pid and any("forkserver" in argument for argument in process.cmdline()):
                    peak_mb = memory_mb(process.pid, "VmHWM")
                    self.peaks_mb[process.pid] = max(self.peaks_mb.get(process.pid, 0.0), peak_mb)
            except (psutil.Error, OSError):  # it has ended meanwhile
                continue

    @property
    def peak_mb(self) -> float:
        """Of the largest."""
        return max(self.peaks_mb.values(), default=0.0)
