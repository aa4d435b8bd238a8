"""A recording's features: checks, chunks, and aggregates over the chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heimdall_assets.dsp.chunks import ChunkReader
from heimdall_assets.dsp.features import FEATURES
from heimdall_assets.dsp.kernel import measure
from heimdall_assets.dsp.notes import describe
from heimdall_assets.dsp.request import Request
from heimdall_assets.dsp.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from heimdall_assets.dsp.transform import Column
    from heimdall_assets.records import Aggregate


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
    request = Request.checked(
        sample_rate_hz=sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=num_chunks,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=passband_hz,
        remove_dc=remove_dc,
    )
    reader = ChunkReader(samples, request)
    passband = request.passband
    parts: list[Rows] = []
    for chunks, power_scale in reader:
        rows, passband = measure(chunks, reader.grid, request.false_alarm_probability, passband, may_estimate=not parts)
        parts.append(rows.scaled(power_scale))
    rows = Rows.concatenate(parts)
    values = {feature.name: feature.values(rows) for feature in FEATURES}
    features = _aggregates(values)
    for feature in FEATURES:
        if feature.is_absolute_power:
            features[feature.name] = _shifted(features[feature.name], request.calibration_db)
    return Figures(features, describe(rows, request, reader, passband, values))


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
) -> dict[str, Aggregate]:
    """Measure the features of a recording: :func:`analyze` without the notes.

    Returns
    -------
    dict
        Feature name -> {"mean", "std", "min", "max"}.
    """
    return analyze(
        samples,
        sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=num_chunks,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=passband_hz,
        remove_dc=remove_dc,
    ).features


def _aggregates(values: dict[str, Column]) -> dict[str, Aggregate]:
    """Return mean, population standard deviation, least and largest of each feature's defined values."""
    table = np.stack(list(values.values()))
    defined = np.isfinite(table)
    count = np.maximum(defined.sum(axis=1), 1)
    least = np.where(defined, table, np.inf).min(axis=1)
    largest = np.where(defined, table, -np.inf).max(axis=1)
    total = np.where(defined, table, 0.0).sum(axis=1)
    mean = np.where(defined.any(axis=1), np.minimum(np.maximum(total / count, least), largest), np.nan)
    deviation = np.where(defined, table - mean[:, np.newaxis], 0.0)
    std = np.sqrt((deviation**2).sum(axis=1) / count)
    keys = ("mean", "std", "min", "max")
    columns = np.column_stack([mean, std, least, largest]).tolist()
    return {
        name: dict(zip(keys, column, strict=True)) if np.isfinite(column[0]) else dict.fromkeys(keys)
        for name, column in zip(values, columns, strict=True)
    }


def _shifted(aggregate: Aggregate, offset: float) -> Aggregate:
    return {key: value if value is None or key == "std" else value + offset for key, value in aggregate.items()}
