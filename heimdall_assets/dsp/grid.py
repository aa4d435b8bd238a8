"""The frequency grid of a chunk: how many samples are transformed, and how bins are gathered into bands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import next_fast_len

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_CHUNK_LENGTH = 1024
"""Fewest samples in a chunk: below, the bands are too few for a noise floor."""

BANDS_WANTED = 1250
MIN_BINS_PER_BAND = 8
MAX_BINS_PER_BAND = 64


@dataclass(frozen=True, slots=True)
class Grid:
    """Bins and bands of chunks of one length.

    Attributes
    ----------
    sample_rate_hz : float
        Complex samples a second.
    chunk_length : int
        Samples in a chunk.
    num_bins : int
        Samples that are transformed: the largest length not above chunk_length that has only small prime factors
        and is a whole number of bands.
    bins_per_band : int
        Neighbouring bins that one band averages, in [8, 64], near chunk_length / 1250.
    """

    sample_rate_hz: float
    chunk_length: int
    num_bins: int
    bins_per_band: int

    @property
    def num_bands(self) -> int:
        """Number of bands, at least 16; all bins belong to one."""
        return self.num_bins // self.bins_per_band

    @property
    def bin_hz(self) -> float:
        """Distance of two bins in Hz."""
        return self.sample_rate_hz / self.num_bins

    @property
    def first_bin(self) -> int:
        """Bin number of the lowest frequency; spectra run from it upwards, the centre frequency being bin 0."""
        return -(self.num_bins // 2)

    def band_edges_hz(self) -> NDArray[np.float64]:
        """Return the bands' limits in Hz, ascending, shape (num_bands + 1,)."""
        first = np.arange(self.num_bands + 1, dtype=np.float64) * self.bins_per_band
        return (first + self.first_bin - 0.5) * self.bin_hz


@lru_cache(maxsize=64)
def grid_for(chunk_length: int, sample_rate_hz: float) -> Grid:
    """Choose bins and bands for chunks of this length.

    At most a few samples in a thousand are left out of the spectrum; a length with large prime factors would
    cost several times the transform.
    """
    wanted = float(np.clip(chunk_length / BANDS_WANTED, MIN_BINS_PER_BAND, MAX_BINS_PER_BAND))
    for num_bins in range(chunk_length, 0, -1):
        if next_fast_len(num_bins) != num_bins:
            continue
        divisors = [n for n in range(MIN_BINS_PER_BAND, MAX_BINS_PER_BAND + 1) if num_bins % n == 0]
        near = [n for n in divisors if wanted / 1.5 <= n <= wanted * 1.5]
        if near:
            best = min(near, key=lambda n: abs(n - wanted))
            return Grid(sample_rate_hz, chunk_length, num_bins, best)
    raise AssertionError(f"no grid for {chunk_length=}")  # 8 x 2^n is always one
