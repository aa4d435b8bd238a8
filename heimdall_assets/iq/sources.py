"""Where bytes come from: one small interface, so that a reader never knows what kind of store it reads.

Local files are read here, members of zip archives in ``zipped.py``, objects of stores in ``stores.py``. A further
kind of store is one more class with the members of :class:`ByteSource`, and one more branch where places are opened
(``opening.py``).
"""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from heimdall_assets.errors import (
    LocationRefused,
    RecordingError,
    RecordingNotFound,
    RecordingTooLarge,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq.locations import confine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MISSING = {errno.ENOENT, errno.ENOTDIR}
IMPOSSIBLE = {errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ}
FOLDER_FLAGS = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


class ByteSource(Protocol):
    """An object that is read in ranges.

    Attributes
    ----------
    name : str
        What the object is called: the last component of its location. Suffix, frequency and time are read from it.
    size_bytes : int
        Size when it was opened.
    etag : str
        Changes when the content does.
    modified_at : datetime or None
        UTC time of the last change, where the store knows it.
    cheap_seeks : bool
        True where a few bytes from anywhere cost microseconds, so that a reader may look at many places.
    """

    name: str
    size_bytes: int
    etag: str
    modified_at: datetime | None
    cheap_seeks: bool

    def read_at(self, offset: int, count: int) -> bytes:
        """Exactly the bytes of [offset, offset + count); TruncatedRecording where the object ends before."""
        ...

    def view_at(self, offset: int, count: int) -> bytes | memoryview:
        """The same for whoever only looks at them: a source that holds them in memory of its own copies nothing."""
        return self.read_at(offset, count)

    def has_grown(self) -> bool:
        """Whether the object is larger by now than when it was opened: a recorder is writing it."""
        return False

    def sibling(self, name: str) -> ByteSource:
        """Another object of the same folder, opened under the same restrictions."""
        ...

    def close(self) -> None:
        """Give back what was opened; may be called again."""
        ...


class LocalFile(ByteSource):
    """A regular file of this machine, opened for reading.

    Parameters
    ----------
    path : Path
        Its place.
    max_bytes : int or None
        Larger files are refused.
    roots : sequence of Path, optional
        If given, the file and its siblings must lie in one of these folders, symbolic links resolved.

    Raises
    ------
    RecordingNotFound, StoreUnavailable, LocationRefused, RecordingTooLarge
        Missing; unreadable; not a regular file or outside of the roots; too large.
    """

    cheap_seeks = True

    def __init__(self, path: Path, max_bytes: int | None = None, roots: Sequence[Path] | None = None) -> None:
        self.name = path.name
        self._path = path
        self._max_bytes = max_bytes
        self._roots = roots
        self._descriptor: int | None = None
        try:
            status = self._open()
        except OSError as error:
            self.close()
            raise _translated(error, path) from error
        except ValueError as error:
            raise LocationRefused(f"{str(path)!a} cannot be a file: {error}") from error
        except RecordingError:
            self.close()
            raise
        self.size_bytes = status.st_size
        self.etag = f"{status.st_mtime_ns}-{status.st_size}"
        self.modified_at = _datetime(status.st_mtime)

    def _open(self) -> os.stat_result:
        if self._roots is None:
            return self._open_in(None, self._path)
        resolved = confine(self._path, self._roots)
        root = next(root for root in self._roots if resolved.is_relative_to(root))
        *folders, name = resolved.relative_to(root).parts or (".",)
        # A resolved path has no links. Going down folder by folder and refusing links keeps it so, whatever is
        # swapped in meanwhile.
        folder = os.open(root, FOLDER_FLAGS)
        try:
            for part in folders:
                parent, folder = folder, os.open(part, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
                os.close(parent)
            return self._open_in(folder, name)
        finally:
            os.close(folder)

    def _open_in(self, folder: int | None, name: str | Path) -> os.stat_result:
        """Open a file, by its name in an open folder or by its whole path."""
        # Looking before opening keeps devices from being touched; looking again afterwards closes the gap in which
        # the file could have been replaced; O_NONBLOCK keeps a FIFO in that gap from stopping the process.
        self._check(os.stat(name, dir_fd=folder, follow_symlinks=folder is None))
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        self._descriptor = os.open(name, flags | (0 if folder is None else os.O_NOFOLLOW), dir_fd=folder)
        status = os.fstat(self._descriptor)
        self._check(status)
        return status

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise LocationRefused(f"{self._path} is {kind}, not a file")
        if self._max_bytes is not None and status.st_size > self._max_bytes:
            raise RecordingTooLarge(
                f"{self._path} has {status.st_size:,} bytes; at most {self._max_bytes:,} are allowed"
            )

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes of [offset, offset + count).

        Raises
        ------
        TruncatedRecording
            The range does not lie in the file, or the file shrank after it was opened.
        StoreUnavailable
            The disk does not deliver.
        """
        if self._descriptor is None:
            raise ValueError(f"{self._path} is closed")
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise TruncatedRecording(
                f"{self._path} ends at byte {self.size_bytes}, before {offset + count}, which its header announces"
            )
        parts: list[bytes] = []
        while count > 0:
            try:
                part = os.pread(self._descriptor, count, offset)
            except OSError as error:
                raise _translated(error, self._path) from error
            if not part:
                raise TruncatedRecording(f"{self._path} became shorter while it was read")
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def has_grown(self) -> bool:
        """Whether the file is larger by now."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_size > self.size_bytes

    def sibling(self, name: str) -> LocalFile:
        """Another file of the same folder, under the same restrictions."""
        return LocalFile(self._path.with_name(name), self._max_bytes, self._roots)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _datetime(seconds: float) -> datetime | None:
    """UTC of a file's time; None for the absurd ones that file systems can hold."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _translated(error: OSError, path: Path) -> RecordingError:
    """The project's error for one of the operating system."""
    why = error.strerror or str(error)
    if error.errno in MISSING:
        return RecordingNotFound(f"{path} does not exist")
    if error.errno in IMPOSSIBLE:
        return LocationRefused(f"{path} cannot be a file: {why}")
    return StoreUnavailable(f"{path} cannot be read: {why}")
