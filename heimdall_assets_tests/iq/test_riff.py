"""The RIFF container: its sizes are compared, never believed."""

from __future__ import annotations

import struct

import pytest

from heimdall_assets.errors import MalformedRecording, TruncatedRecording
from heimdall_assets.iq.riff import MAX_CHUNKS, Chunk, WaveFormat, body, chunks, extent, is_riff, wave_format
from heimdall_assets_tests.iq.builders import MemorySource, fmt, riff


def test_the_walk_names_every_chunk_and_skips_padding() -> None:
    source = MemorySource(riff((b"odd ", b"abc"), (b"fmt ", fmt()), (b"data", bytes(8))))
    assert list(chunks(source)) == [Chunk(b"odd ", 20, 3), Chunk(b"fmt ", 32, 16), Chunk(b"data", 56, 8)]
    assert body(source, Chunk(b"odd ", 20, 3)) == b"abc"


def test_the_walk_reads_eight_bytes_a_chunk() -> None:
    source = MemorySource(riff((b"LIST", bytes(100_000)), (b"data", bytes(1_000_000))))
    list(chunks(source))
    assert source.bytes_read < 50


def test_a_file_that_ends_within_a_chunk_header_is_truncated() -> None:
    with pytest.raises(TruncatedRecording, match="ends within the header of a chunk, at byte 24"):
        list(chunks(MemorySource(riff((b"odd ", b"abcd"), size=0) + b"data\0\0")))


def test_a_file_of_empty_chunks_is_not_walked_for_ever() -> None:
    source = MemorySource(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 100_000)
    with pytest.raises(MalformedRecording, match="more than 1000 chunks"):
        list(chunks(source))
    assert len(source.reads) <= MAX_CHUNKS + 5


@pytest.mark.parametrize("magic", [b"RIFF", b"RF64", b"BW64"])
def test_riff_and_rf64_are_recognized_by_their_first_twelve_bytes(magic: bytes) -> None:
    assert is_riff(magic + bytes(4) + b"WAVE")
    assert not is_riff(magic + bytes(4) + b"AVI ")
    assert not is_riff(magic)


def test_the_sizes_of_rf64_stand_in_its_first_chunk() -> None:
    inner = b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 80, 32, 8, 0) + b"data" + struct.pack("<I", 2**32 - 1)
    source = MemorySource(b"RF64" + struct.pack("<I", 2**32 - 1) + inner + bytes(32))
    assert list(chunks(source)) == [Chunk(b"ds64", 20, 28), Chunk(b"data", 56, 32)]


def test_rf64_without_ds64_is_read_to_its_end() -> None:
    source = MemorySource(
        b"RF64" + struct.pack("<I", 2**32 - 1) + b"WAVEdata" + struct.pack("<I", 2**32 - 1) + bytes(64)
    )
    (data,) = chunks(source)
    assert extent(source, data).num_bytes == 64


def test_metadata_larger_than_metadata_are_is_not_read() -> None:
    source = MemorySource(riff((b"auxi", bytes(70_000))))
    with pytest.raises(MalformedRecording, match="of 70000 bytes"):
        body(source, next(chunks(source)))
    assert source.bytes_read < 50


def test_a_fmt_chunk_is_parsed_plain_and_extensible() -> None:
    def parsed(content: bytes) -> WaveFormat:
        source = MemorySource(riff((b"fmt ", content)), "rx.wav")
        return wave_format(source, next(chunks(source)))

    assert parsed(fmt(48000, 24)) == WaveFormat(1, 2, 48000, 6, 24)
    assert parsed(fmt(48000, 32, tag=3, extensible=True)) == WaveFormat(3, 2, 48000, 8, 32)
    for content, why in [
        (fmt()[:15], "fmt chunk of 15 bytes"),
        (fmt(0), "sample rate of 0 Hz"),
        (fmt(extensible=True)[:30], "without a known subformat"),
        (fmt(extensible=True)[:26] + bytes(14), "without a known subformat"),
        (struct.pack("<HHIIHH", 1, 2, 48000, 0, 5, 16), "2 channels of 16 bits in frames of 5 bytes"),
    ]:
        with pytest.raises(MalformedRecording, match=why):
            parsed(content)
