"""Compressed bytes as a source that is read in ranges, without ever holding more than a piece of them.

A stream can only be unpacked from its beginning, so a read further on unpacks and drops what lies between, and a
read further back begins anew: slower than a plain file, but of the same small memory. What unpacks to far more than
samples ever would is refused, and nothing is unpacked beyond the size that was claimed or allowed.
"""

from __future__ import annotations

import lzma
import threading
import zlib
from typing import TYPE_CHECKING, Protocol

from heimdall_assets.errors import MalformedRecording, RecordingNotFound, RecordingTooLarge, TruncatedRecording
from heimdall_assets.iq.sources import ByteSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

PIECE_BYTES = 1 << 18
"""Bytes that are read, and at most made, at once."""
MAX_UNPACKED_BYTES = 4 * 1024**3
"""Unpacking takes seconds per GiB, so that the limit of what is read in ranges would be too large."""
FREE_BYTES = 64 * 1024**2
MAX_RATIO = 200
"""More than FREE_BYTES that were packed more than this tightly are a bomb: noise, which every recording holds, does
not compress; deflate reaches 1032, xz 7000."""
XZ_MEMORY_BYTES = 128 * 1024**2
"""For the dictionary that an .xz claims to need: enough for ``xz -9``."""
GZIP, XZ = b"\x1f\x8b\x08", b"\xfd7zXZ\x00"


class Decompressor(Protocol):
    """One stream's decompressor, as in the standard library's ``lzma``."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more packed bytes must come before it can go on."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the stream."""
        ...

    def decompress(self, packed: bytes, max_length: int) -> bytes:
        """At most ``max_length`` bytes more, at least 1."""
        ...


