"""A recording's features: checks, chunks, and aggregates over the chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heimdall_assets.dsp.chunks import ChunkReader
from heimdall_assets.dsp.features import FEATURES
from heimdall_assets.dsp.kernel import examine, quantities
from heimdall_assets.dsp.notes import describe
from heimdall_assets.dsp.request import Request
from heimdall_assets.dsp.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from heimdall_assets.dsp.chunks import Group
    from heimdall_assets.dsp.front_end import FrontEnd
    from heimdall_assets.dsp.kernel import Examined
    from heimdall_assets.records import Aggregate

AGGREGATE_KEYS = ("mean", "std", "min", "max")


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known about a recording.

    Attributes
    ----------
    features : dict
        Feature name -> {"mean", "std", "min", "max"} over the chunks where it is defined, all None where none is.
        Std is the population's.
    notes : dict
        What a reader must know to use the figures; JSON-serialisable. See :mod:`heimdall_assets.dsp.notes`.
    """

    features: dict[str, Aggregate]
    notes: dict[str, Any]


def analyze(
    samples: ArrayLike,
    sample_rate_hz: float,
    *,
    chunk_duration_ms: float = 200.0,
    num_chunks: int | None = 5,
    false_alarm_probability: float = 1e-3,
    calibration_db: float = 30.0,
    passband_hz: tuple[float, float] | None = None,
    remove_dc: bool = False,
    response: ArrayLike | None = None,
) -> Figures:
    """Measure the features of a recording and say what they rest on.

    Parameters
    ----------
    samples : array_like, shape (n,)
        Complex baseband samples, integer formats scaled to full scale 1. Computed in single precision.
    sample_rate_hz : float
        Complex samples a second, above 0.
    chunk_duration_ms : float
        Length of a chunk, which has floor(sample_rate_hz x chunk_duration_ms / 1000) samples, at least 1024. A
        recording that is shorter than that is one chunk; otherwise a remainder is left out.
    num_chunks : int or None
        Chunks from the start, at least 1; None for all.
    false_alarm_probability : float
        Probability that a chunk of noise is called a signal, in (0, 0.5).
    calibration_db : float
        Added to powers in dB of |x|^2 = 1 to make them dBm; 30 where |x|^2 is in watts.
    passband_hz : (float, float), optional
        Lowest and highest frequency, from the centre frequency, that the receiver lets through; noise, signal and
        SNR are those inside. None: the sampled band, unless the spectrum gives a filter away.
    remove_dc : bool
        Take the mean off each chunk, for receivers that have an offset of their own. Never for a receiver that is
        tuned onto the carrier.
    response : array_like, shape (n, 2), optional
        Pairs of offset_hz, ascending, and response_db: how strong white noise is in the receiver's output at some
        frequencies from the centre. Linear in dB between them, constant beyond their ends; frequencies where it is
        more than 20 dB below its maximum are left out, unless a passband is given. None: estimated.

    Returns
    -------
    Figures
        Features and notes.

    Raises
    ------
    TooShort
        Less than 1024 samples, or chunks of less.
    NotFinite, AllZero
        Samples that cannot be measured.
    BadParameter
        An argument outside its range; echoes it.

    Examples
    --------
    >>> import numpy as np
    >>> time_s = np.arange(200_000) / 200e3
    >>> noise = np.random.default_rng(1).standard_normal((200_000, 2)) @ [1, 1j]
    >>> figures = analyze(np.exp(2j * np.pi * 12_345.6 * time_s) + noise / np.sqrt(2), 200e3)
    >>> round(figures.features["frequency_offset_hz"]["mean"], 1)
    12345.6
    """
    recording = Measured.of(
        samples,
        Request.checked(
            sample_rate_hz=sample_rate_hz,
            chunk_duration_ms=chunk_duration_ms,
            num_chunks=num_chunks,
            false_alarm_probability=false_alarm_probability,
            calibration_db=calibration_db,
            passband_hz=passband_hz,
            remove_dc=remove_dc,
            response=response,
        ),
    )
    return Figures(recording.features(), recording.notes())


