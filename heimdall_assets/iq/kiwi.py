"""KiwiSDR's WAV files: complex samples with a GNSS time stamp a block.

Layout, as ``kiwirecorder.py`` of github.com/jks-prv/kiwiclient writes it (``--kiwi-wav``): a RIFF header, ``fmt ``
(16-bit PCM stereo), then pairs of a ``kiwi`` chunk and a ``data`` chunk, usually of 512 samples, to the end of the
file. A ``kiwi`` chunk is ``<BBII``: seconds since the last GNSS fix (254 and 255: none), 0, GPS time of week in
seconds, nanoseconds. It dates the first sample of the block that follows.

All blocks have one size, so that sample k lies at a computed place: the header of a long file costs a bounded
number of reads, and a read of samples only the blocks that hold them. Each block that is read is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording
from heimdall_assets.iq import gnss, names, riff
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.samples import CS16

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.sources import ByteSource

PLACEHOLDER = frozenset({92})
"""RIFF size that kiwirecorder writes before the first block, and corrects after each."""
MAX_BLOCK_BYTES = 65536
HEAD = np.dtype([
    ("kiwi", "S4"), ("kiwi_bytes", "<u4"),
    ("age_s", "u1"), ("zero", "u1"), ("second", "<u4"), ("nanosecond", "<u4"),
    ("data", "S4"), ("data_bytes", "<u4"),
])  # fmt: skip
"""A block before its samples: two chunk headers with the stamp between them."""
HEAD_BYTES = HEAD.itemsize
ALL_BLOCKS = 65536
"""Up to so many blocks every stamp is read (47 minutes at 12 kHz) where that is cheap."""
LEADING_BLOCKS = 64
SPREAD_BLOCKS = 1024
SPREAD_BLOCKS_REMOTE = 16
"""Else those of the leading blocks, among which the stale ones are, and of some over the rest of the file."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where the blocks lie: the first one's offset, the bytes of samples in each, and their number."""

    offset: int
    data_bytes: int
    count: int

    @property
    def stride(self) -> int:
        """Bytes from one block to the next."""
        return HEAD_BYTES + self.data_bytes

    @property
    def samples(self) -> int:
        """Complex samples in a block."""
        return self.data_bytes // CS16.sample_bytes


def recognizes(source: ByteSource, head: bytes) -> bool:
    """Whether the first chunk after ``fmt `` (within the first bytes) is a ``kiwi`` chunk."""
    if not riff.is_riff(head):
        return False
    fmt_bytes = int.from_bytes(head[16:20], "little")
    after = riff.FIRST_CHUNK + 8 + fmt_bytes + fmt_bytes % 2
    return head[12:16] == b"fmt " and head[after : after + 4] == b"kiwi" and source.size_bytes > after


def read_header(source: ByteSource, hints: Hints) -> Header:
    """Read the container's header and the blocks' stamps.

    The GPS week comes from the time stamp in the file's name, else from the time of the file's last change.

    Raises
    ------
    MalformedRecording
        Lengths contradict each other, the file or the format.
    TruncatedRecording
        The last block is not complete, or the container announces more.
    EmptyRecording
        There is no block.
    """
    wave, first = _container(source)
    blocks = _blocks(source, first)
    riff.check_size(source, PLACEHOLDER)
    wanted = _blocks_to_date(blocks.count, source.cheap_seeks)
    stamps = _stamps(source, blocks, wanted)
    clock = gnss.fit_clock(wanted, stamps, blocks.samples / wave.sample_rate_hz, source.name)
    named = names.start_time(source.name)
    if clock is None:
        sample_rate_hz, start_time = float(wave.sample_rate_hz), named
    else:
        sample_rate_hz = blocks.samples / clock.block_s
        start_time = gnss.utc(clock.begin_ns, named or source.modified_at)
    return Header(
        format="kiwi",
        num_samples=blocks.count * blocks.samples,
        read=partial(_read, source, blocks),
        sample_rate_hz=sample_rate_hz,
        center_frequency_hz=hints.get("center_frequency_hz") or names.frequency_hz(source.name),
        start_time=start_time,
    )


def _container(source: ByteSource) -> tuple[riff.WaveFormat, int]:
    """The fmt chunk, and where the first block begins."""
    wave = None
    for chunk in riff.chunks(source):
        if chunk.name == b"kiwi":
            break
        if chunk.name == b"fmt ":
            wave = riff.wave_format(source, chunk)
    else:
        raise EmptyRecording(f"{source.name} has no kiwi chunk")
    if wave is None:
        raise MalformedRecording(f"{source.name} has no fmt chunk before its samples")
    if (wave.tag, wave.channels, wave.bits) != (1, 2, 16):
        raise MalformedRecording(
            f"{source.name} claims format {wave.tag} with {wave.channels} channels of {wave.bits} bits; "
            "KiwiSDRs write 16-bit PCM with two"
        )
    return wave, chunk.offset - 8


