"""KiwiSDR files, built block by block: samples, clock, and lengths that lie."""

from __future__ import annotations

import struct
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording
from heimdall_assets.iq import IQFile, open_iq
from heimdall_assets.iq.blocks import ALL_BLOCKS
from heimdall_assets_tests.iq.builders import (
    BLOCK,
    KIWI_RATE_HZ,
    MemorySource,
    expected,
    fmt,
    kiwi,
    kiwi_unequal,
    riff,
    stamp,
)

if TYPE_CHECKING:
    from pathlib import Path

NAME = "20171127T104156Z_77500_TEST_iq.wav"
FIRST = 36
STRIDE = 26 + 4 * BLOCK
STALE = stamp(0, begin_ns=124_366_595_389_714)


def opened(content: bytes, name: str = NAME, **hints: float) -> IQFile:
    return IQFile(MemorySource(content, name), hints)  # type: ignore[arg-type]  # a dict of floats is no Hints


def test_samples_are_read_across_blocks_to_the_last_bit() -> None:
    content, values = kiwi(9)
    recording = opened(content)
    whole = expected(values, 32768.0)
    assert (recording.format, recording.num_samples) == ("kiwi", 9 * BLOCK)
    assert np.array_equal(recording.read(0, 10**9), whole)
    for start, count in [(0, 1), (511, 2), (512, 512), (100, 2000), (9 * BLOCK - 1, 5), (1024, 3 * 512)]:
        assert np.array_equal(recording.read(start, count), whole[start : start + count])


def test_the_rate_is_the_slope_of_the_stamps_and_the_start_their_origin() -> None:
    recording = opened(kiwi(200)[0])
    assert recording.sample_rate_hz == pytest.approx(KIWI_RATE_HZ, abs=1e-5)
    assert recording.start_time == datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    assert recording.center_frequency_hz == 77_500.0


def test_samples_under_stale_stamps_are_kept_and_the_start_is_extrapolated_back() -> None:
    stamps = [STALE] * 3 + [stamp(k) for k in range(3, 50)]
    content, values = kiwi(50, stamps)
    recording = opened(content)
    assert recording.num_samples == 50 * BLOCK
    assert np.array_equal(recording.read(0, 2000), expected(values, 32768.0)[:2000])
    assert recording.sample_rate_hz == pytest.approx(KIWI_RATE_HZ, abs=1e-4)
    assert recording.start_time is not None
    assert abs(recording.start_time - datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)) <= timedelta(microseconds=1)


def test_without_a_fix_the_nominal_rate_and_the_name_must_do() -> None:
    recording = opened(kiwi(20, [stamp(k, age=255) for k in range(20)])[0])
    assert recording.sample_rate_hz == 12001.0
    assert recording.start_time == datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    assert opened(kiwi(1)[0], "rx.wav").start_time is None


def test_without_a_time_in_the_name_the_week_is_that_of_the_last_change() -> None:
    assert opened(kiwi(20)[0], "rx.wav").start_time == datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    source = MemorySource(kiwi(20)[0], "rx.wav")
    source.modified_at = None
    assert IQFile(source, {}).start_time is None


def test_the_header_wins_over_a_hinted_rate_and_the_hint_over_the_name() -> None:
    recording = opened(kiwi(20)[0], sample_rate_hz=5.0, center_frequency_hz=77_000.0)
    assert recording.sample_rate_hz == pytest.approx(KIWI_RATE_HZ, abs=1e-3)
    assert recording.center_frequency_hz == 77_000.0


def test_blocks_of_another_size_are_read_too() -> None:
    content, values = kiwi(40, rate_hz=375, block=16)  # what kiwirecorder writes with -r 375
    recording = opened(content)
    assert recording.sample_rate_hz == pytest.approx(KIWI_RATE_HZ / 32, rel=1e-6)
    assert np.array_equal(recording.read(10, 300), expected(values, 32768.0)[10:310])


def test_a_recording_whose_recorder_was_killed_before_it_wrote_the_size_is_read() -> None:
    for size in (0, 92, 0xFFFFFFFF):
        assert opened(kiwi(5, size=size)[0]).num_samples == 5 * BLOCK


