"""SigMF pairs and archives, opened by any of their names."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sigmf  # type: ignore[import-untyped]

from heimdall_assets.errors import (
    EmptyRecording,
    LocationRefused,
    MalformedRecording,
    RecordingNotFound,
    RecordingTooLarge,
    UnknownFormat,
)
from heimdall_assets.iq import IQFile, open_iq, open_location
from heimdall_assets.settings import load_settings
from heimdall_assets_tests.iq.builders import MemorySource, components, expected, sigmf_meta, tar

if TYPE_CHECKING:
    from pathlib import Path

VALUES = components(500, "<i2")
META = sigmf_meta({"core:datatype": "ci16_le", "core:sample_rate": 48_000}, frequency=7e6)
SAMPLES = expected(VALUES, 32768.0)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    (tmp_path / "rx.sigmf-meta").write_bytes(META)
    (tmp_path / "rx.sigmf-data").write_bytes(VALUES.tobytes())
    return tmp_path / "rx.sigmf-meta"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "rx.sigmf"
    path.write_bytes(tar({"rx/rx.sigmf-meta": META, "rx/rx.sigmf-data": VALUES.tobytes()}))
    return path


@pytest.mark.parametrize("suffix", [".sigmf-meta", ".sigmf-data"])
@pytest.mark.parametrize("hint", [None, "sigmf", "npy"])
def test_a_pair_is_opened_by_either_name(pair: Path, suffix: str, hint: str | None) -> None:
    if (suffix, hint) == (".sigmf-data", "npy"):
        with pytest.raises(UnknownFormat, match="is not npy"):
            open_iq(pair.with_suffix(suffix), format=hint)
        return
    with open_iq(pair.with_suffix(suffix), format=hint, sample_rate_hz=5.0) as recording:
        assert (recording.format, recording.num_samples) == ("sigmf", 500)
        assert (recording.sample_rate_hz, recording.center_frequency_hz) == (48_000.0, 7e6)
        assert recording.size_bytes == len(META) + 2000
        assert np.array_equal(recording.read(0, 1000), SAMPLES)
        assert np.array_equal(recording.read(100, 3), SAMPLES[100:103])


def test_the_etag_covers_both_files_whichever_was_named(pair: Path) -> None:
    with open_iq(pair) as by_meta, open_iq(pair.with_suffix(".sigmf-data")) as by_data:
        assert by_meta.etag == by_data.etag
        for part in (pair, pair.with_suffix(".sigmf-data")):
            assert f"{part.stat().st_mtime_ns}-{part.stat().st_size}" in by_meta.etag


def test_an_archive_is_read_in_place(archive: Path) -> None:
    with open_iq(archive) as recording:
        assert (recording.format, recording.num_samples, recording.sample_rate_hz) == ("sigmf", 500, 48_000.0)
        assert np.array_equal(recording.read(17, 99), SAMPLES[17:116])


def test_what_the_sigmf_library_writes_is_read(tmp_path: Path) -> None:
    data = tmp_path / "made.sigmf-data"
    wave = expected(components(300, "<f4"))
    wave.tofile(data)
    made = sigmf.SigMFFile(
        data_file=str(data), global_info={"core:datatype": "cf32_le", "core:sample_rate": 1e6, "core:version": "1.0.0"}
    )
    made.add_capture(0, {"core:frequency": 433.92e6, "core:datetime": "2024-03-05T12:00:00Z"})
    made.tofile(str(tmp_path / "made.sigmf-meta"))
    made.archive(str(tmp_path / "packed.sigmf"))
    for name in ("made.sigmf-meta", "made.sigmf-data", "packed.sigmf"):
        with open_iq(tmp_path / name) as recording:
            assert recording.center_frequency_hz == 433.92e6
            assert np.array_equal(recording.read(0, 300), wave)


def test_a_raw_format_given_for_a_data_file_needs_no_metadata(tmp_path: Path) -> None:
    (tmp_path / "rx.sigmf-data").write_bytes(VALUES.tobytes())
    with open_iq(tmp_path / "rx.sigmf-data", format="cs16") as recording:
        assert recording.format == "cs16"


def test_only_the_bytes_of_the_samples_are_read() -> None:
    source = MemorySource(tar({"a.sigmf-data": bytes(4_000_000), "a.sigmf-meta": META}), "a.sigmf")
    recording = IQFile(source, {})
    assert source.bytes_read < 10_000
    source.reads.clear()
    recording.read(1000, 10)
    assert source.reads == [(512 + 4000, 40)]


def test_both_files_are_closed() -> None:
    source = MemorySource(META, "rx.sigmf-meta")
    source.siblings["rx.sigmf-data"] = other = MemorySource(VALUES.tobytes(), "rx.sigmf-data")
    IQFile(source, {}).close()
    assert source.closed
    assert other.closed
    other.closed, other.content, other.size_bytes = False, b"abc", 3
    with pytest.raises(EmptyRecording, match="it holds 3 bytes, and a sample has 4"):
        IQFile(source, {})
    assert other.closed


def test_bytes_after_the_last_whole_sample_are_ignored_with_a_remark() -> None:
    source = MemorySource(META, "rx.sigmf-meta")
    source.siblings["rx.sigmf-data"] = MemorySource(VALUES.tobytes() + b"abc", "rx.sigmf-data")
    recording = IQFile(source, {})
    assert recording.num_samples == len(VALUES) // 2
    assert "the last 3 bytes are ignored: a sample has 4" in recording.remarks


class TestRefusals:
    def test_a_missing_half_is_not_found_by_its_name(self, pair: Path) -> None:
        pair.rename(pair.with_name("moved.sigmf-meta"))
        with pytest.raises(RecordingNotFound, match=r"moved\.sigmf-data does not exist"):
            open_iq(pair.with_name("moved.sigmf-meta"))
        with pytest.raises(RecordingNotFound, match=r"rx\.sigmf-meta does not exist"):
            open_iq(pair.with_suffix(".sigmf-data"))

    def test_a_half_that_leads_out_of_the_root_or_is_too_large_is_refused(self, pair: Path, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        pair.rename(root / pair.name)
        (root / "rx.sigmf-data").symlink_to(tmp_path / "rx.sigmf-data")
        with pytest.raises(LocationRefused, match="outside"):
            open_location("rx.sigmf-meta", load_settings(iq_root=str(root)))
        with pytest.raises(RecordingTooLarge, match=r"rx\.sigmf-data has 2,000 bytes"):
            open_location("rx.sigmf-meta", load_settings(iq_root=str(tmp_path / "root"), iq_extra_roots=str(tmp_path),
                                                         max_object_bytes=1024))  # fmt: skip

    def test_data_without_samples_are_empty(self, pair: Path) -> None:
        pair.with_suffix(".sigmf-data").write_bytes(b"")
        with pytest.raises(EmptyRecording, match="has no samples"):
            open_iq(pair)

    def test_metadata_under_another_name_are_refused(self, pair: Path) -> None:
        with pytest.raises(UnknownFormat, match=r"its name does not end in \.sigmf-meta"):
            open_iq(pair.rename(pair.with_name("rx.json")))

    def test_a_name_without_a_pair_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "rx.bin").write_bytes(bytes(8))
        with pytest.raises(UnknownFormat, match=r"nor does it end in \.sigmf-data"):
            open_iq(tmp_path / "rx.bin", format="sigmf")

    def test_gigabytes_of_metadata_are_not_read(self) -> None:
        source = MemorySource(META + b" " * 5_000_000, "rx.sigmf-meta")
        source.siblings["rx.sigmf-data"] = MemorySource(VALUES.tobytes())
        with pytest.raises(MalformedRecording, match="at most 4194304"):
            IQFile(source, {})
        assert source.bytes_read < 2000

    @pytest.mark.parametrize(
        ("files", "error", "why"),
        [
            ({}, UnknownFormat, "0 .sigmf-meta files"),
            ({"a.txt": b"x"}, UnknownFormat, "0 .sigmf-meta files"),
            ({"a.sigmf-meta": META, "b.sigmf-meta": META}, UnknownFormat, "2 .sigmf-meta files"),
            ({"a.sigmf-meta": META, "b.sigmf-data": b"abcd"}, MalformedRecording, "0 members 'a.sigmf-data'"),
            ({"a.sigmf-meta": META, "a.sigmf-data": b"abc"}, EmptyRecording, "it holds 3 bytes"),
            ({"a.sigmf-meta": META, "a.sigmf-data": b""}, EmptyRecording, "no samples"),
            ({"a.sigmf-meta": b"{}", "a.sigmf-data": b"abcd"}, MalformedRecording, "no SigMF metadata"),
            ({"../a.sigmf-meta": META, "../a.sigmf-data": b"abcd"}, MalformedRecording, "leads out"),
        ],
    )
    def test_archives_that_are_no_recording_are_refused(
        self, files: dict[str, bytes], error: type[Exception], why: str
    ) -> None:
        content = tar(files) if files else tar({"folder/readme": b""})
        with pytest.raises(error, match=why):
            IQFile(MemorySource(content, "a.sigmf"), {})


def test_other_formats_do_not_pay_for_the_library() -> None:
    code = "import sys, heimdall_assets.iq; sys.exit('sigmf' in sys.modules or 'jsonschema' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
