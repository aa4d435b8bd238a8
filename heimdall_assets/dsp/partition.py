"""Levels that are constant between steps: where the steps are.

The best description is found exactly, by dynamic programming (B. Jackson et al., "An Algorithm for Optimal Partitioning
of Data on an Interval", IEEE Signal Processing Letters 12(2), 105-108, 2005).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

Partition = Callable[[Matrix, float, float], tuple[float, NDArray[np.intp]]]
"""The signature of :func:`partition`."""


def partition(levels: Matrix, precision: float, price: float) -> tuple[float, NDArray[np.intp]]:
    """Find the best description of levels by constants between steps.

    Parameters
    ----------
    levels : ndarray, shape (cells,)
        Values with Gaussian errors.
    precision : float
        One over the variance of an error.
    price : float
        Cost of a step.

    Returns
    -------
    float, and ndarray of int, shape (cells,)
        The least of (precision / 2) sum (level - constant)^2 + price x steps, and the number of the stretch that each
        cell belongs to, from 0 upwards.
    """
    count = len(levels)
    sums = np.concatenate([[0.0], np.cumsum(levels)])
    gain = -0.5 * precision / np.arange(count, 0, -1.0)  # of stretches that end here, by their length
    least = np.empty(count + 1)  # up to a cell, but for the squares, which all descriptions share
    least[0] = -price
    starts = np.empty(count, np.intp)
    for stop in range(1, count + 1):
        rise = sums[stop] - sums[:stop]
        costs = least[:stop] + rise * rise * gain[count - stop :]
        start = int(costs.argmin())
        starts[stop - 1] = start
        least[stop] = costs[start] + price
    begins = np.zeros(count, np.intp)
    stop = count
    while stop > 0:
        stop = int(starts[stop - 1])
        begins[stop] = 1
    return float(least[count] + 0.5 * precision * (levels @ levels)), np.cumsum(begins) - 1