@pytest.mark.parametrize("lost", [1, 100, 2047, 2048, 2049, 2073])
def test_an_incomplete_last_block_is_left_out_with_a_remark(lost: int) -> None:
    content, values = kiwi(5)
    recording = opened(content[:-lost])
    assert recording.num_samples == 4 * BLOCK
    assert np.array_equal(recording.read(0, 10**6), expected(values, 32768.0)[: 4 * BLOCK])
    assert f"the last block is not complete: its {STRIDE - lost} bytes are ignored" in recording.remarks


@pytest.mark.parametrize("size", [0, 36, 92, 1000, 2**31, 2**32 - 1, 2**32 - 8, 0x7FFFFFE8])
def test_the_size_of_the_container_does_not_count(size: int) -> None:
    assert opened(kiwi(5, size=size)[0]).num_samples == 5 * BLOCK
    content, _ = kiwi(5)
    assert opened(content + content[-STRIDE:]).num_samples == 6 * BLOCK


def test_a_cut_file_says_how_much_is_missing_unless_it_grows() -> None:
    content, _ = kiwi(50)
    cut = opened(content[: -20 * STRIDE])
    assert cut.missing_samples == 20 * STRIDE // 4
    assert any("the file was cut" in remark for remark in cut.remarks)

    class Growing(MemorySource):
        def has_grown(self) -> bool:
            return True

    assert IQFile(Growing(content[: -20 * STRIDE], NAME), {}).missing_samples == 0


@pytest.mark.parametrize("rest", [b"\0", b"LIST" + struct.pack("<I", 4) + b"INFO", bytes(400)])
def test_bytes_behind_the_last_block_are_ignored_with_a_remark(rest: bytes) -> None:
    recording = opened(kiwi(5)[0] + rest)
    assert recording.num_samples == 5 * BLOCK
    assert f"{len(rest)} bytes after the last block are ignored" in recording.remarks


def unequal(sizes: list[int], rate_hz: float = 12000.0) -> tuple[bytes, Any]:
    """A file with blocks of these sizes, and its samples."""
    content, values = kiwi_unequal(sizes, rate_hz)
    return content, expected(values, 32768.0)


class TestUnequalBlocks:
    """What kiwirecorder writes with ``--resample``: a block holds what the resampler has."""

    @given(sizes=st.lists(st.integers(0, 700), min_size=2, max_size=40).filter(lambda sizes: sum(sizes) > 0),
           cheap=st.booleans(), data=st.data())  # fmt: skip
    @settings(deadline=None, max_examples=80)
    def test_blocks_of_any_sizes_are_read_to_the_last_bit(self, sizes: list[int], cheap: bool, data: Any) -> None:
        content, whole = unequal(sizes)
        recording = IQFile(MemorySource(content, NAME, cheap), {})
        least = len(whole) - (
            0 if cheap else sizes[0]
        )  # less than a first block's bytes at the end are not worth a walk
        assert least <= recording.num_samples <= len(whole)
        start = data.draw(st.integers(0, recording.num_samples - 1))
        count = data.draw(st.integers(1, 2000))
        stop = min(start + count, recording.num_samples)
        assert np.array_equal(recording.read(start, count), whole[start:stop])

    @pytest.mark.parametrize("cheap", [True, False])
    def test_the_rate_and_the_start_come_from_the_stamps(self, cheap: bool) -> None:
        sizes = [511 + (k % 3 == 0) for k in range(400)]
        content, whole = unequal(sizes, 12000.25)
        source = MemorySource(content, NAME, cheap)
        recording = IQFile(source, {})
        assert recording.num_samples == len(whole)
        assert recording.sample_rate_hz == pytest.approx(12000.25, abs=1e-3)
        assert recording.start_time is not None
        assert abs(recording.start_time - datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)) < timedelta(microseconds=5)
        assert cheap or len(source.reads) < 100
        source.reads.clear()
        recording.read(200 * 511, 100)
        assert source.bytes_read < 2 * 2100

    @pytest.mark.parametrize(("age", "late_ms"), [(1, 0), (255, 12)])
    def test_the_delay_of_the_resampler_does_not_shift_the_start(self, age: int, late_ms: int) -> None:
        # 144 samples of delay: the first block lacks them, and all later ones begin by as much earlier
        sizes = [368] + [512] * 200
        content, _ = unequal(sizes)
        made = bytearray(content)
        at = 36
        for number, size in enumerate(sizes):
            time_ns = 124_934 * 10**9 + round(number * 512 / 12000 * 1e9)
            stamp = struct.pack("<BBII", age if number == 0 else 1, 0, time_ns // 10**9, time_ns % 10**9)
            made[at + 8 : at + 18] = stamp
            at += 26 + 4 * size
        start = opened(bytes(made)).start_time
        assert start is not None
        expected_start = datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC) + timedelta(milliseconds=late_ms)
        assert abs(start - expected_start) < timedelta(milliseconds=0.1)

    def test_an_incomplete_last_block_is_left_out(self) -> None:
        content, whole = unequal([368, 511, 512, 511])
        recording = opened(content[:-4])
        assert recording.num_samples == len(whole) - 511
        assert any("the last block is not complete" in remark for remark in recording.remarks)

    def test_a_damaged_block_is_located(self) -> None:
        content, _ = unequal([368, 511, 512, 511])
        at = 36 + 2 * 26 + 4 * (368 + 511)
        with pytest.raises(MalformedRecording, match=f"at byte {at}, where block 2 should begin"):
            opened(content[:at] + b"x" + content[at + 1 :])

    def test_a_long_object_of_a_store_is_looked_through_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("heimdall_assets.iq.blocks.WALKED_BYTES_REMOTE", 100_000)
        monkeypatch.setattr("heimdall_assets.iq.blocks.PIECE_BYTES", 16_384)
        content, whole = unequal([511 + k % 2 for k in range(400)])
        source = MemorySource(content, NAME, cheap_seeks=False)
        recording = IQFile(source, {})
        assert 24_000 < recording.num_samples < 26_000
        assert source.bytes_read < 450_000
        assert any("only the first" in remark for remark in recording.remarks)
        assert np.array_equal(recording.read(0, 10**6), whole[: recording.num_samples])


