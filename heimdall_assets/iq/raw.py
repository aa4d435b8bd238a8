"""Raw formats: interleaved I and Q without a header.

Nothing in such a file says what it is, so the format comes from a hint (the measurement's ``iq_data_format``), the
suffix, or the form of the name. Bytes after the last whole sample are ignored, with a remark. cf32 is what GNU
Radio's file sinks write, cu8 what ``rtl_sdr`` does (offset binary around 127.5), cs8 is ``hackrf_transfer``'s, cs16
that of USRPs and SDRplays; all little-endian.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from heimdall_assets.errors import EmptyRecording
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.samples import CF32, CS8, CS16, CU8, Encoding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.sources import ByteSource


def read_interleaved(
    source: ByteSource, encoding: Encoding, offset: int, start: int, count: int
) -> NDArray[np.complex64]:
    """Samples [start, start + count) of a stretch of interleaved samples that begins at byte ``offset``."""
    width = encoding.sample_bytes
    return encoding.decode(source.view_at(offset + start * width, count * width))


def whole_samples(size_bytes: int, encoding: Encoding, name: str) -> tuple[int, tuple[str, ...]]:
    """Samples in so many bytes, at least 1, and a remark on bytes that are left over.

    Raises
    ------
    EmptyRecording
        There is no whole sample.
    """
    num_samples, rest = divmod(size_bytes, encoding.sample_bytes)
    if num_samples == 0:
        raise EmptyRecording(
            f"{name} has no samples: it holds {size_bytes} bytes, and a sample has {encoding.sample_bytes}"
        )
    remark = f"the last {rest} bytes are ignored: a sample has {encoding.sample_bytes}"
    return num_samples, (remark,) if rest else ()


def _read_header(name: str, encoding: Encoding, source: ByteSource, hints: Hints) -> Header:  # noqa: ARG001
    num_samples, remarks = whole_samples(source.size_bytes, encoding, source.name)
    read = partial(read_interleaved, source, encoding, 0)
    return Header(format=name, num_samples=num_samples, read=read, remarks=remarks)


FORMATS = (
    Format(
        name="cf32",
        description="raw complex 32-bit floats",
        read_header=partial(_read_header, "cf32", CF32),
        suffixes=(".cf32", ".fc32", ".cfile", ".fc", ".complex"),
        aliases=("fc32", "cf32_le", "complex64"),
    ),
    Format(
        name="cs16",
        description="raw complex signed 16-bit integers, full scale 32768",
        read_header=partial(_read_header, "cs16", CS16),
        suffixes=(".cs16", ".sc16", ".ci16", ".complex32s"),
        aliases=("sc16", "ci16", "ci16_le"),
    ),
    Format(
        name="cs8",
        description="raw complex signed 8-bit integers, full scale 128",
        read_header=partial(_read_header, "cs8", CS8),
        suffixes=(".cs8", ".sc8", ".ci8", ".complex16s"),
        aliases=("sc8", "ci8"),
    ),
    Format(
        name="cu8",
        description="raw complex unsigned 8-bit integers, (b - 127.5) / 127.5",
        read_header=partial(_read_header, "cu8", CU8),
        suffixes=(".cu8", ".uc8", ".complex16u"),
    ),
)
