"""Members of a zip archive as byte sources, without extracting and without trusting the archive.

The directory is parsed by the standard library's ``zipfile`` over a stream that refuses large reads. Members are
read by their place: plain ones in ranges, deflated ones through ``unpacking.py``. Sizes are checked before anything
is unpacked, never more than the claimed size is made, and an overlap cannot multiply, since only members that were
asked for are read.
"""

from __future__ import annotations

import struct
import zipfile
from datetime import UTC, datetime
from pathlib import PurePosixPath

from heimdall_assets.errors import (
    LocationRefused,
    MalformedRecording,
    RecordingNotFound,
    RecordingTooLarge,
    TruncatedRecording,
    UnknownFormat,
)
from heimdall_assets.iq.sources import ByteSource
from heimdall_assets.iq.stream import Stream
from heimdall_assets.iq.unpacking import Unpacked, inflater

SIGNATURE = b"PK\x03\x04"
MAX_DIRECTORY_BYTES = 1 << 20
"""Some ten thousand members; bounds what their directory can allocate."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, then the lengths of name and extra field, before a member's bytes (APPNOTE.TXT 4.3.7)."""
ENCRYPTED = 1


def is_zip(head: bytes) -> bool:
    """Whether a file begins like a zip archive that has members."""
    return head.startswith(SIGNATURE)


class ZipArchive:
    """The directory of a zip archive.

    Parameters
    ----------
    source : ByteSource
        The archive.
    owns_source : bool
        Whether it is closed with the last member that was opened.

    Raises
    ------
    MalformedRecording
        The directory is damaged, or larger than is read.
    """

    def __init__(self, source: ByteSource, owns_source: bool = False) -> None:
        self.source = source
        self._owns_source = owns_source
        self._open_members = 0
        stream = Stream(source, MAX_DIRECTORY_BYTES)
        try:
            with zipfile.ZipFile(stream) as archive:
                self.entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error) as error:
            raise MalformedRecording(f"{source.name} is a damaged zip archive: {error}") from error

    def names(self) -> list[str]:
        """Names of the members that are files."""
        # An entry whose name begins with a NUL has none, and makes is_dir fail.
        return [entry.filename for entry in self.entries if entry.filename and not entry.is_dir()]

    def open(self, name: str, max_bytes: int | None = None) -> ZipMember:
        """Open a member.

        Raises
        ------
        RecordingNotFound
            There is none of this name.
        MalformedRecording, TruncatedRecording, RecordingTooLarge, UnknownFormat, LocationRefused
            See :class:`ZipMember`.
        """
        found = [entry for entry in self.entries if entry.filename == name]
        if not found:
            raise RecordingNotFound(f"{self.source.name} has no member {name!a}")
        if len(found) > 1:
            raise MalformedRecording(f"{self.source.name} has {len(found)} members {name!a}; one is needed")
        member = ZipMember(self, found[0], max_bytes)
        self._open_members += 1
        return member

    def release(self) -> None:
        """Take note that a member was closed."""
        self._open_members -= 1
        if self._owns_source and self._open_members == 0:
            self.source.close()