def test_a_file_that_grows_while_it_is_read_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    content, values = kiwi(300)
    path = tmp_path / NAME
    whole = expected(values, 32768.0)
    for keep in (*range(FIRST + STRIDE, FIRST + STRIDE + 60), *range(FIRST + 2 * STRIDE, len(content), 50_001)):
        path.write_bytes(content[:keep])
        with open_iq(path) as recording:
            count = (keep - FIRST) // STRIDE * BLOCK
            assert recording.num_samples == count
            path.write_bytes(content)
            assert np.array_equal(recording.read(0, 2000), whole[: min(count, 2000)])


class TestLies:
    @pytest.mark.parametrize("size", [0, 2, 2047, 4096, 2052, 65540, 2**31, 2**32 - 1])
    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_data_chunk_that_lies_about_its_length_is_refused(self, number: int, size: int) -> None:
        content = bytearray(kiwi(5)[0])
        struct.pack_into("<I", content, FIRST + number * STRIDE + 22, size)
        with pytest.raises((MalformedRecording, TruncatedRecording), match=r"block|RIFF"):
            opened(bytes(content))

    @pytest.mark.parametrize("at", [0, 4, 18])
    def test_a_damaged_head_of_a_block_is_malformed_and_located(self, at: int) -> None:
        content = bytearray(kiwi(5)[0])
        content[FIRST + 3 * STRIDE + at] ^= 0xFF
        with pytest.raises(MalformedRecording, match=f"at byte {FIRST + 3 * STRIDE}, where block 3 should begin"):
            opened(bytes(content))

    def test_a_file_that_ends_within_its_first_block_is_truncated(self) -> None:
        for keep in (FIRST + 8, FIRST + 25):
            with pytest.raises(TruncatedRecording, match="ends within the header"):
                opened(kiwi(5)[0][:keep])

    @pytest.mark.parametrize("kind", [{"bits": 8}, {"channels": 1}, {"tag": 3, "bits": 32}])
    def test_another_sample_format_than_kiwisdrs_write_is_malformed(self, kind: dict[str, Any]) -> None:
        content = riff((b"fmt ", fmt(12001, **kind)), (b"kiwi", stamp(0)), (b"data", bytes(2048)))
        with pytest.raises(MalformedRecording, match="KiwiSDRs write 16-bit PCM with two"):
            opened(content)

    def test_a_rate_of_zero_is_malformed(self) -> None:
        with pytest.raises(MalformedRecording, match="sample rate of 0"):
            opened(kiwi(5, rate_hz=0)[0])

    def test_a_nominal_rate_that_the_stamps_contradict_is_malformed(self) -> None:
        with pytest.raises(MalformedRecording, match="by its time stamps"):
            opened(kiwi(50, rate_hz=48000)[0])

    def test_a_block_that_changes_after_the_header_was_read_is_malformed(self) -> None:
        content, _ = kiwi(5)
        source = MemorySource(content, NAME)
        recording = IQFile(source, {})
        source.content = content[: FIRST + 2 * STRIDE] + b"\xff" + content[FIRST + 2 * STRIDE + 1 :]
        recording.read(0, 2 * BLOCK)
        with pytest.raises(MalformedRecording, match="where block 2 should begin"):
            recording.read(2 * BLOCK, 1)

    def test_a_container_without_a_block_is_not_taken_for_a_kiwisdr_file(self) -> None:
        with pytest.raises((EmptyRecording, TruncatedRecording), match="ends without a data chunk"):
            opened(riff((b"fmt ", fmt(12001))))


