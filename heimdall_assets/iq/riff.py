"""The RIFF container: a walk over its chunks that reads eight bytes per chunk, and sizes that are checked.

A RIFF file is ``RIFF``, the size of what follows, ``WAVE``, and chunks of a four-letter name, a size and a body
that is padded to an even length (Multimedia Programming Interface and Data Specifications 1.0, IBM and Microsoft,
1991). In RF64 (EBU Tech 3306) the 32-bit sizes are all ones, and a first chunk ``ds64`` holds the 64-bit ones.

No size is believed. Recorders write sizes when they start, at times between, and when they stop: one that is killed,
or writes into a pipe, leaves its first guess, or what it knew last; past 4 GiB the sizes wrap. See :func:`extent`.
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
WRAP = 1 << 32
UNWRITTEN_BELOW = 64
"""A size of 0, or of a header alone: what recorders write before the first sample."""
UNWRITTEN_NEAR = (1 << 31, 1 << 32)
UNWRITTEN_FROM = 1 << 62
UNWRITTEN_WITHIN = 1 << 16
"""Sizes so near to the limits of 31 and 32 bits are guesses: 0x7FFFFFC4 of kiwirecorder, 0x7FFFF000 of sox, -8."""
MAX_CHUNKS = 1000
"""More chunks than any recorder writes around its samples; bounds the walk over a file made of empty chunks."""
MAX_TRAILING = 64
MAX_METADATA_BYTES = 65536
REMNANT_BYTES = 512
"""Fewer bytes than this behind the stated end are a remnant; more are samples that the recorder did not count."""
PROBE_BYTES = 4096
KNOWN = {b"LIST", b"auxi", b"id3 ", b"ID3 ", b"fact", b"bext", b"iXML", b"cue ", b"JUNK", b"junk", b"PAD ", b"FLLR",
         b"PEAK", b"smpl", b"inst", b"plst", b"DISP", b"_PMX", b"axml", b"data", b"fmt ", b"rcvr"}  # fmt: skip
"""Chunks that are believed to follow samples even where their size is not that of the rest of the file."""


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


def _ds64(source: ByteSource) -> int | None:
    """Size of the samples by the ``ds64`` chunk of an RF64 file; None where there is none."""
    if source.size_bytes < FIRST_CHUNK + 24 or source.read_at(0, 4) not in RF64:
        return None
    name, size, _, data_bytes = struct.unpack("<4sIQQ", source.read_at(FIRST_CHUNK, 24))
    return data_bytes if name == b"ds64" and size >= 16 else None


def chunks(source: ByteSource) -> Iterator[Chunk]:
    """Walk over the chunks; their bodies are not read, and the last may claim more than the file holds.

    Raises
    ------
    TruncatedRecording
        The file ends within a chunk's header.
    MalformedRecording
        There are more than ``MAX_CHUNKS``.
    """
    data_bytes = _ds64(source)
    offset = FIRST_CHUNK
    for _ in range(MAX_CHUNKS):
        if offset >= source.size_bytes:
            return
        if offset + 8 > source.size_bytes:
            raise TruncatedRecording(f"{source.name} ends within the header of a chunk, at byte {offset}")
        name, size = struct.unpack("<4sI", source.read_at(offset, 8))
        if name == b"data" and size in {0, WRAP - 1} and data_bytes is not None:
            size = data_bytes
        yield Chunk(name, offset + 8, size)
        offset += 8 + size + size % 2
    raise MalformedRecording(f"{source.name} has more than {MAX_CHUNKS} chunks")


@dataclass(frozen=True, slots=True)
class Extent:
    """How far the samples of a file reach.

    Attributes
    ----------
    num_bytes : int
        Of samples, from the beginning of the data chunk's body.
    missing_bytes : int
        What the data chunk announces beyond the end of the file, where that is a size that can be.
    trailing : tuple of Chunk
        The chunks behind the samples.
    remarks : tuple of str
        What was wrong with the sizes.
    """

    num_bytes: int
    missing_bytes: int = 0
    trailing: tuple[Chunk, ...] = ()
    remarks: tuple[str, ...] = ()


def extent(source: ByteSource, data: Chunk) -> Extent:
    """Find the end of the samples, whatever the sizes say.

    The stated size holds where the file ends there, or where chunks, or less than a remnant, follow. So does a size
    that wrapped past 4 GiB. Otherwise the samples reach to the end of the file. At most ``MAX_TRAILING`` headers and
    a few kilobytes are read.
    """
    available = source.size_bytes - data.offset
    stated = data.size
    wrapped = stated + max(0, available - stated) // WRAP * WRAP if stated < WRAP else stated
    for size in dict.fromkeys((stated, wrapped)):
        said = () if size == stated else (_to_the_end(stated, "wrapped past 4 GiB"),)
        if size == available:
            return Extent(size, remarks=said)
        followed = follow(source, data.offset + size + size % 2) if size < available else None
        if followed is not None:
            return Extent(size, 0, followed[0], (*said, *_ignored(followed[1])))
    return _guessed(source, data, available)


def _guessed(source: ByteSource, data: Chunk, available: int) -> Extent:
    """The extent where the file neither ends at the stated size, nor has chunks there."""
    stated = data.size
    if _is_unwritten(stated):
        return Extent(available, remarks=(_to_the_end(stated, "which the recorder never corrected"),))
    if stated <= available:
        left = available - stated
        if left < REMNANT_BYTES or not any(source.read_at(data.offset + stated, min(left, PROBE_BYTES))):
            return Extent(stated, remarks=_ignored(left))
        return Extent(available, remarks=(_to_the_end(stated, "less than there is"),))
    if source.has_grown():
        return Extent(available, remarks=("the file was still being written",))
    missing = stated - available
    return Extent(available, missing, (), (f"the file was cut: {missing} of {stated} announced bytes are missing",))


def announced_beyond(source: ByteSource) -> int:
    """Bytes that the container announces beyond the end of the file; 0 where that is no size that can be."""
    (size,) = struct.unpack("<I", source.read_at(4, 4))
    beyond = int(size) + 8 - source.size_bytes
    return 0 if _is_unwritten(size) or beyond <= 1 else beyond


def follow(source: ByteSource, offset: int) -> tuple[tuple[Chunk, ...], int] | None:
    """Chunks that begin at an offset, and how many bytes lie behind the last; None where there are none.

    Samples can look like the header of a chunk: chunks count where they reach to the end of the file, but for a
    remnant, or where their names are known.
    """
    found: list[Chunk] = []
    is_known = True
    while len(found) < MAX_TRAILING and offset + 8 <= source.size_bytes:
        name, size = struct.unpack("<4sI", source.read_at(offset, 8))
        if not all(0x20 <= letter < 0x7F for letter in name):
            break
        is_cut = offset + 8 + size > source.size_bytes + 1
        if is_cut and name not in KNOWN:
            break
        is_known = is_known and name in KNOWN
        found.append(Chunk(name, offset + 8, min(size, source.size_bytes - offset - 8)))
        offset += 8 + size + size % 2
    rest = max(0, source.size_bytes - offset)
    if found and (is_known or rest < REMNANT_BYTES):
        return tuple(found), rest
    return None


def _is_unwritten(size: int) -> bool:
    return (
        size < UNWRITTEN_BELOW
        or size >= UNWRITTEN_FROM
        or any(abs(size - limit) <= UNWRITTEN_WITHIN for limit in UNWRITTEN_NEAR)
    )


def _to_the_end(size: int, why: str) -> str:
    return f"samples are read to the end of the file: its data chunk states {size} bytes, {why}"


def _ignored(num_bytes: int) -> tuple[str, ...]:
    return (f"{num_bytes} bytes after the last chunk are ignored",) if num_bytes else ()


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
