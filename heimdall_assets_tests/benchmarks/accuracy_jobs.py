"""The accuracy report's work, cut into pieces that run side by side, in the order of its table."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import TYPE_CHECKING

from heimdall_assets.dsp.passes import PLAIN, compiled, using
from heimdall_assets.errors import BadParameter
from heimdall_assets_tests.benchmarks import accuracy_filters as filters
from heimdall_assets_tests.benchmarks import accuracy_fronts as fronts
from heimdall_assets_tests.benchmarks import accuracy_noise as noise
from heimdall_assets_tests.benchmarks import accuracy_rows as rows
from heimdall_assets_tests.benchmarks import accuracy_samples as samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heimdall_assets_tests.benchmarks.intervals import Line

IMPLEMENTATIONS = (PLAIN.name, "numba")

FRONTS_PER_JOB = 14
"""Front ends that share the transforms of one job's noise."""


@dataclass(frozen=True)
class Counts:
    """How much is measured.

    Attributes
    ----------
    chunks : int
        Chunks a row of signals.
    noise_chunks : int
        Chunks a row of noise alone, of either length.
    """

    chunks: int
    noise_chunks: int

    @property
    def part(self) -> int:
        """Chunks a row where noise is measured in other ways, too."""
        return max(self.noise_chunks // 4, 1)


@dataclass(frozen=True)
class Job:
    """Lines of the table that are measured together.

    Attributes
    ----------
    name : str
        What is measured, for the eye.
    measure : callable
        Returns the lines; can be sent to another process.
    """

    name: str
    measure: Callable[[], Iterator[Line] | list[Line]]


def jobs(seed: int, counts: Counts) -> Iterator[Job]:
    """Return all work but that of the confidence, in the order of the table."""
    for length in noise.LENGTHS:
        yield Job("noise", partial(noise.white_lines, seed, length, counts.noise_chunks))
    yield from _noise_jobs(seed, counts)
    for row, snr_db in _each(rows.ROWS):
        yield Job(row.waveform, partial(rows.signal_lines, row, snr_db, seed, counts.chunks))
    yield Job("weak signals", partial(rows.weak_lines, seed, counts.chunks))
    yield Job("buried noise", partial(rows.buried_lines, seed, counts.chunks))
    for row, snr_db in _each(rows.SHORT_ROWS):
        count = rows.SHORT_CHUNKS * counts.chunks
        yield Job(row.waveform, partial(rows.signal_lines, row, snr_db, seed, count, rows.SHORT_LENGTH))
    yield Job("carriers", partial(samples.carrier_lines, seed, counts.chunks))
    yield Job("constant parts", partial(samples.dc_lines, seed, counts.chunks))
    yield Job("clipping", partial(samples.clipped_lines, seed, counts.chunks))
    for length, signal, snr_db in product(noise.LENGTHS, fronts.SIGNALS, fronts.SNRS_DB):
        count = counts.chunks * (rows.SHORT_CHUNKS if length == rows.SHORT_LENGTH else 1)
        yield Job(f"{signal} behind front ends", partial(fronts.signal_lines, signal, snr_db, seed, length, count))
    for rate_hz, share in product(filters.RATES_HZ, filters.SHARES):
        yield Job(f"{share:.0%} filter", partial(filters.filter_lines, share, rate_hz, seed, 2 * counts.chunks))
    for length, share, pieces in product(noise.LENGTHS, filters.GAP_SHARES, filters.GAP_PIECES):
        count = -(-counts.chunks // 5)
        yield Job(f"{share:.0%} lost", partial(filters.gap_lines, share, pieces, length, seed, count))


def _each(table: tuple[rows.Row, ...]) -> Iterator[tuple[rows.Row, float]]:
    for row in table:
        for snr_db in row.snrs_db:
            yield row, snr_db


def _noise_jobs(seed: int, counts: Counts) -> Iterator[Job]:
    for length in noise.LENGTHS:
        for start in range(0, len(noise.FRONTS), FRONTS_PER_JOB):
            some = noise.FRONTS[start : start + FRONTS_PER_JOB]
            measure = partial(noise.front_lines, some, seed, length, counts.noise_chunks, noise.PROBABILITY)
            yield Job(f"noise behind {len(some)} front ends", measure)
        few = (None, *noise.FEW_FRONTS)
        frequent = partial(noise.front_lines, few, seed + 1, length, counts.part, noise.FREQUENT)
        yield Job("noise at a higher probability", frequent)
        single = partial(noise.front_lines, few, seed + 2, length, counts.part, noise.PROBABILITY, 1)
        yield Job("noise in single chunks", single)


def measured(work: list[Job], processes: int, implementation: str | None) -> Iterator[list[Line]]:
    """Do all work, show progress on a terminal, and yield the lines of each job in order.

    Parameters
    ----------
    work : list of Job
        What to do.
    processes : int
        How many jobs run side by side; 1: in this process.
    implementation : str or None
        Name in IMPLEMENTATIONS; None for what the installation has.
    """
    run = partial(_lines, implementation=implementation)
    if processes == 1:
        yield from _shown(work, map(run, work))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from _shown(work, pool.map(run, work))


@contextmanager
def implemented_by(name: str | None) -> Iterator[None]:
    """Use the implementation of this name inside of a ``with`` block; None: what the installation has.

    Raises
    ------
    BadParameter
        It is not installed.
    """
    if name is None:
        yield
        return
    passes = PLAIN if name == PLAIN.name else compiled()
    if passes is None:
        raise BadParameter(f"the implementation {name!r} is not installed")
    with using(passes):
        yield


def _lines(job: Job, implementation: str | None) -> list[Line]:
    with implemented_by(implementation):
        return list(job.measure())


def _shown(work: list[Job], results: Iterator[list[Line]]) -> Iterator[list[Line]]:
    """Pass results on; a terminal shows how far they are, on one line that the next one replaces."""
    is_shown, begin = sys.stderr.isatty(), time.monotonic()
    for number, (job, lines) in enumerate(zip(work, results, strict=True), start=1):
        if is_shown:
            minutes = (time.monotonic() - begin) / 60
            sys.stderr.write(f"\r\x1b[K{number} of {len(work)} parts, {minutes:.1f} min, {job.name}\r")
            sys.stderr.flush()
        yield lines
    if is_shown:
        sys.stderr.write("\r\x1b[K")
