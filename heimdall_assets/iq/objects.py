"""Objects of object stores as byte sources: one or two requests a recording, and no byte that is not needed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from obstore import Bytes

from heimdall_assets.errors import (
    LocationRefused,
    RecordingTooLarge,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq.buckets import MODIFIED_KEY, bucket_of
from heimdall_assets.iq.sources import ByteSource
from heimdall_assets.iq.urls import shown

if TYPE_CHECKING:
    from heimdall_assets.iq.buckets import Bucket, Facts
    from heimdall_assets.settings import Settings

HEAD_BYTES = 16 * 1024
"""Read when an object is opened: the request tells size and etag as well, and the header mostly ends before."""
MOST_AHEAD_BYTES = 8 << 20
"""Of samples, read with the header; what is known of a recording before it is opened may be wrong."""


class ObjectFile(ByteSource):
    """An object of a bucket, opened for reading.

    Parameters
    ----------
    bucket : Bucket
        Its bucket.
    key : str
        Its name there.
    max_bytes : int or None
        Larger objects are refused.
    ahead_bytes : int
        So many are read with the head, since they are going to be needed.

    Raises
    ------
    RecordingNotFound, StoreUnavailable, LocationRefused, RecordingTooLarge
        Missing; the store does not answer or refuses; no plain object; too large.
    """

    cheap_seeks = False

    def __init__(self, bucket: Bucket, key: str, max_bytes: int | None = None, ahead_bytes: int = 0) -> None:
        self._bucket = bucket
        self._key = key
        self._max_bytes = max_bytes
        self._shown = shown(f"{bucket.url}/{key}")
        self._is_open = True
        self.name = key.rpartition("/")[2]
        if not self.name:
            raise LocationRefused(f"{self._shown} is a folder, not an object")
        facts, self._head, attributes = self._open(HEAD_BYTES + min(ahead_bytes, MOST_AHEAD_BYTES))
        if max_bytes is not None and facts.size_bytes > max_bytes:
            raise RecordingTooLarge(f"{self._shown} has {facts.size_bytes:,} bytes; at most {max_bytes:,} are allowed")
        self.size_bytes = facts.size_bytes
        self.etag = facts.etag
        self.modified_at: datetime | None = _original_time(attributes) or facts.modified_at

    def _open(self, head_bytes: int) -> tuple[Facts, Bytes, dict[str, str]]:
        try:
            return self._bucket.get(self._key, 0, head_bytes)
        except TruncatedRecording:  # an empty object has no first byte
            return self._bucket.head(self._key), Bytes(), {}

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes of [offset, offset + count); errors are those of :meth:`view_at`."""
        return bytes(self.view_at(offset, count))

    def view_at(self, offset: int, count: int) -> memoryview:
        """Bytes of [offset, offset + count) in the client's memory, where they are as they came.

        Raises
        ------
        TruncatedRecording
            The range does not lie in the object, or the object became shorter.
        StoreUnavailable, RecordingNotFound
            The store does not deliver, or another object than was opened; the object was removed.
        """
        if not self._is_open:
            raise ValueError(f"{self._shown} is closed")
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise TruncatedRecording(
                f"{self._shown} ends at byte {self.size_bytes}, before {offset + count}, which its header announces"
            )
        if offset + count <= len(self._head):
            return memoryview(self._head)[offset : offset + count]
        if count == 0:
            return memoryview(b"")
        facts, content, _ = self._bucket.get(self._key, offset, offset + count)
        if facts.etag != self.etag:
            raise StoreUnavailable(f"{self._shown} was replaced while it was read")
        if len(content) != count:
            raise StoreUnavailable(f"{self._shown} cannot be read: {count} bytes were asked for, {len(content)} came")
        return memoryview(content)

    def sibling(self, name: str) -> ObjectFile:
        """Another object of the same folder, in the same bucket."""
        folder, slash, _ = self._key.rpartition("/")
        return ObjectFile(self._bucket, f"{folder}{slash}{name}", self._max_bytes)

    def close(self) -> None:
        """Close the object; a second call does nothing."""
        self._is_open = False


def open_object(url: str, settings: Settings, max_bytes: int | None = None, ahead_bytes: int = 0) -> ObjectFile:
    """Open the object that a URL names; errors are those of :class:`ObjectFile`."""
    bucket, key = bucket_of(url, settings)
    return ObjectFile(bucket, key, max_bytes, ahead_bytes)


def identity_of(url: str, settings: Settings) -> tuple[int, str]:
    """Size and etag of an object, in one request that reads nothing of it."""
    bucket, key = bucket_of(url, settings)
    facts = bucket.head(key)
    return facts.size_bytes, facts.etag


def _original_time(attributes: dict[str, str]) -> datetime | None:
    """Time of the file that an object was made of, where whoever stored it wrote it down."""
    try:
        return datetime.fromtimestamp(float(attributes[MODIFIED_KEY]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
