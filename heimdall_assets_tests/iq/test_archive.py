"""tar archives: honest ones are indexed, others refused before they cost anything."""

from __future__ import annotations

import io
import tarfile

import pytest

from heimdall_assets.errors import MalformedRecording, TruncatedRecording
from heimdall_assets.iq.archive import Member, is_tar, members
from heimdall_assets_tests.iq.builders import MemorySource, tar


def with_entry(entry: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        made.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_found_where_they_lie(form: int) -> None:
    content = tar({"rx/rx.sigmf-meta": b"meta", "rx/rx.sigmf-data": bytes(1000)}, form)
    source = MemorySource(content)
    assert is_tar(content[:512])
    found = members(source)
    assert [member.name for member in found] == ["rx/rx.sigmf-meta", "rx/rx.sigmf-data"]
    assert [content[member.offset : member.offset + member.size] for member in found] == [b"meta", bytes(1000)]


def test_the_index_costs_headers_only() -> None:
    source = MemorySource(tar({"a": bytes(5_000_000), "b": b"x"}))
    assert len(members(source)) == 2
    assert source.bytes_read < 10_000


def test_long_names_and_fractional_times_do_no_harm() -> None:
    name = "x" * 150 + ".sigmf-meta"
    entry = tarfile.TarInfo(name)
    entry.mtime = 1_700_000_000.25  # what os.stat gives, and a pax header holds
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert [member.name for member in members(MemorySource(with_entry(entry, form)))] == [name]


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\\b"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(MalformedRecording, match="leads out of the archive"):
        members(MemorySource(tar({name: b"x"})))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind: bytes) -> None:
    entry = tarfile.TarInfo("rx.sigmf-data")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(MalformedRecording, match="is no plain file"):
        members(MemorySource(with_entry(entry)))


def test_a_member_that_ends_behind_the_file_is_truncated() -> None:
    content = tar({"a": bytes(1000), "b": bytes(100_000)})
    with pytest.raises(TruncatedRecording, match=r"its member 'b' ends at 102\d\d\d"):
        members(MemorySource(content[:50_000]))


def test_more_members_than_recordings_have_are_refused() -> None:
    source = MemorySource(tar({str(number): b"" for number in range(500)}))
    with pytest.raises(MalformedRecording, match="more than 64 members"):
        members(source)


def test_an_extended_header_that_claims_megabytes_is_not_read() -> None:
    entry = tarfile.TarInfo("././@PaxHeader")
    entry.type, entry.size = tarfile.XHDTYPE, 50_000_000
    source = MemorySource(entry.tobuf(tarfile.USTAR_FORMAT) + bytes(50_010_000))
    with pytest.raises(MalformedRecording, match="damaged tar archive: a header of"):
        members(source)
    assert source.bytes_read < 5000


def test_a_size_below_zero_is_refused_and_never_loops() -> None:
    first = tarfile.TarInfo("a")
    raw = bytearray(first.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 10 + (-512 & 0xFFFF).to_bytes(2, "big")  # base-256, as GNU writes large sizes
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
    with pytest.raises(MalformedRecording, match=r"claims -512 bytes|damaged tar archive"):
        members(MemorySource(bytes(raw) + bytes(10240)))


def test_a_damaged_header_is_malformed() -> None:
    content = bytearray(tar({"a": b"x"}))
    content[0] ^= 1
    with pytest.raises(MalformedRecording, match="damaged tar archive"):
        members(MemorySource(bytes(content)))


def test_an_archive_of_nothing_has_no_members() -> None:
    assert members(MemorySource(tar({}))) == []
    assert members(MemorySource(tar({"a": b""})))[0] == Member("a", 512, 0)
