"""How the functions are compiled, and the types of their arguments.

Memory is never shared between calls, and the interpreter is released: threads run side by side. Sums over samples may
be reassociated, so that they fill vector registers; what is summed in single precision is short.
"""

from __future__ import annotations

from typing import Any

from numba import types

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
"""Division by zero gives infinity or NaN, as in numpy."""

REASSOCIATED = {"reassoc", "contract", "nsz", "arcp"}
FINITE = {*REASSOCIATED, "nnan", "ninf"}
"""For ``fastmath``; the second where no operand can be NaN or infinite."""


def read_only(dtype: types.Type, dimensions: int) -> types.Array:
    """Return the type of a contiguous array that is not written to; writable ones are taken, too."""
    return types.Array(dtype, dimensions, "C", readonly=True)


INT = types.int64
SINGLE, DOUBLE, COMPLEX, BOOLEAN = types.float32, types.float64, types.complex128, types.boolean
COLUMN, COLUMNS, INDICES = types.Array(DOUBLE, 1, "C"), types.Array(DOUBLE, 2, "C"), types.Array(INT, 1, "C")
SINGLES, MASK, MASKS = types.Array(SINGLE, 2, "C"), types.Array(BOOLEAN, 1, "C"), types.Array(BOOLEAN, 2, "C")
READ_COLUMN, READ_COLUMNS = read_only(DOUBLE, 1), read_only(DOUBLE, 2)
READ_INDICES, READ_SINGLES, READ_MASKS = read_only(INT, 1), read_only(SINGLE, 2), read_only(BOOLEAN, 2)
READ_MASK, READ_SINGLE = read_only(BOOLEAN, 1), read_only(SINGLE, 1)
STRIDED = types.Array(DOUBLE, 1, "A")
WHOLE, WHOLE_COLUMN = types.int32, types.Array(types.int32, 1, "C")
READ_WHOLE, READ_WHOLES = read_only(WHOLE, 1), read_only(WHOLE, 2)
