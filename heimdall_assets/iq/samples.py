"""Encodings of complex samples, and their way to complex64 with full scale 1.0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one complex sample is stored: I, then Q, without a gap.

    A component of value v becomes (v - midpoint) / full_scale, in single precision.

    Attributes
    ----------
    code : str
        numpy type of a component (``<i2``) or, for floats, of a whole sample (``<c8``); ``<i3`` stands for 24-bit
        integers, which numpy does not have.
    full_scale, midpoint : float
        In units of the stored numbers.
    """

    code: str
    full_scale: float = 1.0
    midpoint: float = 0.0

    @property
    def sample_bytes(self) -> int:
        """Bytes of one complex sample."""
        width = int(self.code[2:])
        return width if self.code[1] == "c" else 2 * width

    def decode(self, raw: bytes | memoryview) -> NDArray[np.complex64]:
        """Samples of a stretch of bytes.

        Parameters
        ----------
        raw : bytes or memoryview
            A multiple of ``sample_bytes``.

        Returns
        -------
        ndarray of complex64, shape (len(raw) / sample_bytes,)
            What single precision cannot hold becomes infinite; NaN stays NaN. Samples that are stored as complex64
            are not copied, and cannot be written to: they are the bytes.
        """
        stored = _widened(raw, self.code[0]) if self.code[1:] == "i3" else np.frombuffer(raw, self.code)
        with np.errstate(over="ignore", invalid="ignore"):
            if stored.dtype.kind == "c":
                return stored.astype(np.complex64, copy=False)
            # Single precision does not hold a midpoint between unsigned 32-bit integers.
            is_wide = bool(self.midpoint) and stored.dtype.itemsize >= 4
            components: NDArray[np.floating] = stored.astype(np.float64 if is_wide else np.float32)
        if self.midpoint:
            components -= components.dtype.type(self.midpoint)
        if self.full_scale != 1.0:
            components /= components.dtype.type(self.full_scale)
        return components.astype(np.float32, copy=False).view(np.complex64)


def _widened(raw: bytes | memoryview, order: str) -> NDArray[np.int32]:
    """24-bit integers as 32-bit ones."""
    three = np.frombuffer(raw, np.uint8).reshape(-1, 3)
    if order == ">":
        three = three[:, ::-1]
    four = np.zeros((len(three), 4), np.uint8)
    four[:, 1:] = three
    # The value sits in the upper three bytes; the arithmetic shift brings it down and keeps its sign.
    widened: NDArray[np.int32] = four.view("<i4").ravel().astype(np.int32) >> 8
    return widened


CF32 = Encoding("<c8")
CF64 = Encoding("<c16")
CS8 = Encoding("|i1", full_scale=128.0)
CU8 = Encoding("|u1", full_scale=127.5, midpoint=127.5)
CS16 = Encoding("<i2", full_scale=32768.0)
CS24 = Encoding("<i3", full_scale=8388608.0)
CS32 = Encoding("<i4", full_scale=2147483648.0)