class Inflater:
    """zlib's decompressor with the members of :class:`Decompressor`.

    Parameters
    ----------
    wbits : int
        -15: raw deflate, as in zip archives; 31: gzip.
    """

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """Whether all that was given has been worked through."""
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the stream."""
        return self._inner.unused_data

    def decompress(self, packed: bytes, max_length: int) -> bytes:
        """At most ``max_length`` bytes more."""
        return self._inner.decompress(self._inner.unconsumed_tail + packed, max_length)


def inflater() -> Decompressor:
    """Decompressor of a deflated member of a zip archive."""
    return Inflater(-zlib.MAX_WBITS)


def decompressor_of(head: bytes) -> Callable[[], Decompressor] | None:
    """What unpacks a file that begins like this; None for one that is not compressed by gzip or xz."""
    if head.startswith(GZIP):
        return lambda: Inflater(16 + zlib.MAX_WBITS)
    if head.startswith(XZ):
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
    return None


def peek(head: bytes, count: int) -> bytes:
    """The first bytes that the beginning of a compressed file unpacks to; fewer where it does not hold as many."""
    start = decompressor_of(head)
    try:
        return start().decompress(head, count) if start else b""
    except (zlib.error, lzma.LZMAError):
        return b""


class Unpacked(ByteSource):
    """Compressed bytes of another source, unpacked.

    Parameters
    ----------
    packed : ByteSource
        Where they lie; stays open.
    start : callable
        Makes the decompressor.
    span : tuple of int, optional
        Offset and number of the compressed bytes; the whole source if not given, and then several streams may
        follow one another.
    size_bytes, crc : int, optional
        What is claimed of the unpacked bytes. Without a size everything is unpacked once, to count.
    name : str, optional
        For messages, and as the source's name.
    max_bytes : int, optional
        More bytes are refused.

    Raises
    ------
    RecordingTooLarge
        It unpacks to more than is allowed, or than samples would.
    MalformedRecording, TruncatedRecording
        The compressed bytes are damaged, or end early.
    """

    cheap_seeks = False

    def __init__(
        self,
        packed: ByteSource,
        start: Callable[[], Decompressor],
        *,
        span: tuple[int, int] | None = None,
        size_bytes: int | None = None,
        crc: int | None = None,
        name: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.name = name or packed.name
        self.etag = packed.etag
        self.modified_at: datetime | None = packed.modified_at
        self._packed = packed
        self._start = start
        self._is_whole = span is None
        self._begin, self._packed_bytes = span or (0, packed.size_bytes)
        self._crc = crc
        self._max_bytes = min(MAX_UNPACKED_BYTES, max_bytes or MAX_UNPACKED_BYTES)
        self._lock = threading.Lock()
        self._rewind()
        if size_bytes is None:
            self.size_bytes = self._max_bytes
            while made := self._produce(PIECE_BYTES):
                self._check(self._at + len(made), self._taken)
                self._advance(made)
            self.size_bytes = self._at
            self._rewind()
        else:
            self._check(size_bytes, self._packed_bytes)
            self.size_bytes = size_bytes

    def _check(self, made: int, taken: int) -> None:
        if made > self._max_bytes:
            raise RecordingTooLarge(f"{self.name} unpacks to more than the {self._max_bytes:,} bytes that are allowed")
        if made > FREE_BYTES and made > MAX_RATIO * taken:
            raise RecordingTooLarge(
                f"{self.name} unpacks to more than {MAX_RATIO} times its {taken:,} bytes, which no recording does"
            )

    def _rewind(self) -> None:
        self._decompressor = self._start()
        self._taken = 0
        self._at = 0
        self._running_crc = 0

    def _advance(self, made: bytes) -> None:
        """Count what was made; at the end of a member its checksum must be the one that was claimed."""
        self._at += len(made)
        if self._crc is not None:
            self._running_crc = zlib.crc32(made, self._running_crc)
            if self._at == self.size_bytes and self._running_crc != self._crc:
                raise MalformedRecording(f"{self.name} is damaged: its checksum is not the one that the archive states")

    def _produce(self, most: int) -> bytes:
        """At most so many bytes more; none at the end."""
        while True:
            if self._decompressor.eof and not self._next_stream():
                return b""
            packed = b""
            if self._decompressor.needs_input:
                packed = self._take(min(PIECE_BYTES, self._packed_bytes - self._taken))
            try:
                made = self._decompressor.decompress(packed, most)
            except (zlib.error, lzma.LZMAError, EOFError) as error:
                raise MalformedRecording(f"{self.name} cannot be unpacked: {error}") from error
            if made:
                return made
            if not packed and not self._decompressor.eof:
                raise TruncatedRecording(f"{self.name} ends before its compressed stream does")

    def _take(self, count: int) -> bytes:
        packed = self._packed.read_at(self._begin + self._taken, count) if count else b""
        self._taken += count
        return packed

    def _next_stream(self) -> bool:
        """Whether another stream follows the one that ended, as gzip and xz allow; it is begun."""
        if not self._is_whole:
            return False
        self._taken -= len(self._decompressor.unused_data)
        head = self._take(min(len(XZ), self._packed_bytes - self._taken))
        self._taken -= len(head)
        if decompressor_of(head) is None:
            return False  # padding
        self._decompressor = self._start()
        return True

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes of [offset, offset + count) of what was unpacked.

        Raises
        ------
        TruncatedRecording
            It ends before.
        MalformedRecording
            It is damaged.
        """
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise TruncatedRecording(
                f"{self.name} unpacks to {self.size_bytes} bytes, not to the {offset + count} that its header announces"
            )
        with self._lock:
            if offset < self._at:
                self._rewind()
            wanted = bytearray()
            while self._at < offset + count:
                # Not beyond what was asked for: the next read may go on from there.
                most = (offset if self._at < offset else offset + count) - self._at
                made = self._produce(min(PIECE_BYTES, most))
                if not made:
                    raise TruncatedRecording(f"{self.name} unpacks to {self._at} bytes; {self.size_bytes} are claimed")
                if self._at >= offset:
                    wanted += made
                self._advance(made)
            return bytes(wanted)

    def sibling(self, name: str) -> ByteSource:
        """Nothing lies beside a compressed stream."""
        raise RecordingNotFound(f"{self.name} is a single compressed stream; it has no {name} beside it")

    def close(self) -> None:
        """Nothing to do: the packed source belongs to who opened it."""
