"""SigMF recordings: ``.sigmf-meta`` beside ``.sigmf-data``, or both in a ``.sigmf`` archive.

SigMF is specified at https://sigmf.org. Metadata are parsed in ``metadata.py`` with the ``sigmf`` library, whose
reading of samples is not used: it maps local files only, and hashes whole files unless told not to. Ranges are read
from the data file, or from its place in the archive; nothing is extracted. ``core:sha512`` is not verified, which
would need every byte.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording, UnknownFormat
from heimdall_assets.iq import archive
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.raw import read_interleaved

if TYPE_CHECKING:
    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.sources import ByteSource

META, DATA = ".sigmf-meta", ".sigmf-data"
MAX_METADATA_BYTES = 4 * 1024**2
"""Ten thousand annotations; bounds what parsing them can allocate."""


def recognizes(source: ByteSource, head: bytes) -> bool:
    """Whether the file is a tar archive, or JSON that is called or looks like SigMF metadata."""
    if archive.is_tar(head):
        return True
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and (
        source.name.lower().endswith(META) or b'"core:' in head
    )


def read_header(source: ByteSource, hints: Hints) -> Header:  # noqa: ARG001
    """Read the header of an archive, or of the pair to which a metadata file belongs.

    Raises
    ------
    MalformedRecording, UnknownFormat
        The metadata or the archive is damaged, or describes what is not read.
    RecordingNotFound
        The other file of the pair is missing.
    TruncatedRecording, EmptyRecording
        The data ends within a sample, or has none.
    """
    if archive.is_tar(source.read_at(0, min(512, source.size_bytes))):
        return _read_archive(source)
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


def _read_archive(source: ByteSource) -> Header:
    members = archive.members(source)
    metas = [member for member in members if member.name.endswith(META)]
    if len(metas) != 1:
        raise UnknownFormat(f"{source.name} is an archive with {len(metas)} {META} files; SigMF recordings have one")
    wanted = metas[0].name.removesuffix(META) + DATA
    datas = [member for member in members if member.name == wanted]
    if len(datas) != 1:
        raise MalformedRecording(f"{source.name} is an archive with {len(datas)} members {wanted!a}; one is needed")
    return _header(source, metas[0], source, datas[0])


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
    num_samples, rest = divmod(data_place.size, facts.encoding.sample_bytes)
    if rest:
        raise TruncatedRecording(
            f"{data_place.name} has {data_place.size} bytes, not a multiple of the {facts.encoding.sample_bytes} "
            "of a sample"
        )
    if num_samples == 0:
        raise EmptyRecording(f"{data_place.name} has no samples")
    return Header(
        format="sigmf",
        num_samples=num_samples,
        read=partial(read_interleaved, data, facts.encoding, data_place.offset),
        sample_rate_hz=facts.sample_rate_hz,
        center_frequency_hz=facts.center_frequency_hz,
        start_time=facts.start_time,
        others=others,
    )


FORMATS = (
    Format(
        name="sigmf",
        description="SigMF: metadata beside data, or an archive of both",
        read_header=read_header,
        suffixes=(META, ".sigmf"),
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
