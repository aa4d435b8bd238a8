"""A byte source as the seekable stream that the standard library's archive parsers want.

They trust lengths that an archive states and would read gigabytes for a header; this stream refuses large reads.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heimdall_assets.iq.sources import ByteSource


class Stream(io.RawIOBase):
    """A byte source as a stream for headers.

    Parameters
    ----------
    source : ByteSource
        Stays open when the stream is closed.
    max_read_bytes : int
        Larger reads raise ValueError.
    """

    def __init__(self, source: ByteSource, max_read_bytes: int) -> None:
        self._source = source
        self._max_read_bytes = max_read_bytes
        self._at = 0

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seekable(self) -> bool:
        """Whether it can be read from anywhere: it can."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as the standard library's streams do."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size_bytes}[whence]
        if begin + offset < 0:
            raise ValueError(f"seek to {begin + offset}")
        self._at = begin + offset
        return self._at

    def read(self, count: int = -1) -> bytes:
        """So many bytes, fewer at the end; ValueError for more than a header needs."""
        available = max(0, self._source.size_bytes - self._at)
        count = available if count < 0 else min(count, available)
        if count > self._max_read_bytes:
            raise ValueError(f"a header of {count} bytes")
        content = self._source.read_at(self._at, count) if count else b""
        self._at += count
        return content