def _blocks(source: ByteSource, first: int) -> Blocks:
    """Layout of the blocks from the first one's header and the size of the file."""
    available = source.size_bytes - first
    if available < HEAD_BYTES:
        raise TruncatedRecording(f"{source.name} ends within the header of its first block")
    data_bytes = int.from_bytes(source.read_at(first + HEAD_BYTES - 4, 4), "little")
    if data_bytes == 0 or data_bytes % CS16.sample_bytes or data_bytes > MAX_BLOCK_BYTES:
        raise MalformedRecording(f"{source.name} claims {data_bytes} bytes in its first block")
    blocks = Blocks(first, data_bytes, available // (HEAD_BYTES + data_bytes))
    _check(np.frombuffer(source.read_at(first, HEAD_BYTES), HEAD), blocks, [0], source.name)
    rest = available % blocks.stride
    if rest:
        raise TruncatedRecording(f"{source.name} ends {blocks.stride - rest} bytes before the end of its last block")
    return blocks


def _blocks_to_date(count: int, cheap_seeks: bool) -> NDArray[np.int64]:
    """Which blocks' stamps are looked at, ascending: all, or the leading ones and some over the rest."""
    if cheap_seeks and count <= ALL_BLOCKS:
        return np.arange(count)
    spread = np.linspace(0, count - 1, SPREAD_BLOCKS if cheap_seeks else SPREAD_BLOCKS_REMOTE).astype(np.int64)
    return np.unique(np.concatenate([np.arange(min(LEADING_BLOCKS, count)), spread]))


def _stamps(source: ByteSource, blocks: Blocks, wanted: NDArray[np.int64]) -> NDArray[np.void]:
    """Checked heads of the wanted blocks."""
    if source.cheap_seeks:
        raw = b"".join(source.read_at(blocks.offset + k * blocks.stride, HEAD_BYTES) for k in wanted.tolist())
        heads = np.frombuffer(raw, HEAD)
    else:
        leading = int(np.count_nonzero(wanted < LEADING_BLOCKS))
        together = _whole_blocks(source, blocks, 0, leading)["head"]
        apart = [
            np.frombuffer(source.read_at(blocks.offset + k * blocks.stride, HEAD_BYTES), HEAD)
            for k in wanted[leading:].tolist()
        ]
        heads = np.concatenate([together, *apart])
    _check(heads, blocks, wanted, source.name)
    return heads


def _check(heads: NDArray[np.void], blocks: Blocks, numbers: NDArray[np.int64] | list[int], name: str) -> None:
    """Each head must be that of a block of the common size."""
    good = (
        (heads["kiwi"] == b"kiwi")
        & (heads["kiwi_bytes"] == 10)
        & (heads["data"] == b"data")
        & (heads["data_bytes"] == blocks.data_bytes)
    )
    if not good.all():
        number = int(numbers[int(np.argmin(good))])
        raise MalformedRecording(
            f"{name} has no kiwi and data chunk of {blocks.data_bytes} bytes at byte "
            f"{blocks.offset + number * blocks.stride}, where block {number} should begin"
        )


def _whole_blocks(source: ByteSource, blocks: Blocks, first: int, count: int) -> NDArray[np.void]:
    """Blocks [first, first + count), read in one piece."""
    raw = source.read_at(blocks.offset + first * blocks.stride, count * blocks.stride)
    return np.frombuffer(raw, np.dtype([("head", HEAD), ("iq", f"V{blocks.data_bytes}")]))


def _read(source: ByteSource, blocks: Blocks, start: int, count: int) -> NDArray[np.complex64]:
    """Samples [start, start + count), without the stamps between them."""
    first, skipped = divmod(start, blocks.samples)
    last = -(-(start + count) // blocks.samples)
    whole = _whole_blocks(source, blocks, first, last - first)
    _check(whole["head"], blocks, list(range(first, last)), source.name)
    samples = CS16.decode(whole["iq"].tobytes())
    return samples[skipped : skipped + count].copy()


FORMAT = Format(
    name="kiwi",
    description="KiwiSDR WAV with GNSS time stamps",
    read_header=read_header,
    suffixes=(".wav",),
    aliases=("kiwisdr",),
    recognizes=recognizes,
)
