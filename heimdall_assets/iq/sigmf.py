"""SigMF recordings: ``.sigmf-meta`` beside ``.sigmf-data``, or both in a ``.sigmf`` archive.

Archives are tar files; the ``sigmf`` library also writes them compressed (``.sigmf.gz``, ``.sigmf.xz``) and as
``.sigmf.zip``, and so all four are read.

SigMF is specified at https://sigmf.org. Metadata are parsed in ``metadata.py`` with the ``sigmf`` library, whose
reading of samples is not used: it maps local files only, and hashes whole files unless told not to. Ranges are read
from the data file, or from its place in the archive; nothing is extracted. ``core:sha512`` is not verified, which
would need every byte.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from heimdall_assets.errors import MalformedRecording, UnknownFormat
from heimdall_assets.iq import archive, unpacking, zipped
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.raw import read_interleaved, whole_samples

if TYPE_CHECKING:
    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.sources import ByteSource

TAR_HEAD_BYTES = 512
META, DATA = ".sigmf-meta", ".sigmf-data"
MAX_METADATA_BYTES = 4 * 1024**2
"""Ten thousand annotations; bounds what parsing them can allocate."""


def recognizes(source: ByteSource, head: bytes) -> bool:
    """Whether the file is an archive, compressed ones included, or JSON that is called or looks like SigMF metadata."""
    if archive.is_tar(head) or zipped.is_zip(head) or archive.is_tar(unpacking.peek(head, TAR_HEAD_BYTES)):
        return True
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and (
        source.name.lower().endswith(META) or b'"core:' in head
    )


def read_header(source: ByteSource, hints: Hints) -> Header:
    """Read the header of an archive, or of the pair to which a metadata file belongs.

    Raises
    ------
    MalformedRecording, UnknownFormat
        The metadata or the archive is damaged, or describes what is not read.
    RecordingNotFound
        The other file of the pair is missing.
    EmptyRecording
        The data has no whole sample.
    """
    head = source.read_at(0, min(TAR_HEAD_BYTES, source.size_bytes))
    if archive.is_tar(head):
        return _read_tar(source)
    if zipped.is_zip(head):
        return _read_zip(source, hints.get("max_bytes"))
    start = unpacking.decompressor_of(head)
    if start is not None:
        return _read_tar(unpacking.Unpacked(source, start, max_bytes=hints.get("max_bytes")))
    if not source.name.lower().endswith(META):
        raise UnknownFormat(f"{source.name} holds SigMF metadata, but its name does not end in {META}")
    data = source.sibling(source.name[: -len(META)] + DATA)
    return _read_pair(source, data, other=data)


def read_data_header(source: ByteSource, hints: Hints) -> Header:  # noqa: ARG001
    """Read the header of the pair to which a data file belongs; errors as of :func:`read_header`."""
    if not source.name.lower().endswith(DATA):
        raise UnknownFormat(f"{source.name} is neither a SigMF archive nor metadata, nor does it end in {DATA}")
    meta = source.sibling(source.name[: -len(DATA)] + META)
    return _read_pair(meta, source, other=meta)


def _read_pair(meta: ByteSource, data: ByteSource, other: ByteSource) -> Header:
    """Header of two files, of which ``other`` was opened here."""
    try:
        return _header(
            meta, archive.Member(meta.name, 0, meta.size_bytes), data, archive.Member(data.name, 0, data.size_bytes),
            others=(other,),
        )  # fmt: skip
    except BaseException:
        other.close()
        raise


def _read_tar(source: ByteSource) -> Header:
    members = archive.members(source)
    meta, data = _pair([member.name for member in members], source.name)
    places = {member.name: member for member in members}
    return _header(source, places[meta], source, places[data])


def _read_zip(source: ByteSource, max_bytes: int | None) -> Header:
    opened = zipped.ZipArchive(source)
    meta_name, data_name = _pair(opened.names(), source.name)
    meta, data = opened.open(meta_name, max_bytes), opened.open(data_name, max_bytes)
    return _header(
        meta, archive.Member(meta_name, 0, meta.size_bytes), data, archive.Member(data_name, 0, data.size_bytes)
    )


def _pair(names: list[str], name: str) -> tuple[str, str]:
    """The one metadata file among an archive's members, and its data file."""
    metas = [member for member in names if member.endswith(META)]
    if len(metas) != 1:
        raise UnknownFormat(f"{name} is an archive with {len(metas)} {META} files; SigMF recordings have one")
    wanted = metas[0].removesuffix(META) + DATA
    if names.count(wanted) != 1:
        raise MalformedRecording(f"{name} is an archive with {names.count(wanted)} members {wanted!a}; one is needed")
    return metas[0], wanted


def _header(
    meta: ByteSource,
    meta_place: archive.Member,
    data: ByteSource,
    data_place: archive.Member,
    others: tuple[ByteSource, ...] = (),
) -> Header:
    """Header from the places of metadata and data."""
    if meta_place.size > MAX_METADATA_BYTES:
        raise MalformedRecording(f"{meta_place.name} has {meta_place.size} bytes; at most {MAX_METADATA_BYTES}")
    # The sigmf library brings jsonschema: 0.2 s of imports that no other format needs.
    from heimdall_assets.iq import metadata  # noqa: PLC0415

    facts = metadata.parse(meta.read_at(meta_place.offset, meta_place.size), meta_place.name)
    num_samples, remarks = whole_samples(data_place.size, facts.encoding, data_place.name)
    return Header(
        format="sigmf",
        num_samples=num_samples,
        read=partial(read_interleaved, data, facts.encoding, data_place.offset),
        sample_rate_hz=facts.sample_rate_hz,
        center_frequency_hz=facts.center_frequency_hz,
        start_time=facts.start_time,
        steady_samples=facts.steady_samples,
        remarks=remarks,
        others=others,
    )


FORMATS = (
    Format(
        name="sigmf",
        description="SigMF: metadata beside data, or an archive of both",
        read_header=read_header,
        suffixes=(META, ".sigmf"),  # content tells the compressed ones
        recognizes=recognizes,
    ),
    Format(
        name="sigmf-data",
        description="SigMF, named by its data file",
        read_header=read_data_header,
        suffixes=(DATA,),
        aliases=("sigmf",),
    ),
)
