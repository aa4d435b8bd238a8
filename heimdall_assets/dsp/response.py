"""The response of a receiver's front end: how much of white noise is left at each frequency.

Noise is white before a receiver's filters, not behind them. Spectra of noise alone droop towards the edges of the
sampled band by some decibels, and whoever takes the floor for flat finds a signal in every chunk. Spectra are
therefore divided by a response before noise is measured and signals are looked for.

A response is known (a setting of the receiver), or it is estimated from the recording. The estimate compares
descriptions of the spectrum L(f), in logarithms of power, as

    L(f) = smooth(f) + levels(f) + noise,

where ``smooth`` belongs to one of a few families and ``levels`` is constant between steps. A front end droops
smoothly, a signal begins and ends within a small part of the band: its edges are steps. Each description costs what
it leaves unexplained, a fixed price per step, and the evidence that its family's parameters need (P. Grünwald, "The
Minimum Description Length Principle", 2007; the evidence of a linear model with a Gaussian prior is that of C. M.
Bishop, "Pattern Recognition and Machine Learning", 2006, section 3.5). The cheapest description wins, and the flat
response is one of them. The best steps for a given response are found exactly, by dynamic programming (B. Jackson et
al., "An Algorithm for Optimal Partitioning of Data on an Interval", IEEE Signal Processing Letters 12(2), 2005).

What this cannot tell apart is a signal as smooth and as wide as a front end's droop: it is taken for the droop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

from heimdall_assets.dsp.excision import HANN_VARIANCE, MeanPower
from heimdall_assets.dsp.noise import SPECTRAL_START

if TYPE_CHECKING:
    from heimdall_assets.dsp.excision import Excision
    from heimdall_assets.dsp.grid import Grid

Matrix = NDArray[np.float64]

USABLE_DB = -20.0
"""Where a known response lies further below its maximum, nothing is measured."""

MAX_DEPTH_DB = 20.0
"""A response that falls by more is not a droop but the edge of a filter."""

MAX_INNER_FALL = 0.75
"""A response that falls by more nepers (3.3 dB) within the inner half of the band, alike on both sides, is a signal
without edges: that of a parabola of 9 dB falls by 2.3 dB there."""

CELLS_WANTED = 125
"""Parts of the band whose levels are compared."""

MIN_CELLS = 24
"""With fewer cells a droop cannot be told from signals."""

STEP_PRICE = 10.0
"""What a step costs, in natural logarithms of probability: about ln(125) for its place, and as much again for its
height and for how rarely chance makes one."""

FLAT_PRICE = 5.0
"""What a flat response costs beyond others: no receiver's is."""

TREND_PRICES = (3.0, 8.0)
"""What parabola and eighth order have to explain of the bands without signals before descriptions are compared."""

TREND_FAMILY = 3
EASY_SHARE = 0.6
"""A trend is looked for by the eighth order. Descriptions are always compared where less of the band passes for white
noise."""

RAISED_DEVIATIONS = 3.0
"""Cells that exceed a fit by so many standard deviations are left out of the next one: they may hold signals."""

STRONG_LEVEL = 3.0
"""Cells so many nepers (13 dB) above the weakest tenth are left out of the first fit."""

MAX_FITS = 60
MIN_FREE_SHARE = 0.15
"""A fit rests on at least this share of the cells."""

WIDE_PRICE = 15.0
"""What a response costs more where a wide signal is present: its sidelobes may pass for a droop."""

MAX_EDGES = 4
"""With up to so many steps a flat response may be all that a wide signal needs."""

SLOPE_DEVIATIONS = 2.0
"""A margin beside it slopes if it does so by more than this many standard deviations."""

EDGE_CELLS = 3
MIN_EDGE = 0.55
EDGE_DEVIATIONS = 4.0
"""At a steep edge the means of so many cells differ by at least 2.4 dB, and by so many standard deviations."""

WIDE_SHARE = 0.25
MARGIN_SHARE = 0.06
"""Least share of the cells in a stretch between edges, and in one at an end of the band, that is fitted."""

LOOSE = 1e3
"""Prior deviation of a level that may be anything."""

SYSTEMATIC_DEVIATION = 0.02
"""What an estimated response is off by, however long the recording: no front end is a sum of a few functions."""

