"""One small recording of every format and encoding, with its samples by definition; and places to keep it in."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets_tests.iq import builders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

COUNT = 600
PLACES = ("path", "file", "memory", "zip-stored", "zip-deflated", "zip-in-memory")


@dataclass(frozen=True)
class Specimen:
    """A recording: its files, the one that it is opened by, its format and its samples."""

    name: str
    format: str
    opened: str
    files: dict[str, bytes]
    samples: NDArray[np.complex64]

    @property
    def content(self) -> bytes:
        """Bytes of the file that it is opened by."""
        return self.files[self.opened]


def _stored(kind: str) -> tuple[bytes, NDArray[np.complex64]]:
    """Interleaved components of a type, and the samples that they stand for.

    ``<i3`` is made of Python's own integers. Integers of n bits have a full scale of 2^(n-1) if they are signed, and
    are centred and scaled on (2^n - 1) / 2 if not.
    """
    if kind[1:] == "i3":
        values = np.random.default_rng(3).integers(-(2**23), 2**23, 2 * COUNT)
        values[:2] = -(2**23), 2**23 - 1
        order = "big" if kind[0] == ">" else "little"
        raw = b"".join(int(value).to_bytes(3, order, signed=True) for value in values)  # type: ignore[arg-type]
        return raw, builders.expected(values, 2.0**23)
    components = builders.components(COUNT, kind)
    bits = 8 * components.dtype.itemsize
    full_scale, midpoint = {
        "f": (1.0, 0.0),
        "i": (2.0 ** (bits - 1), 0.0),
        "u": ((2.0**bits - 1) / 2, (2.0**bits - 1) / 2),
    }[components.dtype.kind]
    return components.tobytes(), builders.expected(components, full_scale, midpoint)


def _raw() -> Iterator[Specimen]:
    for name, kind in {"cf32": "<f4", "cs16": "<i2", "cs8": "|i1", "cu8": "|u1"}.items():
        raw, samples = _stored(kind)
        yield Specimen(name, name, f"rx.{name}", {f"rx.{name}": raw}, samples)


def _npy() -> Iterator[Specimen]:
    kinds = {"<c8": "<f4", ">c8": ">f4", "<c16": "<f8", ">c16": ">f8"}
    for descr, kind in kinds.items():
        raw, samples = _stored(kind)
        yield Specimen(f"npy-{descr}", "npy", "rx.npy", {"rx.npy": builders.npy(descr, (COUNT,), raw)}, samples)
    for kind in ("<f4", ">f4", "<f8", "|i1", "|u1", "<i2", ">i2", "<i4", ">i4"):
        raw, samples = _stored(kind)
        pairs = {"rx.npy": builders.npy(kind, (COUNT, 2), raw)}
        yield Specimen(f"npy-pairs-{kind}", "npy", "rx.npy", pairs, samples)
        planes = np.frombuffer(raw, kind).reshape(COUNT, 2).T.tobytes()
        columns = {"rx.npy": builders.npy(kind, (COUNT, 2), planes, fortran=True, version=3)}
        yield Specimen(f"npy-columns-{kind}", "npy", "rx.npy", columns, samples)


def _wav() -> Iterator[Specimen]:
    kinds = {"|u1": (8, 1), "<i2": (16, 1), "<i3": (24, 1), "<i4": (32, 1), "<f4": (32, 3), "<f8": (64, 3)}
    for kind, (bits, tag) in kinds.items():
        raw, samples = _stored(kind)
        for extensible in (False, True):
            chunks = [(b"fmt ", builders.fmt(bits=bits, tag=tag, extensible=extensible)), (b"data", raw)]
            whole = builders.riff(*chunks)
            name = f"wav-{kind}{'-extensible' if extensible else ''}"
            yield Specimen(name, "wav", "rx.wav", {"rx.wav": whole}, samples)
    raw, samples = _stored("<i2")
    whole = builders.riff((b"fmt ", builders.fmt()), (b"auxi", builders.auxi()), (b"data", raw), (b"LIST", b"INFOx"))
    yield Specimen("wav-auxi", "wav", "rx_145500000Hz_IQ.wav", {"rx_145500000Hz_IQ.wav": whole}, samples)
    sizes = struct.pack("<QQQI", 0, len(raw), 0, 0)
    inner = b"WAVE" + b"ds64" + struct.pack("<I", len(sizes)) + sizes
    inner += b"fmt " + struct.pack("<I", 16) + builders.fmt() + b"data\xff\xff\xff\xff" + raw
    inner = inner.replace(sizes, struct.pack("<QQQI", len(inner), len(raw), 0, 0))
    yield Specimen("rf64", "wav", "rx.wav", {"rx.wav": b"RF64\xff\xff\xff\xff" + inner}, samples)


def _kiwi() -> Iterator[Specimen]:
    whole, values = builders.kiwi(12, rate_hz=375, block=16, stamps=[builders.stamp(k, 12000.0) for k in range(12)])
    name = "20171127T104156Z_77500_X_iq.wav"
    yield Specimen("kiwi", "kiwi", name, {name: whole}, builders.expected(values, 32768.0))
    unequal, values = builders.kiwi_unequal([11, 16, 0, 15, 16, 15, 16])
    yield Specimen("kiwi-unequal", "kiwi", name, {name: unequal}, builders.expected(values, 32768.0))


def _sigmf() -> Iterator[Specimen]:
    kinds = {"f32": "f4", "f64": "f8", "i8": "i1", "i16": "i2", "i32": "i4", "u8": "u1", "u16": "u2", "u32": "u4"}
    for word, kind in kinds.items():
        for ending, order in {"_le": "<", "_be": ">"}.items():
            datatype = f"c{word}" + ("" if word in {"i8", "u8"} else ending)
            raw, samples = _stored(order + kind)
            meta = builders.sigmf_meta({"core:datatype": datatype, "core:sample_rate": 48_000}, frequency=7e6)
            pair = {"rx.sigmf-meta": meta, "rx.sigmf-data": raw}
            whole = Specimen(f"sigmf-{datatype}", "sigmf", "rx.sigmf-meta", pair, samples)
            if ending == "_le":
                yield whole
                yield replace(whole, name=f"{whole.name}-by-data", opened="rx.sigmf-data")
            elif word not in {"i8", "u8"}:
                yield whole
    raw, samples = _stored("<i2")
    meta = builders.sigmf_meta({"core:datatype": "ci16_le", "core:sample_rate": 48_000}, frequency=7e6)
    inside = {"rx/rx.sigmf-meta": meta, "rx/rx.sigmf-data": raw}
    tar = builders.tar(inside)
    archives = {"": tar, ".gz": gzip.compress(tar), ".xz": lzma.compress(tar), ".zip": zipped(inside)}
    for suffix, packed in archives.items():
        yield Specimen(f"sigmf{suffix}", "sigmf", f"rx.sigmf{suffix}", {f"rx.sigmf{suffix}": packed}, samples)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return buffer.getvalue()


SPECIMENS = (*_raw(), *_npy(), *_wav(), *_kiwi(), *_sigmf())


def placed(specimen: Specimen, place: str, folder: Path) -> str:
    """Put a specimen into a place; the path or URL to open it by."""
    if place in {"path", "file"}:
        for name, content in specimen.files.items():
            (folder / name).write_bytes(content)
        return f"{'file://' if place == 'file' else ''}{folder / specimen.opened}"
    if place == "memory":
        for name, content in specimen.files.items():
            memory().pipe_file(f"/iq/session/{name}", content)
        return f"memory://iq/session/{specimen.opened}"
    method = zipfile.ZIP_STORED if place == "zip-stored" else zipfile.ZIP_DEFLATED
    archive = zipped({f"session/{name}": content for name, content in specimen.files.items()}, method)
    if place == "zip-in-memory":
        memory().pipe_file("/iq/all.zip", archive)
        return f"zip://session/{specimen.opened}::memory://iq/all.zip"
    (folder / "all.zip").write_bytes(archive)
    return f"zip://session/{specimen.opened}::{folder / 'all.zip'}"


def memory() -> Any:
    """Fsspec's file system in memory."""
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415  # tests of other rooms import the builders only

    return fsspec.filesystem("memory")