class ZipMember(ByteSource):
    """A member of a zip archive.

    Parameters
    ----------
    archive : ZipArchive
        Its archive.
    entry : ZipInfo
        Its entry of the directory.
    max_bytes : int or None
        Larger members are refused.

    Raises
    ------
    LocationRefused
        It is a folder.
    RecordingTooLarge
        It claims more than is allowed, or than samples of its compressed size would.
    UnknownFormat
        It is encrypted, or compressed by another method than deflate.
    MalformedRecording, TruncatedRecording
        Directory and member contradict each other, or the file's end.
    """

    def __init__(self, archive: ZipArchive, entry: zipfile.ZipInfo, max_bytes: int | None) -> None:
        self.name = PurePosixPath(entry.filename).name
        shown = f"{entry.filename!a} in {archive.source.name}"
        if entry.is_dir():
            raise LocationRefused(f"{shown} is a directory, not a file")
        if entry.flag_bits & ENCRYPTED:
            raise UnknownFormat(f"{shown} is encrypted")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise UnknownFormat(f"{shown} is compressed by method {entry.compress_type}, which is not read")
        if max_bytes is not None and entry.file_size > max_bytes:
            raise RecordingTooLarge(f"{shown} claims {entry.file_size:,} bytes; at most {max_bytes:,} are allowed")
        self.size_bytes = entry.file_size
        self.etag = f"{archive.source.etag}/{entry.CRC:08x}-{entry.file_size}"
        self.modified_at = _modified_at(entry)
        self._archive = archive
        self._path = PurePosixPath(entry.filename)
        self._max_bytes = max_bytes
        self._is_open = True
        self._offset = _content_offset(archive.source, entry)
        if self._offset + entry.compress_size > archive.source.size_bytes:
            raise TruncatedRecording(f"{shown} ends behind the end of the archive")
        self._unpacked: Unpacked | None = None
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            self._unpacked = Unpacked(
                archive.source, inflater, span=(self._offset, entry.compress_size), size_bytes=entry.file_size,
                crc=entry.CRC, name=self.name, max_bytes=max_bytes,
            )  # fmt: skip
        elif entry.compress_size != entry.file_size:
            raise MalformedRecording(f"{shown} is stored in {entry.compress_size} bytes, but claims {entry.file_size}")
        self.cheap_seeks = self._unpacked is None and archive.source.cheap_seeks

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes of [offset, offset + count) of the member; errors are those of :meth:`view_at`."""
        return bytes(self.view_at(offset, count))

    def view_at(self, offset: int, count: int) -> bytes | memoryview:
        """Bytes of [offset, offset + count) of the member, not copied where the archive holds them.

        Raises
        ------
        TruncatedRecording
            It ends before.
        MalformedRecording
            It cannot be unpacked, or not to what the directory claims.
        """
        if not self._is_open:
            raise ValueError(f"{self.name} is closed")
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise TruncatedRecording(
                f"{self.name} ends at byte {self.size_bytes}, before {offset + count}, which its header announces"
            )
        if self._unpacked is not None:
            return self._unpacked.read_at(offset, count)
        return self._archive.source.view_at(self._offset + offset, count)

    def sibling(self, name: str) -> ZipMember:
        """Another member of the same folder of the archive."""
        return self._archive.open(str(self._path.with_name(name)), self._max_bytes)

    def close(self) -> None:
        """Close the member, and the archive with the last one; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._archive.release()


def open_member(source: ByteSource, name: str, max_bytes: int | None) -> ZipMember:
    """Open a member of an archive, which is closed with it, or at once if it cannot be opened."""
    try:
        return ZipArchive(source, owns_source=True).open(name, max_bytes)
    except BaseException:
        source.close()
        raise


def _content_offset(source: ByteSource, entry: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header, which must be there and of the same name."""
    begin = entry.header_offset
    if begin < 0:
        raise MalformedRecording(f"{source.name} claims that {entry.filename!a} begins at byte {begin}")
    name_bytes: int
    extra_bytes: int
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(source.read_at(begin, LOCAL_HEADER.size))
    if signature != SIGNATURE:
        raise MalformedRecording(f"{source.name} has no member at byte {begin}, where {entry.filename!a} should begin")
    raw = source.read_at(begin + LOCAL_HEADER.size, name_bytes)
    if raw not in {entry.orig_filename.encode(encoding, "replace") for encoding in ("utf-8", "cp437")}:
        raise MalformedRecording(f"{source.name} calls {entry.filename!a} otherwise where its bytes lie")
    return begin + LOCAL_HEADER.size + name_bytes + extra_bytes


def _modified_at(entry: zipfile.ZipInfo) -> datetime | None:
    """Time of a member, taken as UTC, which zip archives do not say; None for one that is no time."""
    try:
        return datetime(*entry.date_time, tzinfo=UTC)
    except ValueError:
        return None
