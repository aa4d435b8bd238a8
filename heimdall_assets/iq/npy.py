"""NumPy's .npy files.

The layout is that of NEP 1 and ``numpy.lib.format``: magic, version, length of the header, and a Python literal
of a dictionary with ``descr``, ``fortran_order`` and ``shape``; then the array's bytes. The header is read as a
literal and never evaluated, and object arrays (pickles) are refused. ``numpy.load`` is not used since it trusts
the shape and reads everything.

Read are complex64 and complex128 of shape (n,) (ones around n do no harm), and pairs of real numbers of shape
(n, 2): float32, float64, and the integers of the raw formats with their scaling. Either byte order; C and Fortran
order.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.raw import read_interleaved
from heimdall_assets.iq.samples import CS8, CS16, CS32, CU8, Encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.sources import ByteSource

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000
"""numpy's own limit; an array of samples needs about a hundred."""

COMPLEX = {"c8", "c16"}
PAIRS = {
    "f4": (1.0, 0.0),
    "f8": (1.0, 0.0),
    "i1": (CS8.full_scale, 0.0),
    "u1": (CU8.full_scale, CU8.midpoint),
    "i2": (CS16.full_scale, 0.0),
    "i4": (CS32.full_scale, 0.0),
}
"""Component types of (n, 2) arrays with their full scale and midpoint."""


def recognizes(source: ByteSource, head: bytes) -> bool:  # noqa: ARG001
    """Whether the file begins with numpy's magic bytes."""
    return head.startswith(MAGIC)


def read_header(source: ByteSource, hints: Hints) -> Header:  # noqa: ARG001
    """Read the header of a .npy file.

    Raises
    ------
    MalformedRecording
        The header cannot be understood, describes something other than IQ, or bytes follow the array.
    TruncatedRecording
        The file ends within the header or the array.
    EmptyRecording
        The array has no samples.
    """
    fields, offset = _fields(source)
    encoding, shape, planar = _layout(source.name, fields)
    num_samples = math.prod(shape) if encoding.code[1] == "c" else shape[0]
    if num_samples == 0:
        raise EmptyRecording(f"{source.name} holds an array of shape {shape}: no samples")
    end = offset + num_samples * encoding.sample_bytes
    if end > source.size_bytes:
        raise TruncatedRecording(
            f"{source.name} has {source.size_bytes} bytes; its header announces {end} (shape {shape})"
        )
    if end < source.size_bytes:
        raise MalformedRecording(
            f"{source.name} has {source.size_bytes} bytes, more than the {end} that its header announces"
        )
    read = (
        Planar(source, encoding, offset, num_samples).read
        if planar
        else partial(read_interleaved, source, encoding, offset)
    )
    return Header(format="npy", num_samples=num_samples, read=read)


def _fields(source: ByteSource) -> tuple[dict[str, object], int]:
    """The header's dictionary, and where the array begins."""
    version = source.read_at(len(MAGIC), 2)
    length_bytes = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(version)
    if length_bytes is None:
        raise MalformedRecording(f"{source.name} claims .npy version {version[0]}.{version[1]}; 1.0 to 3.0 exist")
    begin = len(MAGIC) + 2 + length_bytes
    length = int.from_bytes(source.read_at(len(MAGIC) + 2, length_bytes), "little")
    if length > MAX_HEADER_BYTES:
        raise MalformedRecording(f"{source.name} claims a header of {length} bytes; at most {MAX_HEADER_BYTES}")
    raw = source.read_at(begin, length)
    try:
        fields = ast.literal_eval(raw.decode("utf-8" if version[0] == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise MalformedRecording(f"{source.name} has a .npy header that is no Python literal") from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise MalformedRecording(f"{source.name} has a .npy header without exactly descr, fortran_order and shape")
    return fields, begin + length


def _layout(name: str, fields: dict[str, object]) -> tuple[Encoding, tuple[int, ...], bool]:
    """Encoding, shape, and whether all I come before all Q."""
    descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    if not isinstance(descr, str):
        raise MalformedRecording(f"{name} holds records ({descr!r}), not samples")
    order, kind = descr[:1], descr[1:]
    if kind.startswith("O") or descr == "O":
        raise MalformedRecording(f"{name} holds Python objects, which are never loaded")
    if order not in {"<", ">", "|", "="} or not (kind in COMPLEX or kind in PAIRS):
        raise MalformedRecording(f"{name} holds {descr!r}, which is not a type of IQ samples")
    if not isinstance(fortran, bool):
        raise MalformedRecording(f"{name} has fortran_order={fortran!r}")
    if not isinstance(shape, tuple) or not all(type(extent) is int and extent >= 0 for extent in shape):
        raise MalformedRecording(f"{name} has shape={shape!r}")
    code = {"|": "<", "=": "<"}.get(order, order) + kind
    if kind in COMPLEX and len(shape) >= 1 and sum(extent != 1 for extent in shape) <= 1:
        return Encoding(code), shape, False
    if kind in PAIRS and len(shape) == 2 and shape[1] == 2:
        full_scale, midpoint = PAIRS[kind]
        return Encoding(code, full_scale, midpoint), shape, fortran
    raise MalformedRecording(f"{name} holds {descr!r} of shape {shape}; IQ is complex (n,) or real (n, 2)")


@dataclass(frozen=True, slots=True)
class Planar:
    """Samples of a Fortran-ordered (n, 2) array, where all I come before all Q."""

    source: ByteSource
    encoding: Encoding
    offset: int
    num_samples: int

    def read(self, start: int, count: int) -> NDArray[np.complex64]:
        """Samples [start, start + count)."""
        width = self.encoding.sample_bytes // 2
        pairs = np.empty((count, 2), self.encoding.code)
        for column in range(2):
            begin = self.offset + (column * self.num_samples + start) * width
            pairs[:, column] = np.frombuffer(self.source.read_at(begin, count * width), self.encoding.code)
        return self.encoding.decode(pairs.tobytes())


FORMAT = Format(
    name="npy",
    description="numpy array: complex (n,), or real (n, 2)",
    read_header=read_header,
    suffixes=(".npy",),
    aliases=("numpy",),
    recognizes=recognizes,
)
