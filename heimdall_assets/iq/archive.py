"""Members of a tar archive, found without extracting and without trusting it.

Headers are parsed by the standard library's ``tarfile`` over a stream that refuses large reads: a header may claim
any size for its extensions. Only regular files with harmless names are handed on; nothing is written anywhere.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from heimdall_assets.errors import MalformedRecording, TruncatedRecording
from heimdall_assets.iq.stream import Stream

if TYPE_CHECKING:
    from heimdall_assets.iq.sources import ByteSource

MAX_MEMBERS = 64
"""An archive of one recording has two members and perhaps a folder; bounds the walk, also over headers in a loop."""
MAX_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, where its content begins, and its size in bytes."""

    name: str
    offset: int
    size: int


def is_tar(head: bytes) -> bool:
    """Whether a file begins with the header of a POSIX or GNU tar archive."""
    return head[257:262] == b"ustar"


def members(source: ByteSource) -> list[Member]:
    """Regular files of an archive.

    Raises
    ------
    MalformedRecording
        A header is damaged, a name leads out of the archive, a member is a link or a device, or there are too many.
    TruncatedRecording
        A member reaches beyond the end of the file.
    """
    try:
        with tarfile.open(fileobj=Stream(source, MAX_READ_BYTES), mode="r:", errors="surrogateescape") as archive:
            return _members(source, archive)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise MalformedRecording(f"{source.name} is a damaged tar archive: {error}") from error


def _members(source: ByteSource, archive: tarfile.TarFile) -> list[Member]:
    found: list[Member] = []
    for _ in range(MAX_MEMBERS):
        entry = archive.next()
        if entry is None:
            return found
        path = PurePosixPath(entry.name)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.name:
            raise MalformedRecording(f"{source.name} holds a member {entry.name!a}, which leads out of the archive")
        if entry.isdir():
            continue
        if not entry.isreg() or entry.issparse():
            raise MalformedRecording(f"{source.name} holds {entry.name!a}, which is no plain file")
        if entry.size < 0 or entry.offset_data < 0:
            raise MalformedRecording(f"{source.name} claims {entry.size} bytes for its member {entry.name!a}")
        if entry.offset_data + entry.size > source.size_bytes:
            raise TruncatedRecording(
                f"{source.name} has {source.size_bytes} bytes; its member {entry.name!a} ends at "
                f"{entry.offset_data + entry.size}"
            )
        found.append(Member(entry.name, entry.offset_data, entry.size))
    raise MalformedRecording(f"{source.name} has more than {MAX_MEMBERS} members")
