"""Byte sources: ranges, refusals, and the operating system's errors in the project's words."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.errors import (
    LocationRefused,
    RecordingNotFound,
    RecordingTooLarge,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq.sources import LocalFile

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recording.cf32"
    path.write_bytes(bytes(range(200)))
    return path


@pytest.fixture
def no_descriptor_leaks() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_local_file_hands_out_exactly_the_bytes_of_a_range(path: Path) -> None:
    source = LocalFile(path)
    assert source.size_bytes == 200
    assert source.read_at(10, 5) == bytes(range(10, 15))
    assert source.read_at(200, 0) == b""
    source.close()
    source.close()


def test_the_etag_changes_when_the_file_does(path: Path) -> None:
    first = LocalFile(path).etag
    assert LocalFile(path).etag == first == f"{path.stat().st_mtime_ns}-200"
    os.utime(path, ns=(0, 1_600_000_000_123_456_789))
    assert LocalFile(path).etag == "1600000000123456789-200"


@pytest.mark.parametrize(("offset", "count"), [(-1, 4), (0, 201), (190, 11), (10**30, 1), (0, -1)])
def test_a_range_outside_of_the_file_is_refused(path: Path, offset: int, count: int) -> None:
    with pytest.raises(TruncatedRecording, match="ends at byte 200"):
        LocalFile(path).read_at(offset, count)


def test_a_file_that_shrinks_while_it_is_open_is_truncated(path: Path) -> None:
    source = LocalFile(path)
    os.truncate(path, 50)
    with pytest.raises(TruncatedRecording, match="became shorter"):
        source.read_at(40, 20)


def test_reading_a_closed_file_is_a_programming_error(path: Path) -> None:
    source = LocalFile(path)
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        source.read_at(0, 1)


@pytest.mark.usefixtures("no_descriptor_leaks")
class TestRefusals:
    def test_a_missing_file_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(RecordingNotFound, match=r"gone\.npy does not exist") as caught:
            LocalFile(tmp_path / "gone.npy")
        assert isinstance(caught.value.__cause__, FileNotFoundError)

    def test_a_file_used_as_a_folder_is_not_found(self, path: Path) -> None:
        with pytest.raises(RecordingNotFound, match="does not exist"):
            LocalFile(path / "inside.npy")

    def test_a_file_above_the_limit_is_too_large_and_one_at_the_limit_is_not(self, path: Path) -> None:
        LocalFile(path, max_bytes=200).close()
        with pytest.raises(RecordingTooLarge, match="has 200 bytes; at most 199"):
            LocalFile(path, max_bytes=199)

    def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LocationRefused, match="is a directory, not a file"):
            LocalFile(tmp_path)

    @pytest.mark.timeout(10)
    def test_a_fifo_is_refused_without_waiting_for_a_writer(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.npy")
        with pytest.raises(LocationRefused, match="is a FIFO"):
            LocalFile(tmp_path / "fifo.npy")

    def test_a_socket_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
            with pytest.raises(LocationRefused, match="is a socket"):
                LocalFile(tmp_path / "s")

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
    def test_a_device_is_refused(self, device: str) -> None:
        with pytest.raises(LocationRefused, match="is a device"):
            LocalFile(Path(device))

    def test_a_loop_of_links_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(tmp_path / "b")
        (tmp_path / "b").symlink_to(tmp_path / "a")
        with pytest.raises(LocationRefused, match="cannot be a file"):
            LocalFile(tmp_path / "a")

    @pytest.mark.parametrize("name", ["x" * 300, "nul\0byte", "lone\ud800surrogate"])
    def test_a_name_that_no_file_can_have_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(LocationRefused, match="cannot be a file"):
            LocalFile(tmp_path / name)

    @pytest.mark.timeout(10)
    def test_a_file_replaced_by_a_fifo_between_look_and_open_is_refused(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        honest = os.open

        def swap_first(name: Path, flags: int, dir_fd: int | None = None) -> int:
            path.unlink()
            os.mkfifo(path)
            return honest(name, flags, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", swap_first)
        with pytest.raises(LocationRefused, match="is a FIFO"):
            LocalFile(path)

    @pytest.mark.parametrize(
        ("error", "expected"), [(PermissionError(13, "Permission denied"), "Permission denied"),
                                (OSError(5, "Input/output error"), "Input/output error"),
                                (OSError(116, "Stale file handle"), "Stale")],
    )  # fmt: skip
    def test_what_the_store_refuses_is_tried_again_later(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, expected: str
    ) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise error

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(StoreUnavailable, match=f"cannot be read: {expected}") as caught:
            LocalFile(path)
        assert caught.value.transient


def test_a_disk_that_fails_while_reading_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = LocalFile(path)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        source.read_at(0, 1)


def test_a_read_that_the_system_cuts_short_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, offset: honest(fd, min(count, 7), offset))
    assert LocalFile(path).read_at(3, 100) == bytes(range(3, 103))


def test_threads_may_read_one_source_at_once(path: Path) -> None:
    source = LocalFile(path)
    wrong: list[int] = []

    def check(offset: int) -> None:
        expected = bytes(range(offset, offset + 20))
        wrong.extend(offset for _ in range(200) if source.read_at(offset, 20) != expected)

    threads = [threading.Thread(target=check, args=(10 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_sibling_is_held_to_the_same_limit_and_roots(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.meta").write_bytes(b"meta")
    (root / "a.data").write_bytes(b"data")
    (root / "large.data").write_bytes(bytes(11))
    (tmp_path / "outside.data").write_bytes(b"secret")
    (root / "link.data").symlink_to(tmp_path / "outside.data")
    source = LocalFile(root / "a.meta", max_bytes=10, roots=(root.resolve(),))
    assert source.sibling("a.data").read_at(0, 4) == b"data"
    with pytest.raises(RecordingTooLarge, match="at most 10"):
        source.sibling("large.data")
    with pytest.raises(LocationRefused, match="outside of the folders"):
        source.sibling("link.data")
