"""Where the blocks of a KiwiSDR file lie: each a ``kiwi`` chunk with a stamp and a ``data`` chunk with samples.

Mostly all blocks have one size, so that sample k lies at a computed place: finding the blocks of a long file then
costs a bounded number of reads. With ``--resample`` kiwirecorder writes what its resampler has: 368, 511 or 512
samples. Then the heads are walked over, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import MalformedRecording, TruncatedRecording
from heimdall_assets.iq import riff
from heimdall_assets.iq.samples import CS16

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from heimdall_assets.iq.sources import ByteSource

MAX_BLOCK_BYTES = 65536
HEAD = np.dtype([
    ("kiwi", "S4"), ("kiwi_bytes", "<u4"),
    ("age_s", "u1"), ("zero", "u1"), ("second", "<u4"), ("nanosecond", "<u4"),
    ("data", "S4"), ("data_bytes", "<u4"),
])  # fmt: skip
"""A block before its samples: two chunk headers with the stamp between them."""
KIWI_BEGINS = b"kiwi" + (10).to_bytes(4, "little")
HEAD_BYTES = HEAD.itemsize
ALL_BLOCKS = 65536
"""Up to so many blocks every stamp is read (47 minutes at 12 kHz) where that is cheap."""
LEADING_BLOCKS = 64
SPREAD_BLOCKS = 1024
SPREAD_BLOCKS_REMOTE = 16
"""Else those of the leading blocks, among which the stale ones are, and of some over the rest of the file."""
WALKED_BLOCKS = 1 << 20
"""Of unequal blocks: 12 hours at 12 kHz."""
WALKED_BYTES_REMOTE = 64 << 20
"""What is read of a store's object to find unequal blocks: 22 minutes at 12 kHz."""
PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a file, and the stamps of some of them.

    Attributes
    ----------
    read : callable
        ``read(start, count)``: samples of a range inside of the file.
    num_samples : int
        In all blocks together.
    positions : ndarray of int64, shape (n,)
        First samples of the blocks whose stamps are known, strictly ascending.
    stamps : structured ndarray, shape (n,)
        Their heads.
    remarks : tuple of str
        What was left out.
    are_equal : bool
        All have one size.
    """

    read: Callable[[int, int], NDArray[np.complex64]]
    num_samples: int
    positions: NDArray[np.int64]
    stamps: NDArray[np.void]
    remarks: tuple[str, ...]
    are_equal: bool = True


def find_blocks(source: ByteSource, first: int) -> Blocks:
    """Find the blocks from the first one, at byte ``first``, to the end of the file.

    A last block that is not complete yet is left out, with a remark: the file still grows, or its recorder was killed.

    Raises
    ------
    TruncatedRecording
        There is no complete block.
    MalformedRecording
        Something else stands where a block should begin.
    """
    if source.size_bytes - first < HEAD_BYTES:
        raise TruncatedRecording(f"{source.name} ends within the header of its first block")
    head = np.frombuffer(source.read_at(first, HEAD_BYTES), HEAD)
    if not _are_heads(head).all():
        raise _misplaced(source.name, first, 0)
    data_bytes = int(head["data_bytes"][0])
    _check_size(data_bytes, 0, first, source.name)
    if data_bytes:
        equal = EqualBlocks(source, first, data_bytes, (source.size_bytes - first) // (HEAD_BYTES + data_bytes))
        found = equal.found() if equal.count else None
        if found is not None:
            return found
    return _walk(source, first)


@dataclass(frozen=True, slots=True)
class EqualBlocks:
    """Blocks of one size: the first one's offset, the bytes of samples in each, and their number."""

    source: ByteSource
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

    def found(self) -> Blocks | None:
        """These blocks, if all of those that are looked at have this size."""
        numbers = self._wanted()
        heads = self._heads(numbers)
        behind = self.offset + self.count * self.stride
        if not self._are_heads(heads).all():
            return None
        left = self.source.size_bytes - behind
        if self.source.cheap_seeks and left >= HEAD_BYTES and _is_whole(self.source, behind, left):
            return None  # where seeks are dear, one block at the end is not worth a walk
        return Blocks(
            self.read,
            self.count * self.samples,
            numbers * self.samples,
            heads,
            _left_over(self.source, behind, self.count),
        )

    def read(self, start: int, count: int) -> NDArray[np.complex64]:
        """Samples [start, start + count), without the stamps between them."""
        first, skipped = divmod(start, self.samples)
        last = -(-(start + count) // self.samples)
        whole = self._whole(first, last - first)
        good = self._are_heads(whole["head"])
        if not good.all():
            number = first + int(np.argmin(good))
            raise _misplaced(self.source.name, self.offset + number * self.stride, number)
        return CS16.decode(whole["iq"].tobytes())[skipped : skipped + count].copy()

    def _wanted(self) -> NDArray[np.int64]:
        """Which blocks' stamps are looked at, ascending: all, or the leading ones and some over the rest."""
        cheap = self.source.cheap_seeks
        if cheap and self.count <= ALL_BLOCKS:
            return np.arange(self.count)
        spread = np.linspace(0, self.count - 1, SPREAD_BLOCKS if cheap else SPREAD_BLOCKS_REMOTE).astype(np.int64)
        return np.unique(np.concatenate([np.arange(min(LEADING_BLOCKS, self.count)), spread]))

    def _heads(self, numbers: NDArray[np.int64]) -> NDArray[np.void]:
        leading = 0 if self.source.cheap_seeks else int(np.count_nonzero(numbers < LEADING_BLOCKS))
        together = [self._whole(0, leading)["head"]] if leading else []
        apart = b"".join(
            self.source.read_at(self.offset + k * self.stride, HEAD_BYTES) for k in numbers[leading:].tolist()
        )
        return np.concatenate([*together, np.frombuffer(apart, HEAD)])

    def _whole(self, first: int, count: int) -> NDArray[np.void]:
        """Blocks [first, first + count), read in one piece."""
        raw = self.source.read_at(self.offset + first * self.stride, count * self.stride)
        return np.frombuffer(raw, np.dtype([("head", HEAD), ("iq", f"V{self.data_bytes}")]))

    def _are_heads(self, heads: NDArray[np.void]) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = _are_heads(heads) & (heads["data_bytes"] == self.data_bytes)
        return good


@dataclass(frozen=True, slots=True)
class UnequalBlocks:
    """Blocks of any sizes: where each begins, and which is its first sample; both with an entry for the end."""

    source: ByteSource
    offsets: NDArray[np.int64]
    positions: NDArray[np.int64]

    def read(self, start: int, count: int) -> NDArray[np.complex64]:
        """Samples [start, start + count), without the stamps between them."""
        first = int(np.searchsorted(self.positions, start, "right")) - 1
        last = int(np.searchsorted(self.positions, start + count, "left"))
        begin = int(self.offsets[first])
        raw = self.source.read_at(begin, int(self.offsets[last]) - begin)
        parts = []
        for number in range(first, last):
            at, end = int(self.offsets[number]) - begin, int(self.offsets[number + 1]) - begin
            head = np.frombuffer(raw[at : at + HEAD_BYTES], HEAD)
            if not _are_heads(head).all() or int(head["data_bytes"][0]) != end - at - HEAD_BYTES:
                raise _misplaced(self.source.name, begin + at, number)
            parts.append(raw[at + HEAD_BYTES : end])
        skipped = start - int(self.positions[first])
        return CS16.decode(b"".join(parts))[skipped : skipped + count].copy()


def _walk(source: ByteSource, first: int) -> Blocks:
    """Go from head to head; the sizes are those that they state."""
    heads: list[bytes] = []
    offsets = [first]
    limit = source.size_bytes if source.cheap_seeks else min(source.size_bytes, first + WALKED_BYTES_REMOTE)
    window = _Window(source)
    while len(heads) < WALKED_BLOCKS and offsets[-1] + HEAD_BYTES <= limit:
        raw = window.read(offsets[-1], HEAD_BYTES)
        if not (raw.startswith(KIWI_BEGINS) and raw[18:22] == b"data"):
            break
        data_bytes = int.from_bytes(raw[22:], "little")
        _check_size(data_bytes, len(heads), offsets[-1], source.name)
        end = offsets[-1] + HEAD_BYTES + data_bytes
        if end > source.size_bytes:
            break
        heads.append(raw)
        offsets.append(end)
    stamps = np.frombuffer(b"".join(heads), HEAD)
    sizes = stamps["data_bytes"].astype(np.int64) // CS16.sample_bytes
    positions = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    num_samples = int(positions[-1])
    remarks: tuple[str, ...] = (f"only the first {num_samples} samples are counted: later blocks are not looked for",)
    if len(heads) < WALKED_BLOCKS and not offsets[-1] + HEAD_BYTES > limit < source.size_bytes:
        remarks = _left_over(source, offsets[-1], len(heads))
    if num_samples == 0:
        raise TruncatedRecording(f"{source.name} ends before the end of its first block")
    has_samples = sizes > 0
    return Blocks(
        UnequalBlocks(source, np.array(offsets, np.int64), positions).read,
        num_samples,
        positions[:-1][has_samples],
        stamps[has_samples],
        remarks,
        are_equal=False,
    )


class _Window:
    """Small reads, answered by large ones where each costs a request."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._begin, self._bytes = 0, b""

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of [offset, offset + count)."""
        if self._source.cheap_seeks:
            return self._source.read_at(offset, count)
        if not self._begin <= offset <= offset + count <= self._begin + len(self._bytes):
            piece = min(PIECE_BYTES, self._source.size_bytes - offset)
            self._begin, self._bytes = offset, self._source.read_at(offset, piece)
        return self._bytes[offset - self._begin : offset - self._begin + count]


def _are_heads(heads: NDArray[np.void]) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = (heads["kiwi"] == b"kiwi") & (heads["kiwi_bytes"] == 10) & (heads["data"] == b"data")
    return good


def _check_size(data_bytes: int, number: int, offset: int, name: str) -> None:
    if data_bytes % CS16.sample_bytes or data_bytes > MAX_BLOCK_BYTES:
        raise MalformedRecording(f"{name} claims {data_bytes} bytes of samples in block {number}, at byte {offset}")


def _is_whole(source: ByteSource, offset: int, left: int) -> bool:
    """Whether a complete block of another size begins at an offset."""
    head = np.frombuffer(source.read_at(offset, HEAD_BYTES), HEAD)
    return bool(_are_heads(head).all()) and HEAD_BYTES + int(head["data_bytes"][0]) <= left


def _left_over(source: ByteSource, offset: int, number: int) -> tuple[str, ...]:
    """A remark on what lies behind the last block.

    Raises
    ------
    MalformedRecording
        That is neither an incomplete block, nor other chunks, nor a remnant.
    """
    left = source.size_bytes - offset
    if left == 0:
        return ()
    head = source.read_at(offset, min(left, HEAD_BYTES))
    begins_block = (head[:8] + head[18:22]) == (KIWI_BEGINS + b"data")[: len(head[:8] + head[18:22])]
    if begins_block and (left < HEAD_BYTES or HEAD_BYTES + int.from_bytes(head[22:], "little") > left):
        return (f"the last block is not complete: its {left} bytes are ignored",)
    if begins_block and left < HEAD_BYTES + MAX_BLOCK_BYTES:
        return (f"a last block of another size is ignored: {left} bytes",)
    followed = riff.follow(source, offset)
    if left < riff.REMNANT_BYTES or (followed and not any(chunk.name == b"data" for chunk in followed[0])):
        return (f"{left} bytes after the last block are ignored",)
    raise _misplaced(source.name, offset, number)


def _misplaced(name: str, offset: int, number: int) -> MalformedRecording:
    return MalformedRecording(f"{name} has no kiwi and data chunk at byte {offset}, where block {number} should begin")
