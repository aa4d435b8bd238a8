"""The RIFF container: sizes that are checked, and a walk over its chunks that reads eight bytes a chunk.

A RIFF file is ``RIFF``, the size of what follows, ``WAVE``, and chunks of a four-letter name, a size and a body
that is padded to an even length (Multimedia Programming Interface and Data Specifications 1.0, IBM and Microsoft,
1991). No size is believed: what a chunk claims must lie in the file. In RF64 (EBU Tech 3306) the 32-bit sizes are
all ones, and a first chunk ``ds64`` holds the 64-bit ones.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.errors import MalformedRecording, TruncatedRecording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets.iq.sources import ByteSource

FIRST_CHUNK = 12
RF64 = {b"RF64", b"BW64"}
UNFINISHED = {0, 0xFFFFFFFF}
"""Sizes that recorders write first and correct when they stop: those of a recording whose recorder was killed."""
MAX_CHUNKS = 1000
"""More chunks than any recorder writes around its samples; bounds the walk over a file made of empty chunks."""
MAX_METADATA_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its name, where its body begins, and the size that it claims for it, in bytes."""

    name: bytes
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class WaveFormat:
    """Body of a ``fmt `` chunk."""

    tag: int
    channels: int
    sample_rate_hz: int
    frame_bytes: int
    bits: int


def is_riff(head: bytes) -> bool:
    """Whether a file begins like a RIFF or RF64 WAVE file."""
    return head[:4] in {b"RIFF", *RF64} and head[8:12] == b"WAVE"


def _sizes(source: ByteSource) -> tuple[int, int | None]:
    """What the container claims for itself, and for its samples where that is not said at their chunk."""
    (claimed,) = struct.unpack("<I", source.read_at(4, 4))
    if source.read_at(0, 4) not in RF64:
        return claimed, None
    name, size, riff_bytes, data_bytes = struct.unpack("<4sIQQ", source.read_at(FIRST_CHUNK, 24))
    if name != b"ds64" or size < 16:
        raise MalformedRecording(f"{source.name} is RF64 without a ds64 chunk")
    return (claimed if claimed != 0xFFFFFFFF else riff_bytes), data_bytes


def check_size(source: ByteSource, placeholders: frozenset[int] = frozenset()) -> bool:
    """Compare the size that the container claims with the file's.

    Parameters
    ----------
    placeholders : frozenset of int
        Further sizes that stand for "not finished".

    Returns
    -------
    bool
        False where the recorder never wrote the final size, so that the chunks alone must tell.

    Raises
    ------
    TruncatedRecording, MalformedRecording
        The file is shorter, or longer, than the container claims.
    """
    claimed, _ = _sizes(source)
    if claimed in UNFINISHED or claimed in placeholders:
        return False
    end = claimed + 8
    # Whether a last odd chunk's padding is written and counted differs between programs.
    if end > source.size_bytes + 1:
        raise TruncatedRecording(f"{source.name} has {source.size_bytes} bytes; its RIFF header announces {end}")
    if end < source.size_bytes - 1:
        raise MalformedRecording(
            f"{source.name} has {source.size_bytes} bytes, more than the {end} that its RIFF header announces"
        )
    return True


def chunks(source: ByteSource) -> Iterator[Chunk]:
    """Walk over the chunks; their bodies are not read, and the last may claim more than the file holds.

    Raises
    ------
    TruncatedRecording
        The file ends within a chunk's header.
    MalformedRecording
        There are more than ``MAX_CHUNKS``.
    """
    _, data_bytes = _sizes(source)
    offset = FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        if offset >= source.size_bytes:
            return
        if offset + 8 > source.size_bytes:
            raise TruncatedRecording(f"{source.name} ends within the header of a chunk, at byte {offset}")
        name, size = struct.unpack("<4sI", source.read_at(offset, 8))
        if name == b"data" and size == 0xFFFFFFFF and data_bytes is not None:
            size = data_bytes
        yield Chunk(name, offset + 8, size)
        offset += 8 + size + size % 2
    raise MalformedRecording(f"{source.name} has more than {MAX_CHUNKS} chunks")


def body(source: ByteSource, chunk: Chunk) -> bytes:
    """Body of a chunk of metadata.

    Raises
    ------
    MalformedRecording
        It is larger than metadata are.
    TruncatedRecording
        It reaches beyond the end of the file.
    """
    if chunk.size > MAX_METADATA_BYTES:
        raise MalformedRecording(f"{source.name} has a chunk {chunk.name!r} of {chunk.size} bytes")
    return source.read_at(chunk.offset, chunk.size)


def wave_format(source: ByteSource, chunk: Chunk) -> WaveFormat:
    """Parse a ``fmt `` chunk (WAVEFORMATEX, WAVEFORMATEXTENSIBLE).

    Raises
    ------
    MalformedRecording
        It is too short, or contradicts itself.
    """
    raw = body(source, chunk)
    if len(raw) < 16:
        raise MalformedRecording(f"{source.name} has a fmt chunk of {len(raw)} bytes; at least 16 are needed")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", raw[:16])
    if tag == 0xFFFE:
        # The true tag is the first two bytes of a GUID; the rest of that GUID is the same for all of them.
        if len(raw) < 40 or raw[26:40] != b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71":
            raise MalformedRecording(f"{source.name} has an extensible fmt chunk without a known subformat")
        (tag,) = struct.unpack("<H", raw[24:26])
    if rate == 0:
        raise MalformedRecording(f"{source.name} claims a sample rate of 0 Hz")
    if frame_bytes != channels * ((bits + 7) // 8):
        raise MalformedRecording(
            f"{source.name} claims {channels} channels of {bits} bits in frames of {frame_bytes} bytes"
        )
    return WaveFormat(tag, channels, rate, frame_bytes, bits)