NUM_POINTS = 65
"""Points at which an estimated response is kept, denser towards the edges, where it is steepest."""


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


@dataclass(frozen=True, slots=True)
class Family:
    """Smooth functions of the position u in the band, from -1 to 1: sums of a few, each with a Gaussian prior.

    Attributes
    ----------
    functions : callable
        Positions, shape (n,) -> values of each function, shape (n, k); the first one is constant.
    deviations : tuple of float
        Prior standard deviation of each function's factor but the first, in nepers of power (1 is 4.3 dB).
    """

    functions: Callable[[Matrix], Matrix]
    deviations: tuple[float, ...]


def _polynomials(order: int) -> Family:
    def functions(u: Matrix) -> Matrix:
        return np.polynomial.chebyshev.chebvander(u, order).astype(np.float64)

    return Family(functions, tuple(1 / degree for degree in range(1, order + 1)))


def _roll_offs(u: Matrix) -> Matrix:
    knees = (0.0, 0.35, 0.6, 0.8, 0.9)
    beyond = (np.maximum(np.abs(u) - knee, 0) / (1 - knee) for knee in knees)
    return np.stack([np.ones_like(u), u, *(each**2 for each in beyond)], axis=1)


FAMILIES = (
    _polynomials(2),  # tilt and droop
    _polynomials(4),
    Family(_roll_offs, (1.0,) * 6),  # steep and alike at both edges, as decimation by half-band filters leaves them
    _polynomials(8),
)
"""Smooth responses, simple ones first."""


@lru_cache(maxsize=64)
def _functions(family: int, cells: int) -> Matrix:
    return FAMILIES[family].functions(_positions(cells))


@lru_cache(maxsize=8)
def _priors(family: int) -> Matrix:
    """Return the information that the prior gives of each factor, shape (k, k)."""
    return np.diag(np.array([LOOSE, *FAMILIES[family].deviations]) ** -2.0)


def _positions(cells: int) -> Matrix:
    return (2 * np.arange(cells) + 1.0) / cells - 1


@lru_cache(maxsize=64)
def _log_level(count: float) -> tuple[float, float]:
    """Return mean and precision of the logarithm of a mean of so many independent powers of noise."""
    return float(digamma(count) - np.log(count)), float(1 / polygamma(1, count))


Partition = Callable[[Matrix, float, float], tuple[float, NDArray[np.intp]]]
"""The signature of :func:`partition`."""


