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

CLIPPING_RATIO = 4.0
"""The rail is this many times as frequent as the next smaller value."""


@dataclass(slots=True)
class _Rail:
    """The most extreme value on one side, how often it and the next occur."""

    level: float = 0.0
    count: int = 0
    next_count: int = 0
    next_level: float = 0.0

    def add(self, parts: NDArray[np.float32], level: float, sign: int) -> None:
        """Count values; ``sign`` is -1 for the lower rail, whose levels are those of the values negated."""
        if level <= 0 or level < self.level:
            return
        count = int(np.count_nonzero(parts == np.float32(sign * level)))
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

    def add(self, chunks: NDArray[np.complex64], highest: float, lowest: float) -> None:
        """Count samples, shape (chunks, n); highest and lowest are the extremes of their I and Q."""
        parts = chunks.view(np.float32)
        self._values += parts.size
        self._upper.add(parts, highest, 1)
        self._lower.add(parts, -lowest, -1)

    @property
    def clipped_fraction(self) -> float:
        """Share of I and Q values at a rail that clips, in [0, 1]; 0 where none does."""
        clipped = sum(rail.count for rail in (self._upper, self._lower) if rail.is_clipped)
        return clipped / self._values if self._values else 0.0
