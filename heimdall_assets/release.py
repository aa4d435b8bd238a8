"""Which code this is: a process tells others what it runs, and whoever installs a newer one can see who does not."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PACKAGE_FOLDER = Path(__file__).parent
DIGEST_LENGTH = 12
"""Hexadecimal digits of a release's digest."""


@dataclass(frozen=True, slots=True)
class Release:
    """A state of the code.

    Attributes
    ----------
    package_version : str
        Of heimdall-assets.
    feature_version : int
        Of the estimators.
    digest : str
        Of all source files: it tells states apart that carry the same versions, as checkouts do.
    """

    package_version: str
    feature_version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.package_version} (features {self.feature_version}, code {self.digest})"


CLOCK_TOLERANCE_S = 2.0
"""By which a process's start may seem to move when the machine's clock is set."""


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process that left a sign of life: where, since when, and with which code.

    Attributes
    ----------
    host : str
        Name of the machine.
    pid : int
        Its number there.
    started_at : datetime
        By that machine's clock.
    release : Release
        What lay on its disk when it first said so, within seconds of its start.
    """

    host: str
    pid: int
    started_at: datetime
    release: Release

    @property
    def is_gone(self) -> bool:
        """True if it has ended; False where it is another machine's, of which nothing is known here."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            started_s = self.started_at.timestamp()
            is_other = abs(process.create_time() - started_s) > CLOCK_TOLERANCE_S
            return is_other or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return {**asdict(self), "started_at": self.started_at.isoformat()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunningProcess:
        """Read what :meth:`to_json` wrote."""
        return cls(
            host=str(values["host"]),
            pid=int(values["pid"]),
            started_at=datetime.fromisoformat(values["started_at"]),
            release=Release(**values["release"]),
        )


def installed_release() -> Release:
    """What lies on this machine's disk now; 10 ms."""
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(path.relative_to(PACKAGE_FOLDER).as_posix().encode())
        digest.update(path.read_bytes())
    return Release(version("heimdall-assets"), FEATURE_VERSION, digest.hexdigest()[:DIGEST_LENGTH])


def changed_at() -> datetime:
    """When a source file was written last, by an installation or an editor."""
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in _source_files()), UTC)


def _source_files() -> Iterable[Path]:
    return sorted(PACKAGE_FOLDER.rglob("*.py"))


@lru_cache(maxsize=1)
def this_process() -> RunningProcess:
    """The process that asks; to be asked when it begins its work, since files may change under it later."""
    started_at = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    return RunningProcess(socket.gethostname(), os.getpid(), started_at, installed_release())
