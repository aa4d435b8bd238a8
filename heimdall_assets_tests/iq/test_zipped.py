"""Members of zip archives: honest ones are read in place, others refused before they cost anything."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from contextlib import closing
from datetime import UTC, datetime

import pytest

from heimdall_assets.errors import (
    LocationRefused,
    MalformedRecording,
    RecordingError,
    RecordingNotFound,
    RecordingTooLarge,
    TruncatedRecording,
    UnknownFormat,
)
from heimdall_assets.iq.zipped import MAX_DIRECTORY_BYTES, ZipArchive, is_zip, open_member
from heimdall_assets_tests.iq.builders import MemorySource, components
from heimdall_assets_tests.iq.mutations import zip_by_hand
from heimdall_assets_tests.iq.specimens import zipped

CONTENT = components(50_000, "<i2").tobytes()


def source(content: bytes) -> MemorySource:
    return MemorySource(content, "all.zip")


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def read_whole(opened: MemorySource, name: str, max_bytes: int | None) -> bytes:
    with closing(open_member(opened, name, max_bytes)) as member:
        return member.read_at(0, member.size_bytes)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_range_of_a_member_is_read(method: int) -> None:
    content = zipped({"a/rx.cs16": CONTENT, "a/b": b"other"}, method)
    assert is_zip(content[:512])
    with_member = open_member(source(content), "a/rx.cs16", None)
    assert (with_member.name, with_member.size_bytes) == ("rx.cs16", len(CONTENT))
    for offset, count in ((0, 10), (150_000, 50_000), (7, 1000), (0, len(CONTENT)), (len(CONTENT), 0), (3, 0)):
        assert with_member.read_at(offset, count) == CONTENT[offset : offset + count]
    with pytest.raises(TruncatedRecording, match="ends at byte 200000, before 200001"):
        with_member.read_at(200_000, 1)
    assert with_member.sibling("b").read_at(0, 5) == b"other"
    with pytest.raises(RecordingNotFound, match=r"all\.zip has no member 'a/gone'"):
        with_member.sibling("gone")


def test_a_stored_member_costs_its_range_only() -> None:
    opened = source(zipped({"rx.cs16": CONTENT}, zipfile.ZIP_STORED))
    member = open_member(opened, "rx.cs16", None)
    assert opened.bytes_read < 70_000  # the directory is searched for in the last 64 KiB
    opened.reads.clear()
    member.read_at(1000, 10)
    assert [count for _, count in opened.reads] == [10]
    assert member.cheap_seeks


def test_the_archive_is_closed_with_the_last_member() -> None:
    opened = source(zipped({"a": b"1", "b": b"2"}))
    first = open_member(opened, "a", None)
    second = first.sibling("b")
    first.close()
    first.close()
    assert not opened.closed
    assert second.read_at(0, 1) == b"2"
    with pytest.raises(ValueError, match="a is closed"):
        first.read_at(0, 1)
    second.close()
    assert opened.closed


def test_identity_and_time_are_those_of_the_member_in_this_archive() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(zipfile.ZipInfo("rx", (2024, 3, 2, 10, 20, 30)), b"abc")
    member = open_member(source(buffer.getvalue()), "rx", None)
    assert member.etag == f"etag-{len(buffer.getvalue())}/{zlib.crc32(b'abc'):08x}-3"
    assert member.modified_at == datetime(2024, 3, 2, 10, 20, 30, tzinfo=UTC)


def test_names_in_any_script_are_found() -> None:
    for name in ("Übung 1.wav", "録音.wav", "a b.wav"):
        assert open_member(source(zipped({name: b"x"})), name, None).read_at(0, 1) == b"x"


class TestRefusals:
    def refused(self, content: bytes, name: str = "rx.cu8", max_bytes: int | None = None) -> RecordingError:
        """The error of opening a member and reading all of it; everything is closed then."""
        opened = source(content)
        with pytest.raises(RecordingError) as caught:
            read_whole(opened, name, max_bytes)
        assert opened.closed
        return caught.value

    def test_what_is_no_archive_is_malformed(self) -> None:
        for content in (b"PK\3\4", b"x" * 1000, zipped({"rx.cu8": b"x"})[:-10]):
            error = self.refused(content)
            assert isinstance(error, MalformedRecording)
            assert "damaged zip archive" in error.message

    def test_folders_and_foreign_methods_and_encryption_are_refused_by_name(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as made:
            made.mkdir("rx.cu8")
        assert isinstance(self.refused(buffer.getvalue(), "rx.cu8/"), LocationRefused)
        error = self.refused(zipped({"rx.cu8": CONTENT}, zipfile.ZIP_BZIP2))
        assert isinstance(error, UnknownFormat)
        assert "method 12" in error.message
        content = bytearray(zipped({"rx.cu8": CONTENT}))
        content[content.rindex(b"PK\1\2") + 8] |= 1
        assert "is encrypted" in self.refused(bytes(content)).message

    def test_an_entry_without_a_name_does_no_harm(self) -> None:
        content = zipped({"rx.cu8": b"x", "ab": b"y"}).replace(b"ab", b"\0b")
        archive = ZipArchive(source(content))
        assert archive.names() == ["rx.cu8"]
        assert archive.open("rx.cu8").read_at(0, 1) == b"x"

    def test_a_member_named_twice_is_refused(self) -> None:
        twice = zip_by_hand([("rx.cu8", deflated(b"a"), 1, zlib.crc32(b"a"))] * 2)
        assert "has 2 members 'rx.cu8'" in self.refused(twice).message

    def test_a_name_that_differs_where_the_bytes_lie_is_refused(self) -> None:
        content = zipped({"rx.cu8": CONTENT}).replace(b"rx.cu8", b"ry.cu8", 1)
        assert "otherwise where its bytes lie" in self.refused(content).message

    def test_claimed_sizes_are_checked_before_anything_is_unpacked(self) -> None:
        error = self.refused(zipped({"rx.cu8": CONTENT}), max_bytes=1000)
        assert isinstance(error, RecordingTooLarge)
        assert "claims 200,000 bytes; at most 1,000" in error.message
        packed = deflated(b"abc")
        assert isinstance(self.refused(zip_by_hand([("rx.cu8", packed, 2**32 - 2, 0)])), RecordingTooLarge)

    def test_a_size_that_is_claimed_too_small_or_too_large_is_noticed(self) -> None:
        crc = zlib.crc32(CONTENT)
        for size in (len(CONTENT) - 4, len(CONTENT) + 4):
            error = self.refused(zip_by_hand([("rx.cu8", deflated(CONTENT), size, crc)]))
            assert isinstance(error, (MalformedRecording, TruncatedRecording))

    def test_a_flipped_bit_is_noticed_by_the_checksum(self) -> None:
        content = bytearray(zip_by_hand([("rx.cu8", deflated(CONTENT), len(CONTENT), 12345)]))
        assert "its checksum is not the one" in self.refused(bytes(content)).message

    def test_a_directory_larger_than_archives_of_recordings_have_is_not_read(self) -> None:
        content = zip_by_hand([("rx.cu8", deflated(b"x"), 1, 0)], repeats=30_000)
        opened = source(content)
        with pytest.raises(MalformedRecording, match="a header of"):
            ZipArchive(opened)
        assert opened.bytes_read < MAX_DIRECTORY_BYTES

    def test_a_member_that_ends_behind_the_archive_is_truncated(self) -> None:
        content = bytearray(zipped({"rx.cu8": CONTENT}))
        at = content.rindex(b"PK\1\2") + 20
        content[at : at + 4] = struct.pack("<I", len(content))
        assert isinstance(self.refused(bytes(content)), TruncatedRecording)
