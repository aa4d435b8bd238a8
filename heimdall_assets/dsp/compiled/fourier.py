"""The Fourier transform of chunks: ducc0's where that is installed, else scipy's, an older one by the same author."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

try:
    from ducc0 import fft as ducc_fft
    from ducc0.misc import resize_thread_pool
except ImportError:
    ducc_fft = None
else:
    # Transforms stay in the thread that asks for them; a pool would be a thread a core in each process, idle.
    resize_thread_pool(1)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.transform import Chunks


def coefficients_of(chunks: Chunks) -> NDArray[np.complex64]:
    """Return the Fourier coefficients of each row, in a new array of the same shape, contiguous."""
    if ducc_fft is None:
        return fft.fft(chunks, axis=1)
    coefficients = np.empty(chunks.shape, np.complex64)
    ducc_fft.c2c(chunks, axes=(1,), out=coefficients)
    return coefficients
