"""Objects of fsspec's file systems: ranges, refusals, and every client's errors in the project's words."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

from heimdall_assets.errors import (
    HeimdallError,
    LocationRefused,
    RecordingNotFound,
    RecordingTooLarge,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq import open_iq
from heimdall_assets.iq.stores import open_url
from heimdall_assets_tests.iq.builders import components
from heimdall_assets_tests.iq.specimens import memory

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(200))
URL = "memory://iq/rx.cf32"


class Odd(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store with moods: it keeps account of what is read, fails, lies about sizes or ignores ranges."""

    protocol = "odd"
    cachable = False
    error: ClassVar[Exception | None] = None
    facts: ClassVar[dict[str, Any]] = {}
    surplus: ClassVar[bytes] = b""
    reads: ClassVar[list[tuple[int, int]]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("odd://")))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {**super().info(path, **options), **self.facts}

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        self.reads.append((start, end))
        if self.error is not None:
            raise self.error
        return bytes(super().cat_file(path, start, end)) + self.surplus


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fsspec.register_implementation("odd", Odd, clobber=True)
    monkeypatch.setattr(Odd, "reads", [])
    memory().pipe_file("/iq/rx.cf32", CONTENT)
    yield
    memory().store.clear()


def test_an_object_hands_out_exactly_the_bytes_of_a_range() -> None:
    source = open_url("odd://iq/rx.cf32")
    assert (source.name, source.size_bytes) == ("rx.cf32", 200)
    assert source.read_at(3, 10) == CONTENT[3:13]
    assert source.read_at(200, 0) == b""
    assert Odd.reads == [(3, 13)]
    source.close()
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        source.read_at(0, 1)


@pytest.mark.parametrize(("offset", "count"), [(-1, 4), (0, 201), (190, 11), (10**30, 1), (0, -1)])
def test_a_range_outside_of_the_object_is_refused_without_asking_the_store(offset: int, count: int) -> None:
    with pytest.raises(TruncatedRecording, match="ends at byte 200"):
        open_url("odd://iq/rx.cf32").read_at(offset, count)
    assert Odd.reads == []


def test_a_recording_is_read_in_the_ranges_of_its_samples() -> None:
    memory().pipe_file("/iq/long.cf32", components(100_000, "<f4").tobytes())
    with open_iq("odd://iq/long.cf32") as recording:
        Odd.reads.clear()
        assert len(recording.read(1000, 10)) == 10
    assert Odd.reads == [(8000, 8080)]


def test_the_etag_is_the_stores_own_and_changes_with_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_url(URL).etag
    assert open_url(URL).etag == first
    memory().pipe_file("/iq/rx.cf32", CONTENT[::-1])
    assert open_url(URL).etag != first
    monkeypatch.setattr(Odd, "facts", {"ETag": '"0a1b"'})
    assert open_url("odd://iq/rx.cf32").etag == "0a1b-200"
    monkeypatch.setattr(Odd, "facts", {"created": None})
    without = open_url("odd://iq/rx.cf32").etag
    monkeypatch.setattr(Odd, "facts", {"created": None, "generation": 2})
    assert open_url("odd://iq/rx.cf32").etag != without


@pytest.mark.parametrize("key", ["LastModified", "mtime", "created"])
def test_the_time_of_the_last_change_is_utc(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    moment = datetime(2024, 3, 2, 10, tzinfo=UTC)
    for value in (moment, moment.replace(tzinfo=None), moment.timestamp()):
        monkeypatch.setattr(Odd, "facts", {"created": None, key: value})
        assert open_url("odd://iq/rx.cf32").modified_at == moment
    monkeypatch.setattr(Odd, "facts", {"created": 1e300, "mtime": "yesterday"})
    assert open_url("odd://iq/rx.cf32").modified_at is None


def test_a_sibling_lies_in_the_same_folder_under_the_same_limit() -> None:
    memory().pipe_file("/iq/other.bin", bytes(300))
    memory().pipe_file("/top.bin", b"x")
    source = open_url(URL, 250)
    with pytest.raises(RecordingTooLarge, match=r"memory://iq/other\.bin has 300 bytes; at most 250"):
        source.sibling("other.bin")
    assert open_url(URL).sibling("other.bin").size_bytes == 300
    assert open_url("memory://top.bin").sibling("top.bin").read_at(0, 1) == b"x"
    with pytest.raises(RecordingNotFound, match=r"memory://iq/gone\.bin does not exist"):
        source.sibling("gone.bin")


class TestRefusals:
    def test_missing_objects_folders_and_large_ones_are_told_apart(self) -> None:
        with pytest.raises(RecordingNotFound, match="memory://iq/gone does not exist"):
            open_url("memory://iq/gone")
        with pytest.raises(LocationRefused, match="is a directory, not a file"):
            open_url("memory://iq")
        with pytest.raises(RecordingTooLarge, match="has 200 bytes; at most 199"):
            open_url(URL, 199)

    @pytest.mark.parametrize("size", [None, -1, "200"])
    def test_an_object_of_unknown_size_is_not_read(self, monkeypatch: pytest.MonkeyPatch, size: object) -> None:
        monkeypatch.setattr(Odd, "facts", {"size": size})
        with pytest.raises(StoreUnavailable, match="does not tell its size"):
            open_url("odd://iq/rx.cf32")

    def test_an_object_that_became_shorter_is_truncated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Odd, "facts", {"size": 300})
        with pytest.raises(TruncatedRecording, match="became shorter"):
            open_url("odd://iq/rx.cf32").read_at(150, 100)

    def test_a_store_that_ignores_ranges_is_unavailable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Odd, "surplus", b"more")
        with pytest.raises(StoreUnavailable, match="sends more than is asked for"):
            open_url("odd://iq/rx.cf32").read_at(0, 10)

    @pytest.mark.parametrize(
        ("error", "kind", "why"),
        [
            (FileNotFoundError("rx.cf32"), RecordingNotFound, "does not exist"),
            (PermissionError("403 Forbidden"), StoreUnavailable, "cannot be read: 403 Forbidden"),
            (TimeoutError(), StoreUnavailable, "cannot be read: TimeoutError"),
            (ConnectionResetError("reset by peer"), StoreUnavailable, "reset by peer"),
            (RuntimeError("no credentials for s3://me:secret@b/k"), StoreUnavailable, r"for s3://\*\*\*@b/k"),
        ],
    )
    def test_what_a_client_raises_is_the_projects_error(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[HeimdallError], why: str
    ) -> None:
        monkeypatch.setattr(Odd, "error", error)
        with pytest.raises(kind, match=why) as caught:
            open_url("odd://iq/rx.cf32").read_at(0, 10)
        assert caught.value.__cause__ is error
        assert caught.value.transient

    def test_a_scheme_that_nobody_knows_is_refused_and_a_missing_package_is_named(self) -> None:
        with pytest.raises(LocationRefused, match="'nope://b/k' is refused: Protocol not known: nope"):
            open_iq("nope://b/k")
        with pytest.raises(StoreUnavailable, match=r"dropbox://me/rx\.npy cannot be read: .*dropbox") as caught:
            open_iq("dropbox://me/rx.npy")
        assert caught.value.transient


def test_paths_do_not_pay_for_fsspec() -> None:
    code = (
        "import sys; from heimdall_assets.iq import open_iq\n"
        "try: open_iq('/nowhere/rx.npy')\nexcept Exception: pass\n"
        "sys.exit('fsspec' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
