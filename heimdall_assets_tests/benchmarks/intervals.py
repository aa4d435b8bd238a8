"""Figures of many trials, each with its 95 % interval and beside its bar.

Of a bias the interval is that of the normal distribution, of a root mean square error its standard error's, of a rate
Wilson's (E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the American
Statistical Association 22, 1927).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z = 1.96
"""Standard deviations of the normal distribution that 95 % of it lie within."""


@dataclass(frozen=True)
class Line:
    """One figure of the table.

    Attributes
    ----------
    signal, figure : str
        What was measured.
    snr_db : float or None
        Of the signal in the sampled band.
    value, low, high : float
        The figure and its 95 % interval.
    bar : float or None
        The most that its magnitude may be; for a rate that should be high the least; None where none was set.
    holds : bool
        Whether the value keeps to the bar.
    plain : float or None
        The same figure of the estimators that were replaced.
    """

    signal: str
    figure: str
    snr_db: float | None
    value: float
    low: float
    high: float
    bar: float | None
    holds: bool
    plain: float | None = None


def bias_line(
    signal: str,
    figure: str,
    snr_db: float | None,
    errors: NDArray[np.float64],
    bar: float | None,
    plain: float | None = None,
) -> Line:
    """Return the mean of errors, of which NaN are left out."""
    kept = errors[np.isfinite(errors)]
    if kept.size < 2:  # nothing was found: no figure, and a bar is missed
        return Line(signal, figure, snr_db, np.inf, -np.inf, np.inf, bar, bar is None, plain)
    value, margin = float(kept.mean()), Z * float(kept.std(ddof=1)) / np.sqrt(kept.size)
    holds = bar is None or abs(value) <= bar
    return Line(signal, figure, snr_db, value, value - margin, value + margin, bar, holds, plain)


def rmse_line(
    signal: str,
    figure: str,
    snr_db: float | None,
    errors: NDArray[np.float64],
    bar: float | None,
    plain: float | None = None,
) -> Line:
    """Return the root mean square of errors, of which NaN are left out."""
    kept = errors[np.isfinite(errors)]
    if kept.size < 2:
        return Line(signal, figure, snr_db, np.inf, -np.inf, np.inf, bar, bar is None, plain)
    value = float(np.sqrt(np.mean(kept**2)))
    margin = Z * value / np.sqrt(2 * kept.size)
    return Line(signal, figure, snr_db, value, value - margin, value + margin, bar, bar is None or value <= bar, plain)


def rate_line(
    signal: str,
    figure: str,
    snr_db: float | None,
    hits: NDArray[np.float64] | NDArray[np.bool_],
    bar: float | None,
    *,
    at_least: bool,
    plain: float | None = None,
) -> Line:
    """Return the share of hits."""
    count, value = hits.size, float(hits.mean())
    square = Z**2 / count
    centre = (value + square / 2) / (1 + square)
    margin = float(np.sqrt(value * (1 - value) * square + square**2 / 4)) / (1 + square)
    holds = bar is None or (value >= bar if at_least else value <= bar)
    return Line(signal, figure, snr_db, value, centre - margin, centre + margin, bar, holds, plain)
