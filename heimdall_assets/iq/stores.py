"""Objects of any store that fsspec knows, as byte sources.

fsspec and what it brings are imported where a URL is opened, and nowhere else. Objects are read in ranges; a store
is asked for an object's size and identity once, when it is opened.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from heimdall_assets.errors import (
    LocationRefused,
    RecordingError,
    RecordingNotFound,
    RecordingTooLarge,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq.sources import ByteSource
from heimdall_assets.iq.urls import shown

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

IDENTITIES = ("ETag", "etag", "content_hash", "md5Hash", "md5", "crc32c", "mtime", "LastModified", "updated", "created")
"""Keys under which file systems tell what changes with the content, best first."""
TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


def open_url(url: str, max_bytes: int | None = None) -> FsspecFile:
    """Open the object that a URL names.

    Raises
    ------
    LocationRefused
        No store is called by its scheme.
    StoreUnavailable
        The package that speaks to the store is not installed, or the store cannot be reached.
    RecordingError
        As :class:`FsspecFile`.
    """
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # noqa: PLC0415  # 30 ms, only for URLs

    try:
        filesystem, path = url_to_fs(url)
    except ImportError as error:
        raise StoreUnavailable(f"{shown(url)} cannot be read: {error}") from error
    except ValueError as error:
        raise LocationRefused(f"{shown(url)!r} is refused: {error}") from error
    except Exception as error:
        raise _translated(error, shown(url)) from error
    return FsspecFile(filesystem, path, shown(url), max_bytes)


class FsspecFile(ByteSource):
    """An object of a file system of fsspec.

    Parameters
    ----------
    filesystem : AbstractFileSystem
        Its store.
    path : str
        Its place in the store.
    shown_as : str
        What messages call it.
    max_bytes : int or None
        Larger objects are refused.

    Raises
    ------
    RecordingNotFound, StoreUnavailable, LocationRefused, RecordingTooLarge
        Missing; the store does not answer or refuses; no plain object; too large.
    """

    cheap_seeks = False

    def __init__(self, filesystem: AbstractFileSystem, path: str, shown_as: str, max_bytes: int | None = None) -> None:
        self._filesystem = filesystem
        self._path = path
        self._shown = shown_as
        self._max_bytes = max_bytes
        self._is_open = True
        self.name = path.partition("?")[0].rstrip("/").rpartition("/")[2]
        try:
            # Listings are kept by the process's instance, and would hide an object that came, or changed, later.
            filesystem.invalidate_cache(path.rpartition("/")[0])
            info = filesystem.info(path)
        except Exception as error:
            raise _translated(error, shown_as) from error
        size = info.get("size")
        if info.get("type", "file") != "file":
            raise LocationRefused(f"{shown_as} is a {info['type']}, not a file")
        if not isinstance(size, int) or size < 0:
            raise StoreUnavailable(f"{shown_as} cannot be read in ranges: its store does not tell its size")
        if max_bytes is not None and size > max_bytes:
            raise RecordingTooLarge(f"{shown_as} has {size:,} bytes; at most {max_bytes:,} are allowed")
        self.size_bytes = size
        self.etag = _etag(info, size)
        self.modified_at = _modified_at(info)

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes of [offset, offset + count).

        Raises
        ------
        TruncatedRecording
            The range does not lie in the object, or the object is shorter than its store said.
        StoreUnavailable, RecordingNotFound
            The store does not deliver; the object was removed.
        """
        if not self._is_open:
            raise ValueError(f"{self._shown} is closed")
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise TruncatedRecording(
                f"{self._shown} ends at byte {self.size_bytes}, before {offset + count}, which its header announces"
            )
        if count == 0:
            return b""
        try:
            content = self._filesystem.cat_file(self._path, start=offset, end=offset + count)
        except Exception as error:
            raise _translated(error, self._shown) from error
        if len(content) < count:
            raise TruncatedRecording(f"{self._shown} became shorter while it was read")
        if len(content) > count:
            raise StoreUnavailable(f"{self._shown} cannot be read in ranges: its store sends more than is asked for")
        return bytes(content)

    def sibling(self, name: str) -> FsspecFile:
        """Another object of the same folder, in the same store."""
        folder, _, own = self._path.rpartition("/")
        if "?" in own:
            raise RecordingNotFound(f"{self._shown} is named by a query; nothing can be found beside it")
        shown_folder, _, rest = self._shown.partition("::")
        beside = shown_folder.rpartition("/")[0] + "/" + name if "/" in shown_folder else self._shown
        return FsspecFile(
            self._filesystem,
            f"{folder}/{name}" if folder or self._path.startswith("/") else name,
            f"{beside}::{rest}" if rest else beside,
            self._max_bytes,
        )

    def close(self) -> None:
        """Close the object; a second call does nothing."""
        self._is_open = False


def _etag(info: dict[str, Any], size: int) -> str:
    """What changes when the object does: the store's own word for it, or a digest of all that it says."""
    for key in IDENTITIES:
        if info.get(key):
            return f"{str(info[key]).strip(chr(34))}-{size}"
    said = repr(sorted((key, repr(value)) for key, value in info.items()))
    return f"{hashlib.sha256(said.encode()).hexdigest()[:32]}-{size}"


def _modified_at(info: dict[str, Any]) -> datetime | None:
    """UTC time of the last change, where the store states one that is understood."""
    for key in TIMES:
        value = info.get(key)
        try:
            if isinstance(value, datetime):
                return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
            if isinstance(value, (int, float)):
                return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError):
            continue
    return None


def _translated(error: Exception, name: str) -> RecordingError:
    """The project's error for one of a store; each store's client has exceptions of its own."""
    why = " ".join(shown(str(error)).split()) or type(error).__name__
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return RecordingNotFound(f"{name} does not exist")
    if isinstance(error, IsADirectoryError):
        return LocationRefused(f"{name} is a directory, not a file")
    return StoreUnavailable(f"{name} cannot be read: {why}")
