"""The response of a receiver's front end: how much of white noise is left at each frequency.

Noise is white before a receiver's filters, not behind them. Spectra of noise alone droop towards the edges of the
sampled band by some decibels, and whatever takes the floor for flat finds a signal in every chunk. Spectra are
therefore divided by a response before noise is measured and signals are looked for. A response is known, a setting of
the receiver, or estimated (:mod:`heimdall_assets.dsp.droop`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from heimdall_assets.dsp.grid import Grid

Matrix = NDArray[np.float64]

USABLE_DB = -20.0
"""Where a known response lies further below its maximum, nothing is measured."""


@dataclass(frozen=True, slots=True)
class Response:
    """Relative response of a receiver's front end.

    Attributes
    ----------
    offsets_hz : tuple of float
        Frequencies, from the centre frequency, ascending.
    gains_db : tuple of float
        Response at these; linear in dB between them, constant beyond their ends.
    is_estimated : bool
        True if it comes from the samples, False if the caller knows it.
    deviation : float
        Standard deviation of an estimated gain, as a share of it.
    is_doubtful : bool
        True where it was estimated beside a wide signal: its sidelobes may pass for a droop.
    """

    offsets_hz: tuple[float, ...]
    gains_db: tuple[float, ...]
    is_estimated: bool
    deviation: float = 0.0
    is_doubtful: bool = False

    @property
    def depth_db(self) -> float:
        """Largest less smallest gain."""
        return max(self.gains_db) - min(self.gains_db)

    def at(self, offsets_hz: Matrix) -> Matrix:
        """Return the gain in dB at some frequencies, of the same shape."""
        gains: Matrix = np.interp(offsets_hz, self.offsets_hz, self.gains_db)
        return gains

    def over(self, grid: Grid, bands: slice) -> Matrix:
        """Return the relative noise power of each band of the grid, whose mean over ``bands`` is 1.

        Returns
        -------
        ndarray, shape (grid.num_bands,)
            Outside of ``bands``, too, where it means nothing.
        """
        power: Matrix = 10 ** (self.at(_centres_hz(grid)) / 10)
        power /= power[bands].mean()
        return power

    def usable_hz(self, grid: Grid) -> tuple[float, float]:
        """Return the outermost edges of bands in which the response is within 20 dB of its maximum."""
        gains = self.at(_centres_hz(grid))
        usable = np.flatnonzero(gains >= gains.max() + USABLE_DB)
        edges = grid.band_edges_hz()
        return float(edges[usable[0]]), float(edges[usable[-1] + 1])


def _centres_hz(grid: Grid) -> Matrix:
    edges = grid.band_edges_hz()
    return 0.5 * (edges[:-1] + edges[1:])