def extract_features(
    samples: ArrayLike,
    sample_rate_hz: float,
    *,
    chunk_duration_ms: float = 200.0,
    num_chunks: int | None = 5,
    false_alarm_probability: float = 1e-3,
    calibration_db: float = 30.0,
    passband_hz: tuple[float, float] | None = None,
    remove_dc: bool = False,
    response: ArrayLike | None = None,
) -> dict[str, Aggregate]:
    """Measure the features of a recording: :func:`analyze` without the notes.

    Returns
    -------
    dict
        Feature name -> {"mean", "std", "min", "max"}.
    """
    request = Request.checked(
        sample_rate_hz=sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=num_chunks,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=passband_hz,
        remove_dc=remove_dc,
        response=response,
    )
    return Measured.of(samples, request).features()


@dataclass(frozen=True, slots=True)
class Measured:
    """A recording, measured; ``table`` has a row a feature and a column a chunk, NaN where undefined."""

    request: Request
    reader: ChunkReader
    front: FrontEnd
    rows: Rows
    table: NDArray[np.float64]

    @classmethod
    def of(
        cls, samples: ArrayLike, request: Request, keep: Callable[[Group, Examined], None] | None = None
    ) -> Measured:
        """Measure a recording.

        Parameters
        ----------
        samples : array_like, shape (n,)
            Complex baseband samples.
        request : Request
            Checked arguments.
        keep : callable, optional
            Called with every group of chunks and what was found in it, for a picture.
        """
        reader = ChunkReader(samples, request)
        front, is_estimated = request.front, False
        parts: list[Rows] = []
        for group in reader:
            may_estimate = not is_estimated and not group.is_blind  # the spectrum of gaps is no receiver's
            rows, found = _rows_of(group, request, front, may_estimate=may_estimate, keep=keep)
            if not group.is_broken:
                front, is_estimated = found, True  # lines in pieces tell no later chunk of the receiver
            parts.append(rows)
        rows = Rows.concatenate(parts)
        return cls(request, reader, front, rows, np.stack([feature.values(rows) for feature in FEATURES]))

    def features(self) -> dict[str, Aggregate]:
        """Return the aggregates over the chunks, powers calibrated."""
        aggregates = _aggregates(self.table)
        calibration_db = self.request.calibration_db
        return {
            feature.name: _shifted(aggregate, calibration_db) if feature.is_absolute_power else aggregate
            for feature, aggregate in zip(FEATURES, aggregates, strict=True)
        }

    def notes(self) -> dict[str, Any]:
        """Return what must be known to use them."""
        counts = np.count_nonzero(np.isfinite(self.table), axis=1).tolist()
        defined = {feature.name: count for feature, count in zip(FEATURES, counts, strict=True)}
        return describe(self.rows, self.request, self.reader, self.front, defined)


def _rows_of(
    group: Group,
    request: Request,
    front: FrontEnd,
    *,
    may_estimate: bool,
    keep: Callable[[Group, Examined], None] | None,
) -> tuple[Rows, FrontEnd]:
    """Measure a group; what was found in its samples is forgotten before the next one is looked at."""
    found = examine(group.chunks, group.grid, request.false_alarm_probability, front, may_estimate=may_estimate)
    if keep is not None:
        keep(group, found)
    return quantities(group.chunks, found).cut_from(group), found.front


def _aggregates(table: NDArray[np.float64]) -> list[Aggregate]:
    """Return mean, population standard deviation, least and largest of each row's defined values."""
    defined = np.isfinite(table)
    count = np.count_nonzero(defined, axis=1)
    least = np.where(defined, table, np.inf).min(axis=1)
    largest = np.where(defined, table, -np.inf).max(axis=1)
    total = np.where(defined, table, 0.0).sum(axis=1)
    mean = np.minimum(np.maximum(total / np.maximum(count, 1), least), largest)
    with np.errstate(invalid="ignore"):  # infinite where nothing is defined; left out below
        deviation = np.where(defined, table - mean[:, np.newaxis], 0.0)
    std = np.sqrt((deviation * deviation).sum(axis=1) / np.maximum(count, 1))
    columns = zip(count.tolist(), mean.tolist(), std.tolist(), least.tolist(), largest.tolist(), strict=True)
    return [
        {"mean": mean, "std": std, "min": least, "max": largest} if count else dict.fromkeys(AGGREGATE_KEYS)
        for count, mean, std, least, largest in columns
    ]


def _shifted(aggregate: Aggregate, offset: float) -> Aggregate:
    return {key: value if value is None or key == "std" else value + offset for key, value in aggregate.items()}