def estimate_response(
    bands: Matrix,
    bins_per_band: int,
    limits_hz: tuple[float, float],
    excise: Excision,
    partition: Partition,
) -> Response | None:
    """Estimate the response from chunks of a recording.

    Parameters
    ----------
    bands : ndarray, shape (chunks, bands)
        Mean power per bin in each band of the passband.
    bins_per_band : int
        Bins in a band.
    limits_hz : (float, float)
        Outer edges of the first and last band.
    excise, partition : callable
        Implementations of consecutive mean excision and of :func:`partition`.

    Returns
    -------
    Response or None
        None where the noise passes for white, or nothing can be said.
    """
    chunks, count = bands.shape
    width = max(1, count // CELLS_WANTED)
    num_cells = count // width
    if num_cells < MIN_CELLS:
        return None
    cells = bands[:, : num_cells * width].reshape(chunks, num_cells, width).mean(axis=2)
    scale = np.sort(cells, axis=1)[:, num_cells // 2, np.newaxis]  # chunks count alike, however strong
    if not (cells > 0).all():
        return None  # exact zeros: no noise to speak of
    level = (cells / scale).mean(axis=0)
    bins = bins_per_band * width
    mean, precision = _log_level(round(bins * chunks / HANN_VARIANCE, 3))
    logs = np.log(level) - mean
    floor = excise(level[np.newaxis], MeanPower.of_hann_bins(bins * chunks), SPECTRAL_START)[0]
    free = level < floor * (1 + RAISED_DEVIATIONS / np.sqrt(precision))
    if not _has_trend(logs, free, precision):
        return None
    stretches = _stretches(logs, precision)
    cheapest = _cheapest(logs, precision, stretches, partition)
    if cheapest is None:
        return None
    family, values = cheapest
    u = np.sin(np.pi / 2 * np.linspace(-1, 1, NUM_POINTS))
    gains_db = 10 / np.log(10) * (FAMILIES[family].functions(u)[:, 1:] @ values[1:])
    gains_db -= gains_db.max()
    if gains_db.min() < -MAX_DEPTH_DB:
        return None
    used = num_cells * width / count  # a remainder of bands lies beyond the last cell
    low, high = limits_hz
    offsets_hz = low + (high - low) * used * (u + 1) / 2
    deviation = SYSTEMATIC_DEVIATION + np.sqrt(len(values) / (precision * num_cells))
    return Response(
        tuple(offsets_hz.tolist()),
        tuple(gains_db.tolist()),
        is_estimated=True,
        deviation=float(deviation),
        is_doubtful=stretches is not None and _rises(logs - _functions(family, num_cells) @ values, stretches),
    )


def _has_trend(logs: Matrix, free: NDArray[np.bool_], precision: float) -> bool:
    """Tell whether the cells that pass for white noise are uneven beyond chance, or too few for that question."""
    values = logs[free]
    if len(values) < EASY_SHARE * len(logs):
        return True  # so few cells show little of a trend
    functions = _functions(TREND_FAMILY, len(logs))[free]
    flat = values - values.mean()
    for columns, price in zip((3, functions.shape[1]), TREND_PRICES, strict=True):
        chosen = functions[:, :columns]
        left = values - chosen @ np.linalg.solve(chosen.T @ chosen, chosen.T @ values)
        if 0.5 * precision * (flat @ flat - left @ left) > price:
            return True
    return False


def _cheapest(
    logs: Matrix, precision: float, stretches: NDArray[np.intp] | None, partition: Partition
) -> tuple[int, Matrix] | None:
    """Return the family and the factors of the cheapest description; None where the flat response is that."""
    count = len(logs)
    flat, pieces = partition(logs, precision, STEP_PRICE)
    price = 0.0
    if stretches is not None:
        steps = int(pieces[-1])
        is_good = steps <= MAX_EDGES and flat - steps * STEP_PRICE < 0.5 * count
        if is_good and _is_level_beside(logs, precision, stretches):
            return None  # its edges leave no more of the spectrum unexplained than noise does
        price = WIDE_PRICE
    least = flat + FLAT_PRICE
    best: tuple[int, Matrix] | None = None
    for family in range(len(FAMILIES)):
        for fit in (_fit_envelope(logs, precision, family), _fit_stretches(logs, precision, family, stretches)):
            if fit is None:
                continue
            factors, evidence = fit
            smooth = _functions(family, count) @ factors
            unexplained, _ = partition(logs - smooth, precision, STEP_PRICE)
            if unexplained + evidence + price < least and not _is_hump(smooth):
                least, best = unexplained + evidence + price, (family, factors)
            if unexplained < 0.5 * count:
                return best
    return best


def _rises(left: Matrix, stretches: NDArray[np.intp]) -> bool:
    """Tell whether a wide stretch between edges stands above the rest of what a response leaves."""
    inner = (stretches > 0) & (stretches != stretches[-1])
    return bool(left[inner].mean() - left[~inner].mean() > 0.5 * MIN_EDGE)


def _is_hump(smooth: Matrix) -> bool:
    """Tell whether most of a response's fall lies in the inner half of the band: front ends fall towards the edges."""
    count = len(smooth)
    inner = (0.5 * (smooth + smooth[::-1]))[count // 4 : count - count // 4]
    return bool(inner.max() - inner.min() > MAX_INNER_FALL)


def _is_level_beside(logs: Matrix, precision: float, stretches: NDArray[np.intp]) -> bool:
    """Tell whether the noise on either side of a wide signal neither falls nor rises along the band."""
    for number in (stretches[0], stretches[-1]):
        margin = logs[stretches == number]
        position = np.arange(len(margin)) - 0.5 * (len(margin) - 1)
        if number < 0 or abs(position @ margin) * np.sqrt(precision / (position @ position)) > SLOPE_DEVIATIONS:
            return False
    return True


def _stretches(logs: Matrix, precision: float) -> NDArray[np.intp] | None:
    """Return the number of the wide stretch between two steep edges that each cell belongs to, -1 where to none.

    Returns
    -------
    ndarray of int, shape (cells,), or None
        None where no stretch that is wide lies between edges: all that rises is narrow, if there is anything.
    """
    count = len(logs)
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    means = (sums[EDGE_CELLS:] - sums[:-EDGE_CELLS]) / EDGE_CELLS
    jumps = np.abs(means[EDGE_CELLS:] - means[:-EDGE_CELLS])  # at the border below cell EDGE_CELLS and on
    is_edge = jumps > max(MIN_EDGE, EDGE_DEVIATIONS * np.sqrt(2 / EDGE_CELLS / precision))
    if not is_edge.any():
        return None
    runs = np.flatnonzero(np.diff(np.concatenate([[False], is_edge, [False]]))).reshape(-1, 2)
    borders = [int(start + jumps[start:stop].argmax()) + EDGE_CELLS for start, stop in runs]
    stretches = np.full(count, -1)
    is_wide = False
    for number, (start, stop) in enumerate(zip([0, *borders], [*borders, count], strict=True)):
        is_inner = start > 0 and stop < count
        if stop - start >= (WIDE_SHARE if is_inner else MARGIN_SHARE) * count:
            stretches[start + (start > 0) : stop - (stop < count)] = number  # an edge lies within a cell
            is_wide |= is_inner
    return stretches if is_wide else None


def _fit_envelope(logs: Matrix, precision: float, family: int) -> tuple[Matrix, float] | None:
    """Fit a family to the lower envelope of the levels.

    What rises above the fit is left out of the next one, until nothing changes; what lies below never is.

    Returns
    -------
    ndarray, shape (k,), and float
        Factors of the functions, and what their evidence costs; None where too few cells are left.
    """
    functions = _functions(family, len(logs))
    limit = RAISED_DEVIATIONS / np.sqrt(precision)
    lowest = np.partition(logs, len(logs) // 10)[len(logs) // 10]
    free = logs < lowest + STRONG_LEVEL
    for _ in range(MAX_FITS):
        factors, information = _solve(functions[free], logs[free], precision, family)
        raised = logs - functions @ factors > limit
        raised[1:-1] |= raised[:-2] | raised[2:]
        if np.array_equal(raised, ~free):
            break
        if np.count_nonzero(raised) > (1 - MIN_FREE_SHARE) * len(logs):
            return None
        free = ~raised
    return factors, _evidence(factors, information, family)


def _fit_stretches(
    logs: Matrix, precision: float, family: int, stretches: NDArray[np.intp] | None
) -> tuple[Matrix, float] | None:
    """Fit a family and a level to each wide stretch: the top of a signal that fills the band droops like the noise."""
    if stretches is None:
        return None
    chosen = stretches >= 0
    columns = np.column_stack([_functions(family, len(logs)), logs])[chosen]
    numbers = stretches[chosen]
    means = np.zeros((numbers.max() + 1, columns.shape[1]))
    np.add.at(means, numbers, columns)
    means /= np.maximum(np.bincount(numbers), 1)[:, np.newaxis]
    columns -= means[numbers]  # so that no level matters
    factors, information = _solve(columns[:, :-1], columns[:, -1], precision, family)
    return factors, _evidence(factors, information, family)


def _solve(functions: Matrix, logs: Matrix, precision: float, family: int) -> tuple[Matrix, Matrix]:
    """Return the most likely factors, and what the levels say of them (the Fisher information)."""
    information = precision * (functions.T @ functions)
    factors = np.linalg.solve(information + _priors(family), precision * (functions.T @ logs)).astype(np.float64)
    return factors, information


def _evidence(factors: Matrix, information: Matrix, family: int) -> float:
    """Return what factors cost: minus the logarithm of their prior's share that agrees with the levels."""
    deviations = np.array(FAMILIES[family].deviations)
    weights = deviations[:, np.newaxis] * information[1:, 1:] * deviations
    _, log_determinant = np.linalg.slogdet(np.eye(len(weights)) + weights)
    return float(0.5 * np.sum((factors[1:] / deviations) ** 2) + 0.5 * log_determinant)


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
