"""Samples, in groups of chunks: checked, in single precision, at a level that single precision can square."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heimdall_assets.dsp.clipping import RailCounter
from heimdall_assets.dsp.grid import MIN_CHUNK_LENGTH, grid_for
from heimdall_assets.dsp.passes import current
from heimdall_assets.errors import AllZero, BadParameter, NotFinite, TooShort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.request import Request
    from heimdall_assets.dsp.transform import Chunks

Levels = NDArray[np.float32]
PowerScale = float | NDArray[np.float64]

GROUP_SAMPLES = 1 << 20
"""Samples that are held at once in converted form; a single longer chunk is a group of its own."""

LEVELS = (1e-8, 1e8)
"""Outside of these extremes |x|^2 and the squares of Fourier coefficients may leave the range of single precision."""


GAP_SAMPLES = 64
"""So many zeros in a row are samples that were lost; fewer occur in weak recordings of few bits."""

MIN_STRETCH = 4096
"""Samples between gaps that are worth measuring; half of a chunk where that is less."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some chunks that are measured together.

    Attributes
    ----------
    chunks : ndarray of complex64, shape (chunks, grid.chunk_length)
        Samples, none of the chunks all zero.
    grid : Grid
        Bins and bands.
    power_scale : float or ndarray, shape (chunks,)
        Brings their powers back to scale.
    gap_share : float
        Share of the time that was lost: of the chunk that this group's only one was cut from, 0 without gaps.
    is_broken : bool
        True for a chunk without a stretch between gaps that is long enough for a noise floor. Its samples are joined
        across the gaps, which leaves noise white and lines in pieces.
    is_blind : bool
        True where so few samples are left that no signal can be looked for; the gaps are among them.
    """

    chunks: Chunks
    grid: Grid
    power_scale: PowerScale = 1.0
    gap_share: float = 0.0
    is_broken: bool = False
    is_blind: bool = False


class ChunkReader:
    """Iterates over a recording's chunks, group by group.

    Samples that a receiver lost are zeros. A chunk with such a gap is measured on its longest stretch between gaps,
    since a gap cuts lines into combs that cover the noise.

    Parameters
    ----------
    samples : array_like, shape (n,)
        Anything that converts to complex numbers.
    request : Request
        Checked parameters.

    Attributes
    ----------
    grid : Grid
        Bins and bands of the chunks.
    num_chunks : int
        Chunks that will be read.
    is_short : bool
        True if the recording is shorter than one full chunk, and therefore a chunk by itself.
    num_zero_chunks : int
        Chunks of nothing but zeros met so far; they are left out.
    rails : RailCounter
        Samples at the rails met so far.

    Raises
    ------
    BadParameter
        The samples are not a one-dimensional array of numbers.
    TooShort
        There are fewer than 1024.
    """

    def __init__(self, samples: ArrayLike, request: Request) -> None:
        self._samples = _numbers(samples)
        total = self._samples.size
        if total < MIN_CHUNK_LENGTH:
            raise TooShort(f"the recording has {total} samples; at least {MIN_CHUNK_LENGTH} are needed")
        self.is_short = total < request.chunk_length
        length = total if self.is_short else request.chunk_length
        wanted = total // length
        self.num_chunks = wanted if request.num_chunks is None else min(wanted, request.num_chunks)
        self.grid = grid_for(length, request.sample_rate_hz)
        self.num_zero_chunks = 0
        self.rails = RailCounter()
        self._remove_dc = request.remove_dc

    def __iter__(self) -> Iterator[Group]:
        """Yield groups of chunks: those without gaps first.

        Raises
        ------
        NotFinite
            A sample is NaN, infinite, or beyond single precision.
        AllZero
            All chunks together hold nothing but zeros.
        """
        length = self.grid.chunk_length
        step = max(1, GROUP_SAMPLES // length)
        for first in range(0, self.num_chunks, step):
            last = min(first + step, self.num_chunks)
            group = _single_precision(self._samples[first * length : last * length]).reshape(-1, length)
            extremes = current().find_extremes(group)
            levels = np.maximum(extremes.highest, -extremes.lowest)
            if not np.isfinite(levels).all():
                raise NotFinite(_first_not_finite(group, first * length))
            self.rails.add(group, extremes)
            has_gap = (group[:, :: GAP_SAMPLES // 2] == 0).any(axis=1)
            has_gap[has_gap] = [_gaps(chunk).size > 0 for chunk in group[has_gap]]
            if not has_gap.any():
                yield from self._alive(Group(group, self.grid), levels)
                continue
            yield from self._alive(Group(group[~has_gap], self.grid), levels[~has_gap])
            for chunk, level in zip(group[has_gap], levels[has_gap], strict=True):
                yield from self._alive(self._without_gaps(chunk), level[np.newaxis])
        if self.num_zero_chunks == self.num_chunks:
            afterwards = " once their mean is taken off" if self._remove_dc else ""
            raise AllZero(f"all {self.num_chunks * length} samples are zero{afterwards}")

    def _alive(self, group: Group, levels: Levels) -> Iterator[Group]:
        """Yield a group without chunks of nothing but zeros, its constant part and extreme levels taken away."""
        chunks = group.chunks
        if self._remove_dc and len(chunks):
            mean = chunks.mean(axis=1, keepdims=True, dtype=np.complex128)
            chunks = chunks - mean.astype(np.complex64)
            levels = np.abs(chunks.view(np.float32)).max(axis=1)
        alive = levels > 0
        if not alive.all():
            self.num_zero_chunks += int(np.count_nonzero(~alive))
            chunks, levels = chunks[alive], levels[alive]
        if len(chunks):
            yield _levelled(replace(group, chunks=chunks), levels)

    def _without_gaps(self, chunk: NDArray[np.complex64]) -> Group:
        """Return the longest stretch of a chunk between two gaps; all that is left of it where none is long enough."""
        gaps = _gaps(chunk)
        share = float((gaps[:, 1] - gaps[:, 0]).sum() / len(chunk))
        starts, stops = np.append(0, gaps[:, 1]), np.append(gaps[:, 0], len(chunk))
        longest = int(np.argmax(stops - starts))
        stretch = chunk[starts[longest] : stops[longest]]
        if len(stretch) < max(MIN_CHUNK_LENGTH, min(MIN_STRETCH, len(chunk) // 2)):
            pieces = [chunk[start:stop] for start, stop in zip(starts, stops, strict=True)]
            stretch = np.concatenate(pieces)
            if len(stretch) < MIN_CHUNK_LENGTH:
                return Group(chunk[np.newaxis], self.grid, gap_share=share, is_broken=True, is_blind=True)
            grid = grid_for(len(stretch), self.grid.sample_rate_hz)
            return Group(stretch[np.newaxis], grid, gap_share=share, is_broken=True)
        grid = grid_for(len(stretch), self.grid.sample_rate_hz)
        return Group(np.ascontiguousarray(stretch[np.newaxis]), grid, gap_share=share)


def _gaps(chunk: NDArray[np.complex64]) -> NDArray[np.intp]:
    """Return start and stop of every run of 64 zeros or more, shape (gaps, 2)."""
    is_zero = np.concatenate([[False], chunk == 0, [False]])
    runs = np.flatnonzero(is_zero[1:] != is_zero[:-1]).reshape(-1, 2)
    gaps: NDArray[np.intp] = runs[runs[:, 1] - runs[:, 0] >= GAP_SAMPLES]
    return gaps


def _numbers(samples: ArrayLike) -> NDArray[np.generic]:
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise BadParameter(f"samples are not an array: {error}") from None
    if array.ndim != 1:
        raise BadParameter(f"samples of shape {array.shape} are not one-dimensional")
    if array.dtype.kind not in "cfiu":
        raise BadParameter(f"samples of type {array.dtype} are not numbers")
    return array


def _single_precision(samples: NDArray[np.generic]) -> NDArray[np.complex64]:
    if samples.dtype == np.complex64:
        return np.require(samples, requirements=["C", "A"])  # not copied where it is so already
    with np.errstate(over="ignore"):  # what is out of range becomes infinite, and is found so
        return np.require(samples, np.complex64, ["C", "A"])


def _first_not_finite(group: Chunks, offset: int) -> str:
    flat = group.ravel()
    bad = np.flatnonzero(~np.isfinite(flat))
    return f"sample {offset + int(bad[0])} is {flat[bad[0]]}; {bad.size} of {flat.size} examined are not finite"


def _levelled(group: Group, levels: Levels) -> Group:
    """Bring chunks of extreme levels near 1 by a power of two, which loses nothing."""
    is_extreme = (levels < LEVELS[0]) | (levels > LEVELS[1])
    if not is_extreme.any():
        return group
    exponents = np.where(is_extreme, np.frexp(levels)[1], 0)
    scaled = np.ldexp(group.chunks.view(np.float32), -exponents[:, np.newaxis]).view(np.complex64)
    return replace(group, chunks=scaled, power_scale=np.ldexp(1.0, 2 * exponents))
