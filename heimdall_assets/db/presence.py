"""Who uses the embedded PostgreSQL: a shared lock on a file for each process, freed by the kernel when it ends."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_held: dict[Path, IO[bytes]] = {}


def be_present(home: Path) -> None:
    """Count as a user of the server under a home for the rest of this process's life.

    Waits while somebody is stopping the server: what is asked of it afterwards finds it running or gone.
    """
    path = _users_file(home)
    if path not in _held:
        home.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab")
        fcntl.flock(handle, fcntl.LOCK_SH)
        _held[path] = handle


@contextmanager
def users(home: Path) -> Iterator[IO[bytes]]:
    """The file of the users, to be locked by :func:`enter` and :func:`is_unused`."""
    with _users_file(home).open("ab") as handle:
        yield handle


def enter(handle: IO[bytes]) -> None:
    """Count as a user until the file is closed or :func:`is_unused` is asked."""
    fcntl.flock(handle, fcntl.LOCK_SH)


def is_unused(handle: IO[bytes]) -> bool:
    """True if nobody else is a user; the caller is none any more.

    True holds, with new users waiting, until the file is closed. To be asked inside of :func:`starting_or_stopping`.
    """
    fcntl.flock(handle, fcntl.LOCK_UN)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def starting_or_stopping(home: Path) -> Iterator[None]:
    """Be the only one that starts or stops the server."""
    with (home / "postgres.start").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _users_file(home: Path) -> Path:
    return home / "postgres.users"
