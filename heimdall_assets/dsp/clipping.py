"""Samples at the rail: how many, and whether they are there by clipping.

A converter that is overdriven gives its largest value again and again, though the values just below are rare. In
samples that were never clipped the largest value is not special: in noise it is rarer than the next smaller one,
and in a rounded sine at most 1 + sqrt(2) = 2.41 times as frequent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.transform import Chunks

CLIPPING_RATIO = 4.0
"""The rail is this many times as frequent as the next smaller value."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """The largest and the smallest of the I and Q values of each chunk, and how often they occur.

    Attributes
    ----------
    highest, lowest : ndarray of float32, shape (chunks,)
        One of them is not finite where a sample is not.
    num_highest, num_lowest : ndarray of int, shape (chunks,)
        Meaningless where a sample is not finite, or the extreme is zero, which has two signs.
    """

    highest: NDArray[np.float32]
    lowest: NDArray[np.float32]
    num_highest: NDArray[np.intp]
    num_lowest: NDArray[np.intp]

    @classmethod
    def empty(cls, count: int) -> Extremes:
        """Return those of so many chunks, to be filled in."""
        levels, counts = np.empty((2, count), np.float32), np.empty((2, count), np.intp)
        return cls(*levels, *counts)


def find_extremes(chunks: Chunks) -> Extremes:
    """Find the extremes of samples, shape (chunks, n): the reference for the compiled pass."""
    parts = chunks.view(np.float32)
    highest, lowest = parts.max(axis=1), parts.min(axis=1)
    counts = [np.count_nonzero(parts == level[:, np.newaxis], axis=1) for level in (highest, lowest)]
    return Extremes(highest, lowest, *counts)


@dataclass(slots=True)
class _Rail:
    """The most extreme value on one side, how often it and the next occur."""

    level: float = 0.0
    count: int = 0
    next_count: int = 0
    next_level: float = 0.0

    def add(self, parts: NDArray[np.float32], levels: NDArray[np.float32], counts: NDArray[np.intp], sign: int) -> None:
        """Count values; ``sign`` is -1 for the lower rail, whose levels are those of the values negated."""
        level = float(levels.max())
        if level <= 0 or level < self.level:
            return
        count = int(counts[levels == np.float32(level)].sum())
        next_level, next_count = 0.0, 0
        if count > CLIPPING_RATIO:
            towards_zero = sign * parts
            below = towards_zero[towards_zero < np.float32(level)]
            next_level = float(below.max()) if below.size else 0.0
            next_count = int(np.count_nonzero(below == np.float32(next_level)))
        if level == self.level:
            self.count += count
            self.next_count += next_count
            self.next_level = max(self.next_level, next_level)
        else:
            self.level, self.count, self.next_level, self.next_count = level, count, next_level, next_count

    @property
    def is_clipped(self) -> bool:
        """True if the rail is far more frequent than its neighbour, which is near: else it is a few-valued signal."""
        return self.count > CLIPPING_RATIO * max(self.next_count, 1) and self.next_level >= self.level / 2


class RailCounter:
    """Counts I and Q values at the rails over all groups of a recording."""

    def __init__(self) -> None:
        self._upper = _Rail()
        self._lower = _Rail()
        self._values = 0

    def add(self, chunks: Chunks, extremes: Extremes) -> None:
        """Count samples, shape (chunks, n), all finite."""
        parts = chunks.view(np.float32)
        self._values += parts.size
        self._upper.add(parts, extremes.highest, extremes.num_highest, 1)
        self._lower.add(parts, -extremes.lowest, extremes.num_lowest, -1)

    @property
    def clipped_fraction(self) -> float:
        """Share of I and Q values at a rail that clips, in [0, 1]; 0 where none does."""
        clipped = sum(rail.count for rail in (self._upper, self._lower) if rail.is_clipped)
        return clipped / self._values if self._values else 0.0
