"""The room's front doors: open_iq, load_iq and open_location."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heimdall_assets.errors import (
    BadParameter,
    EmptyRecording,
    LocationRefused,
    RecordingNotFound,
    RecordingTooLarge,
    StoreUnavailable,
    UnknownFormat,
)
from heimdall_assets.iq import IQFile, load_iq, open_iq, open_location
from heimdall_assets.iq.opening import PIECE
from heimdall_assets.records import IQRecording
from heimdall_assets.settings import Settings, load_settings
from heimdall_assets_tests.iq.builders import MemorySource, components, expected

VALUES = components(1000, "<f4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rx.cf32"
    VALUES.tofile(path)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(iq_root=str(tmp_path), max_object_bytes=8000)


def test_opening_reads_the_header_and_reading_the_samples(path: Path) -> None:
    with open_iq(path) as recording:
        assert isinstance(recording, IQFile)
        assert (recording.format, recording.num_samples, recording.size_bytes) == ("cf32", 1000, 8000)
        assert recording.etag == f"{path.stat().st_mtime_ns}-8000"
        assert np.array_equal(recording.read(10, 20), expected(VALUES)[10:30])
    with pytest.raises(ValueError, match="is closed"):
        recording.read(0, 1)
    recording.close()


def test_a_path_may_be_text_or_a_path(path: Path) -> None:
    for form in (path, str(path)):
        with open_iq(form) as recording:
            assert recording.num_samples == 1000


def test_loading_returns_everything_as_a_record(path: Path) -> None:
    recording = load_iq(path, sample_rate_hz=2e5, center_frequency_hz=145.5e6)
    assert isinstance(recording, IQRecording)
    assert recording.samples.dtype == np.complex64
    assert np.array_equal(recording.samples, expected(VALUES))
    assert (recording.sample_rate_hz, recording.center_frequency_hz) == (2e5, 145.5e6)
    assert (recording.start_time, recording.format) == (None, "cf32")


@pytest.mark.parametrize(
    ("start", "count", "length"),
    [(0, 0, 0), (0, 1000, 1000), (0, 1001, 1000), (999, 5, 1), (1000, 5, 0), (10**30, 5, 0), (5, 10**30, 995)],
)
def test_a_read_ends_where_the_recording_does(path: Path, start: int, count: int, length: int) -> None:
    with open_iq(path) as recording:
        samples = recording.read(start, count)
    assert samples.dtype == np.complex64
    assert np.array_equal(samples, expected(VALUES)[start : start + count])
    assert len(samples) == length


def test_samples_may_be_written_to_unless_that_is_given_up(path: Path) -> None:
    with open_iq(path) as recording:
        assert recording.read(3, 10).flags.writeable
        spared = recording.read(3, 10, writable=False)
        assert np.array_equal(spared, recording.read(3, 10))
        assert not spared.flags.writeable


def test_integers_of_numpy_are_integers(path: Path) -> None:
    with open_iq(path) as recording:
        assert len(recording.read(np.int64(3), np.uint8(4))) == 4  # type: ignore[arg-type]  # but not to mypy


@pytest.mark.parametrize(("start", "count"), [(-1, 5), (0, -1), (-5, -5)])
def test_negative_ranges_are_refused_with_their_values(path: Path, start: int, count: int) -> None:
    with open_iq(path) as recording, pytest.raises(BadParameter, match=f"{start=} and {count=} must not be negative"):
        recording.read(start, count)


def test_fractions_of_samples_are_refused(path: Path) -> None:
    with open_iq(path) as recording, pytest.raises(BadParameter, match="must be integers"):
        recording.read(0.5, 1)  # type: ignore[arg-type]  # on purpose


def test_a_long_read_is_made_in_pieces_and_needs_little_more_than_its_result() -> None:
    source = MemorySource(bytes(2 * (3 * PIECE + 5)), "rx.cu8")
    recording = IQFile(source, {})
    tracemalloc.start()
    samples = recording.read(0, recording.num_samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(samples, np.full(3 * PIECE + 5, -1 - 1j, np.complex64))
    assert max(count for _, count in source.reads) <= 2 * PIECE
    assert peak < samples.nbytes + 30 * PIECE


@pytest.mark.parametrize("name", ["sample_rate_hz", "center_frequency_hz", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "200000"])
def test_a_hint_outside_of_its_range_is_named(path: Path, name: Any, value: Any) -> None:
    with pytest.raises(BadParameter, match=f"{name}=.* must be a positive number"):
        open_iq(path, **{name: value})


def test_hints_that_are_none_are_no_hints(path: Path) -> None:
    with open_iq(path, format=None, sample_rate_hz=None, center_frequency_hz=None, max_bytes=None) as recording:
        assert recording.sample_rate_hz is None


def test_an_unknown_hint_is_a_programming_error(path: Path) -> None:
    with pytest.raises(TypeError, match="unknown hints: rate"):
        open_iq(path, rate=5)  # type: ignore[call-arg]  # on purpose


@pytest.mark.parametrize("url", ["file:rx.npy", "data:,abc", "s3:bucket/rx.npy"])
def test_what_is_no_whole_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(LocationRefused, match=f"'{url}' is refused: .*: locations are not served"):
        open_iq(url)


def test_a_file_may_be_called_like_a_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    VALUES.tofile("a:b.cf32")
    with open_iq("a:b.cf32") as recording:
        assert recording.num_samples == 1000


def test_a_file_url_is_its_path(path: Path) -> None:
    with open_iq(f"file://{path}") as by_url, open_iq(path) as by_path:
        assert by_url.etag == by_path.etag
        assert np.array_equal(by_url.read(0, 1000), by_path.read(0, 1000))


def test_a_person_may_open_any_file_but_only_a_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.cf32").symlink_to(path)
    with open_iq(tmp_path / "link.cf32") as recording:
        assert recording.num_samples == 1000
    with pytest.raises(LocationRefused, match="is a directory"):
        open_iq(tmp_path)
    with pytest.raises(LocationRefused, match="cannot be a file"):
        open_iq("a\0b")
    with pytest.raises(RecordingTooLarge, match="at most 7,999"):
        open_iq(path, max_bytes=7999)


@pytest.mark.parametrize("name", ["empty.npy", "empty.cf32", "empty"])
def test_a_file_without_bytes_is_an_empty_recording(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(EmptyRecording, match=f"{name} has no bytes"):
        open_iq(tmp_path / name)


def test_the_file_is_closed_if_its_header_cannot_be_read(tmp_path: Path) -> None:
    source = MemorySource(bytes(10), "x.txt")
    with pytest.raises(UnknownFormat, match="no known format"):
        IQFile(source, {})
    assert source.closed


class TestLocations:
    @pytest.mark.usefixtures("path")
    def test_a_location_is_opened_below_the_root(self, settings: Settings, path: Path) -> None:
        for location in ("rx.cf32", str(path)):
            with open_location(location, settings, sample_rate_hz=2e5) as recording:
                assert recording.sample_rate_hz == 2e5
                assert np.array_equal(recording.read(0, 1000), expected(VALUES))

    def test_links_below_the_root_keep_the_name_that_they_were_asked_by(
        self, settings: Settings, path: Path, tmp_path: Path
    ) -> None:
        path.rename(tmp_path / "0a1b2c")
        (tmp_path / "rx.cf32").symlink_to("0a1b2c")
        with open_location("rx.cf32", settings) as recording:
            assert recording.format == "cf32"

    def test_what_lies_outside_is_refused_by_name(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "link.cf32").symlink_to("/etc/passwd")
        for location in ("link.cf32", "/etc/passwd", "../x.cf32", "s3://b/x.cf32"):
            with pytest.raises(LocationRefused, match=location.replace(".", r"\.")):
                open_location(location, settings)

    @pytest.mark.parametrize("swapped", ["a", "a/b", "a/b/rx.cf32"])
    def test_a_link_swapped_in_after_the_check_is_not_followed(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
    ) -> None:
        for folder in (tmp_path / "a" / "b", tmp_path.parent / f"{tmp_path.name}-outside" / "b"):
            folder.mkdir(parents=True)
            (folder / "rx.cf32").write_bytes(b"outside!" if "outside" in str(folder) else b"inside!!")
        honest, victim = os.path.realpath, tmp_path / swapped
        outside = tmp_path.parent / f"{tmp_path.name}-outside" / Path(swapped).relative_to("a")

        def swap_afterwards(path: Path, *, strict: bool = False) -> str:
            resolved = honest(path, strict=strict)
            if Path(resolved).name == "rx.cf32":  # what exists is looked at once
                victim.rename(tmp_path / "moved")
                victim.symlink_to(outside)
            return resolved

        monkeypatch.setattr(os.path, "realpath", swap_afterwards)
        with pytest.raises((LocationRefused, RecordingNotFound), match=r"is a link|does not exist"):
            open_location("a/b/rx.cf32", settings)
        assert victim.is_symlink()

    def test_a_link_swapped_in_between_look_and_open_is_not_followed(
        self, settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        honest = os.open

        def swap_first(name: str | Path, flags: int, dir_fd: int | None = None) -> int:
            if name == "rx.cf32":
                path.unlink()
                path.symlink_to("/etc/passwd")
            return honest(name, flags, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", swap_first)
        with pytest.raises(LocationRefused, match="cannot be a file: Too many levels of symbolic links"):
            open_location("rx.cf32", settings)

    def test_a_folder_that_may_be_entered_but_not_listed_serves(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "drop").mkdir()
        VALUES.tofile(tmp_path / "drop" / "rx.cf32")
        (tmp_path / "drop").chmod(0o311)
        with open_location("drop/rx.cf32", settings) as recording:
            assert recording.num_samples == 1000

    @pytest.mark.parametrize("location", [".", "folder", "folder/."])
    def test_a_folder_is_refused(self, settings: Settings, tmp_path: Path, location: str) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(LocationRefused, match="is a directory"):
            open_location(location, settings)

    def test_the_limits_of_settings_and_hint_both_hold(self, settings: Settings, path: Path) -> None:
        with path.open("ab") as file:
            file.write(bytes(8))
        with pytest.raises(RecordingTooLarge, match="at most 8,000"):
            open_location("rx.cf32", settings, max_bytes=10_000)
        with pytest.raises(RecordingTooLarge, match="at most 5"):
            open_location("rx.cf32", settings, max_bytes=5)

    def test_a_missing_object_and_a_missing_root_may_come_later(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(RecordingNotFound, match="does not exist"):
            open_location("gone.npy", settings)
        with pytest.raises(StoreUnavailable, match="not a folder"):
            open_location("gone.npy", load_settings(iq_root=str(tmp_path / "unmounted")))
