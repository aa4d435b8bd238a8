"""Sizes that recorders never wrote, or that wrapped: samples are read as far as they go, and that is said."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.errors import EmptyRecording, TruncatedRecording
from heimdall_assets.iq import IQFile, open_iq, stretch_of
from heimdall_assets.iq.riff import MAX_TRAILING, REMNANT_BYTES
from heimdall_assets_tests.iq.builders import MemorySource, auxi, components, expected, fmt

if TYPE_CHECKING:
    from pathlib import Path

VALUES = components(5000, "<i2")
SAMPLES = VALUES.tobytes()
LIST = b"LIST" + struct.pack("<I", 12) + b"INFOISFTabcd"
AUXI = b"auxi" + struct.pack("<I", len(auxi())) + auxi()
WRITTEN_FIRST = (0, 8, 2**32 - 8, 0x7FFFFFE8, 0x7FFFFFC4, 0x7FFFF024, 0x7FFFF000, 0x80000024, 0x80000000, 0xFFFFFFFF,
                 0xFFFFFFFF - 36)  # fmt: skip


def made(riff: int, data: int, body: bytes = SAMPLES, magic: bytes = b"RIFF", front: bytes = b"") -> bytes:
    """A WAV file that states these sizes."""
    inner = b"WAVE" + front + b"fmt " + struct.pack("<I", 16) + fmt() + b"data" + struct.pack("<I", data) + body
    return magic + struct.pack("<I", riff) + inner


def opened(content: bytes, name: str = "rx_7050kHz.wav") -> IQFile:
    return IQFile(MemorySource(content, name), {})


def is_all(recording: IQFile, count: int = 5000) -> bool:
    return recording.num_samples == count and np.array_equal(
        recording.read(0, 10**6), expected(VALUES, 32768.0)[:count]
    )


@pytest.mark.parametrize("data", WRITTEN_FIRST)
@pytest.mark.parametrize("riff", WRITTEN_FIRST)
def test_what_recorders_write_first_means_to_the_end_of_the_file(riff: int, data: int) -> None:
    recording = opened(made(riff, data))
    assert is_all(recording)
    assert recording.missing_samples == 0
    assert any(f"states {data} bytes" in remark for remark in recording.remarks)


@pytest.mark.parametrize("riff", WRITTEN_FIRST)
def test_a_right_size_of_the_samples_is_enough(riff: int) -> None:
    assert is_all(opened(made(riff, len(SAMPLES))))
    assert opened(made(riff, len(SAMPLES))).remarks == ()
    assert is_all(opened(made(riff, len(SAMPLES), SAMPLES + LIST)))


@given(stated=st.integers(0, len(SAMPLES) - REMNANT_BYTES))
@settings(deadline=None, max_examples=100)
def test_what_was_known_at_the_last_flush_is_not_the_end(stated: int) -> None:
    recording = opened(made(stated + 36, stated))
    assert is_all(recording)
    assert recording.remarks


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("stated", [0, 0xFFFFFFFF, 4000])
def test_a_last_incomplete_frame_is_ignored(stated: int, lost: int) -> None:
    recording = opened(made(stated, stated, SAMPLES[:-lost]))
    assert is_all(recording, 4999)
    assert any("are ignored: a sample has 4" in remark for remark in recording.remarks)


@pytest.mark.parametrize("trailing", [LIST, AUXI, AUXI + LIST, b"cust" + struct.pack("<I", 4) + b"abcd" + LIST])
@pytest.mark.parametrize("rest", [b"", b"\n", b"TAG" + b"x" * 125])
def test_chunks_behind_the_samples_are_no_samples(trailing: bytes, rest: bytes) -> None:
    recording = opened(made(36 + len(SAMPLES + trailing), len(SAMPLES), SAMPLES + trailing + rest))
    assert is_all(recording)
    assert recording.remarks == ((f"{len(rest)} bytes after the last chunk are ignored",) if rest else ())
    assert recording.center_frequency_hz == (145.5e6 if AUXI in trailing else 7.05e6)


@pytest.mark.parametrize("rest", [b"abc", b"TAG" + b"x" * 125, bytes(40), bytes(10_000)])
def test_bytes_behind_the_last_chunk_are_ignored_with_a_remark(rest: bytes) -> None:
    recording = opened(made(36 + len(SAMPLES), len(SAMPLES), SAMPLES + rest))
    assert is_all(recording)
    assert recording.remarks == (f"{len(rest)} bytes after the last chunk are ignored",)


def test_a_chunk_behind_the_samples_that_was_cut_or_never_closed_is_no_samples() -> None:
    for trailing in (LIST[:-3], b"LIST" + struct.pack("<I", 2**32 - 1) + b"INFO" * 300):
        assert is_all(opened(made(0, len(SAMPLES), SAMPLES + trailing)))


def test_a_cut_file_is_truncated_only_where_samples_that_are_needed_are_missing() -> None:
    recording = opened(made(36 + len(SAMPLES), len(SAMPLES), SAMPLES[:12_000]))
    assert (recording.num_samples, recording.missing_samples) == (3000, 2000)
    assert any("the file was cut: 8000 of 20000" in remark for remark in recording.remarks)
    stretch = stretch_of(recording, default_sample_rate_hz=1.0, chunk_ms=10.0, num_chunks=5)
    assert (stretch.sample_rate_hz, stretch.num_samples) == (48000.0, 2400)
    with pytest.raises(TruncatedRecording, match="has 3000 samples, 2000 more are announced, and 4800 are needed"):
        stretch_of(recording, default_sample_rate_hz=1.0, chunk_ms=20.0, num_chunks=5)
    stretch = stretch_of(recording, default_sample_rate_hz=1.0, chunk_ms=20.0, num_chunks=None)
    assert stretch.num_samples == 3000


@pytest.mark.parametrize("stated", [0, 8, 0xFFFFFFFF])
def test_a_header_without_a_sample_is_an_empty_recording(stated: int) -> None:
    with pytest.raises(EmptyRecording, match="has no samples"):
        opened(made(stated, stated, b""))


@given(
    name=st.binary(min_size=4, max_size=4).filter(lambda name: name != b"data"),
    size=st.integers(0, 2**32 - 1),
    at=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=200)
def test_no_trailing_header_breaks_reading_or_costs_much(name: bytes, size: int, at: int) -> None:
    body = SAMPLES + name + struct.pack("<I", size) + b"junk\0\0\0\0" * at
    source = MemorySource(made(0, len(SAMPLES), body), "rx.wav")
    recording = IQFile(source, {})
    assert recording.num_samples >= 5000
    assert len(source.reads) < MAX_TRAILING + 20


class TestBeyond4GiB:
    """Sparse files: they take no room."""

    @staticmethod
    def sparse(folder: Path, data_bytes: int, header: bytes, trailing: bytes = b"") -> Path:
        path = folder / "rx.wav"
        with path.open("wb") as file:
            file.write(header)
            file.write(SAMPLES)
            file.seek(len(header) + data_bytes - len(SAMPLES))
            file.write(SAMPLES + trailing)
        return path

    @pytest.mark.parametrize("trailing", [b"", AUXI + LIST, LIST + b"\n"])
    @pytest.mark.parametrize("wraps", [1, 2])
    def test_wrapped_sizes_are_unwrapped(self, tmp_path: Path, wraps: int, trailing: bytes) -> None:
        stated = 40_000_000
        count = wraps * 2**32 + stated
        path = self.sparse(tmp_path, count, made(stated + 36, stated, b""), trailing)
        with open_iq(path) as recording:
            assert recording.num_samples == count // 4
            assert np.array_equal(recording.read(count // 4 - 5000, 10_000), expected(VALUES, 32768.0))
            assert any("wrapped past 4 GiB" in remark for remark in recording.remarks)

    @pytest.mark.parametrize("stated", [0, 0x7FFFF000, 0xFFFFFFFF, 4000])
    def test_unwritten_sizes_reach_to_the_end(self, tmp_path: Path, stated: int) -> None:
        path = self.sparse(tmp_path, 5_000_000_000, made(stated, stated, b"") + SAMPLES)
        with open_iq(path) as recording:
            assert recording.num_samples == 1_250_000_000 + 5000

    @pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
    @pytest.mark.parametrize("written", [5_000_000_000, 0, 2**64 - 1])
    def test_64_bit_sizes_are_read(self, tmp_path: Path, magic: bytes, written: int) -> None:
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, written, written, 0, 0)
        path = self.sparse(tmp_path, 5_000_000_000, made(2**32 - 1, 2**32 - 1, b"", magic, ds64))
        with open_iq(path) as recording:
            assert recording.num_samples == 1_250_000_000
            assert bool(recording.remarks) == (written != 5_000_000_000) or recording.center_frequency_hz is None


def test_a_wav_that_grows_between_two_looks_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rx_7050kHz.wav"
    path.write_bytes(made(36 + len(SAMPLES), len(SAMPLES), SAMPLES[:12_000]))

    class Growing(MemorySource):
        def has_grown(self) -> bool:
            return True

    recording = IQFile(Growing(path.read_bytes(), path.name), {})
    assert (recording.num_samples, recording.missing_samples) == (3000, 0)
    assert recording.remarks == ("the file was still being written",)
    with open_iq(path) as local:
        assert not local._sources[0].has_grown()
        with path.open("ab") as file:
            file.write(SAMPLES[12_000:])
        assert local._sources[0].has_grown()
        assert local.num_samples == 3000