class EndlessKiwi(MemorySource):
    """A KiwiSDR file of terabytes that exists only where it is read."""

    def __init__(self, num_blocks: int, cheap_seeks: bool) -> None:
        super().__init__(b"", NAME, cheap_seeks)
        self.size_bytes = FIRST + num_blocks * STRIDE
        self.front = riff((b"fmt ", fmt(12001)), size=0)

    def read_at(self, offset: int, count: int) -> bytes:
        assert 0 <= offset <= offset + count <= self.size_bytes
        self.reads.append((offset, count))
        number, end = max(0, (offset - FIRST) // STRIDE), offset + count
        made = bytearray(self.front if number == 0 else b"")
        begin = 0 if number == 0 else FIRST + number * STRIDE
        while begin + len(made) < end:
            made += b"kiwi" + struct.pack("<I", 10) + stamp(number) + b"data" + struct.pack("<I", 2048) + bytes(2048)
            number += 1
        return bytes(made[offset - begin : end - begin])


class TestCost:
    def test_the_header_of_a_short_local_file_reads_the_stamps_and_nothing_else(self) -> None:
        source = MemorySource(kiwi(700)[0], NAME)
        IQFile(source, {})
        assert source.bytes_read < 512 + 100 + 701 * 26
        assert max(count for _, count in source.reads) <= 512

    def test_samples_cost_the_blocks_that_hold_them(self) -> None:
        source = MemorySource(kiwi(700)[0], NAME)
        recording = IQFile(source, {})
        source.reads.clear()
        recording.read(100 * BLOCK + 500, 20)
        assert source.reads == [(FIRST + 100 * STRIDE, 2 * STRIDE)]

    @pytest.mark.parametrize(("cheap_seeks", "most_reads", "most_bytes"), [(True, 1200, 40_000), (False, 40, 150_000)])
    def test_the_header_of_a_terabyte_costs_little(self, cheap_seeks: bool, most_reads: int, most_bytes: int) -> None:
        source = EndlessKiwi(10**9, cheap_seeks)
        began = time.perf_counter()
        recording = IQFile(source, {})
        assert time.perf_counter() - began < 5
        assert len(source.reads) < most_reads
        assert source.bytes_read < most_bytes
        assert recording.num_samples == 512 * 10**9
        assert recording.sample_rate_hz == pytest.approx(KIWI_RATE_HZ, abs=1e-3)

    def test_every_stamp_of_a_long_local_file_is_read_up_to_a_limit(self) -> None:
        source = EndlessKiwi(ALL_BLOCKS, cheap_seeks=True)
        IQFile(source, {})
        assert len(source.reads) > ALL_BLOCKS
        assert source.bytes_read < 30 * ALL_BLOCKS

    def test_a_remote_header_finds_stale_stamps_and_the_rate_as_a_local_one_does(self) -> None:
        content, _ = kiwi(700, [STALE] * 3 + [stamp(k) for k in range(3, 700)])
        local = IQFile(MemorySource(content, NAME), {})
        remote_source = MemorySource(content, NAME, cheap_seeks=False)
        remote = IQFile(remote_source, {})
        assert local.sample_rate_hz is not None
        assert remote.sample_rate_hz == pytest.approx(local.sample_rate_hz, abs=1e-5)
        assert len(remote_source.reads) < 40
