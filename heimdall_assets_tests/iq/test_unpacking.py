"""Compressed streams: any range, in small memory, and nothing beyond what is claimed or allowed."""

from __future__ import annotations

import gzip
import lzma
import threading
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.errors import (
    MalformedRecording,
    RecordingError,
    RecordingNotFound,
    RecordingTooLarge,
    TruncatedRecording,
)
from heimdall_assets.iq.unpacking import PIECE_BYTES, Unpacked, decompressor_of, inflater, peek
from heimdall_assets_tests.iq.builders import MemorySource, components

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = components(150_000, "<i2").tobytes()
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
}
pack = pytest.mark.parametrize("pack", PACK.values(), ids=PACK)


def unpacked(content: bytes, max_bytes: int | None = None) -> Unpacked:
    start = decompressor_of(content)
    assert start is not None
    return Unpacked(MemorySource(content, "rx.sigmf.gz"), start, max_bytes=max_bytes)


@pack
def test_any_range_is_read_forward_and_backward(pack: Callable[[bytes], bytes]) -> None:
    source = unpacked(pack(CONTENT))
    assert (source.name, source.size_bytes) == ("rx.sigmf.gz", len(CONTENT))
    for offset, count in ((0, 10), (10, PIECE_BYTES + 5), (500_000, 100), (3, 7), (len(CONTENT), 0), (0, len(CONTENT))):
        assert source.read_at(offset, count) == CONTENT[offset : offset + count]
    with pytest.raises(TruncatedRecording, match="unpacks to 600000 bytes, not to the 600001"):
        source.read_at(0, 600_001)
    with pytest.raises(RecordingNotFound, match="no other beside it"):
        source.sibling("other")


@pack
@given(data=st.data())
@settings(deadline=None, max_examples=25, derandomize=True)
def test_ranges_in_any_order_are_those_of_the_content(pack: Callable[[bytes], bytes], data: st.DataObject) -> None:
    content = CONTENT[: data.draw(st.integers(1, 5000))]
    source = unpacked(pack(content))
    for _ in range(5):
        offset = data.draw(st.integers(0, len(content)))
        count = data.draw(st.integers(0, len(content) - offset))
        assert source.read_at(offset, count) == content[offset : offset + count]


@pack
def test_streams_that_follow_one_another_are_one_and_padding_is_none(pack: Callable[[bytes], bytes]) -> None:
    source = unpacked(pack(CONTENT) + pack(b"second") + bytes(8))
    assert source.read_at(len(CONTENT) - 3, 9) == CONTENT[-3:] + b"second"
    assert source.size_bytes == len(CONTENT) + 6


@pack
def test_what_is_cut_or_changed_anywhere_is_refused(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(CONTENT[:3000])
    for keep in range(20, len(packed) - 1, 37):
        with pytest.raises((TruncatedRecording, MalformedRecording)):
            unpacked(packed[:keep])
        changed = bytearray(packed)
        changed[keep] ^= 0x10
        with pytest.raises(RecordingError):
            unpacked(bytes(changed))


@pack
def test_the_limit_ends_the_count_and_not_the_memory(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(bytes(30_000_000))
    tracemalloc.start()
    with pytest.raises(RecordingTooLarge, match="more than the 5,000,000 bytes that are allowed"):
        unpacked(packed, 5_000_000)
    source = unpacked(packed)
    assert source.read_at(29_999_990, 10) == bytes(10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.size_bytes == 30_000_000
    assert peak < 10_000_000  # the dictionary of an .xz, and some pieces


@pack
def test_a_bomb_is_told_by_its_ratio(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(bytes(70_000_000))
    with pytest.raises(RecordingTooLarge, match=r"more than 200 times its [\d,]+ bytes, which no recording does"):
        unpacked(packed)


def test_a_dictionary_of_gigabytes_is_not_made() -> None:
    packed = bytearray(lzma.compress(b"abc", preset=0))
    at = packed.index(b"\x21\x01") + 2  # the filter LZMA2 and the size of its properties, then that of the dictionary
    packed[at] = 40  # 4 GiB
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    with pytest.raises(MalformedRecording, match=r"cannot be unpacked: Memory usage limit"):
        unpacked(bytes(packed))


def test_less_than_is_claimed_is_truncated_and_more_is_never_made() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(CONTENT) + packer.flush()
    claims = {"size_bytes": len(CONTENT) + 10, "span": (0, len(packed))}
    source = Unpacked(MemorySource(packed), inflater, **claims)  # type: ignore[arg-type]  # mixed values
    with pytest.raises(TruncatedRecording, match="unpacks to 600000 bytes; 600010 are claimed"):
        source.read_at(0, len(CONTENT) + 10)
    few = Unpacked(MemorySource(packed), inflater, span=(0, len(packed)), size_bytes=100)
    assert few.read_at(0, 100) == CONTENT[:100]
    with pytest.raises(TruncatedRecording):
        few.read_at(0, 101)


def test_threads_may_read_one_stream_at_once() -> None:
    source = unpacked(gzip.compress(CONTENT))
    wrong: list[int] = []

    def check(offset: int) -> None:
        wrong.extend(offset for _ in range(10) if source.read_at(offset, 20) != CONTENT[offset : offset + 20])

    threads = [threading.Thread(target=check, args=(50_000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_beginning_is_told_without_the_rest() -> None:
    for compress in PACK.values():
        assert peek(compress(CONTENT)[:512], 100) == CONTENT[:100]
    assert peek(CONTENT[:512], 100) == b""
    assert peek(b"\x1f\x8b\x08" + bytes(range(100, 200)), 100) == b""
