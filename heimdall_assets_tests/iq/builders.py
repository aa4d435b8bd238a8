"""Files of every format, written with struct and numpy alone, and byte sources that count or pretend."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from heimdall_assets.errors import TruncatedRecording
from heimdall_assets.iq.sources import ByteSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 512
KIWI_RATE_HZ = 12001.145


class MemorySource(ByteSource):
    """Bytes in memory as a source that keeps account of what is read."""

    def __init__(self, content: bytes, name: str = "recording.bin", cheap_seeks: bool = True) -> None:
        self.content = content
        self.name = name
        self.size_bytes = len(content)
        self.etag = f"etag-{len(content)}"
        self.modified_at: datetime | None = datetime(2017, 11, 27, 10, 43, tzinfo=UTC)
        self.cheap_seeks = cheap_seeks
        self.reads: list[tuple[int, int]] = []
        self.siblings: dict[str, MemorySource] = {}
        self.closed = False

    @property
    def bytes_read(self) -> int:
        return sum(count for _, count in self.reads)

    def read_at(self, offset: int, count: int) -> bytes:
        if offset < 0 or count < 0 or offset + count > self.size_bytes:
            raise TruncatedRecording(f"{self.name} ends before byte {offset + count}")
        self.reads.append((offset, count))
        return self.content[offset : offset + count]

    def sibling(self, name: str) -> MemorySource:
        return self.siblings[name]

    def close(self) -> None:
        self.closed = True


def components(count: int, dtype: str, seed: int = 1) -> NDArray[np.generic]:
    """Interleaved I and Q over the whole range of an integer type, extremes included; floats are normal."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.standard_normal(2 * count).astype(kind)
    limits = np.iinfo(kind)
    values = rng.integers(limits.min, limits.max, 2 * count, dtype=np.int64, endpoint=True).astype(kind)
    values[:2] = limits.min, limits.max
    return values


def expected(values: NDArray[np.generic], full_scale: float = 1.0, midpoint: float = 0.0) -> NDArray[np.complex64]:
    """Samples by the definition, computed in double precision and rounded once."""
    scaled = (values.astype(np.float64) - midpoint) / full_scale
    return (scaled[::2] + 1j * scaled[1::2]).astype(np.complex64)


def npy(descr: str, shape: tuple[int, ...], data: bytes, fortran: bool = False, version: int = 1) -> bytes:
    """A .npy file, byte by byte after the format's specification."""
    header = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}".encode()
    width = 2 if version == 1 else 4
    header += b" " * (-(8 + width + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(width, "little") + header + data


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """A RIFF file of these chunks."""
    inner = b"WAVE" + b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(inner) if size is None else size) + inner


def fmt(rate_hz: int = 48000, bits: int = 16, tag: int = 1, channels: int = 2, extensible: bool = False) -> bytes:
    """Body of a fmt chunk."""
    frame = channels * bits // 8
    plain = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate_hz, rate_hz * frame, frame, bits)
    if not extensible:
        return plain
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return plain + struct.pack("<HHI", 22, bits, 3) + guid


def wav(values: bytes, **kind: int | bool) -> bytes:
    """A WAV file with these bytes as its samples."""
    return riff((b"fmt ", fmt(**kind)), (b"data", values))  # type: ignore[arg-type]  # bool is one of the ints


def stamp(number: int, rate_hz: float = KIWI_RATE_HZ, begin_ns: int = 124_934_000_000_000, age: int = 2) -> bytes:
    """Body of the kiwi chunk of block ``number``, its time of week rounded to ns."""
    time_ns = (begin_ns + round(number * BLOCK / rate_hz * 1e9)) % (604_800 * 10**9)
    return struct.pack("<BBII", age, 0, time_ns // 10**9, time_ns % 10**9)


def kiwi(
    num_blocks: int,
    stamps: list[bytes] | None = None,
    rate_hz: int = 12001,
    block: int = BLOCK,
    size: int | None = None,
) -> tuple[bytes, NDArray[np.generic]]:
    """A KiwiSDR WAV file and the I and Q in it."""
    values = components(num_blocks * block, "<i2")
    chunks: list[tuple[bytes, bytes]] = [(b"fmt ", fmt(rate_hz))]
    for number in range(num_blocks):
        chunks += [
            (b"kiwi", stamps[number] if stamps else stamp(number)),
            (b"data", values[2 * number * block : 2 * (number + 1) * block].tobytes()),
        ]
    return riff(*chunks, size=size), values


def kiwi_unequal(
    sizes: list[int], rate_hz: float = 12000.0, begin_s: int = 124_934
) -> tuple[bytes, NDArray[np.generic]]:
    """A KiwiSDR WAV file with blocks of these sizes, as ``--resample`` writes them, and the I and Q in it."""
    values = components(sum(sizes), "<i2")
    chunks: list[tuple[bytes, bytes]] = [(b"fmt ", fmt(12000))]
    begin = 0
    for size in sizes:
        time_ns = begin_s * 10**9 + round(begin / rate_hz * 1e9)
        chunks.append((b"kiwi", struct.pack("<BBII", 1, 0, time_ns // 10**9, time_ns % 10**9)))
        chunks.append((b"data", values[2 * begin : 2 * (begin + size)].tobytes()))
        begin += size
    return riff(*chunks), values


def auxi(center_hz: int = 145_500_000, start: tuple[int, ...] = (2024, 3, 2, 5, 12, 34, 56, 789)) -> bytes:
    """Body of an auxi chunk as SpectraVue and its successors write it."""
    return struct.pack("<8H8H", *start, *start) + struct.pack("<9I", center_hz, 2_400_000, *[0] * 7) + bytes(96)


def sigmf_meta(facts: dict[str, Any], **capture: Any) -> bytes:
    """A .sigmf-meta with one capture; cf32_le unless ``facts`` say otherwise."""
    first = {"core:sample_start": 0, **{f"core:{key}": value for key, value in capture.items()}}
    whole = {"core:datatype": "cf32_le", "core:version": "1.0.0", **facts}
    return json.dumps({"global": whole, "captures": [first], "annotations": []}).encode()


def tar(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An uncompressed tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
