"""Seeded trials of receivers with narrow filters, and of recordings that lost samples: what a consumer reads there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp import analyze
from heimdall_assets_tests.dsp.receivers import filtered, with_gaps
from heimdall_assets_tests.dsp.signals import RATE_HZ, WAVEFORMS, noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KIWI_RATE_HZ = 12_000.0
CHUNK_MS = 200.0
RECORDING_CHUNKS = 5
TOLERANCE_DB = 1.0
"""An SNR further off is wrong."""
WIDTH_TOLERANCE = 0.1
"""A passband whose width is further off, as a share, is wrong."""

SNRS_DB = (5.0, 10.0, 20.0, 30.0, 40.0)
ROUNDINGS = (16, 24)
LEVELS = (0.3, 0.01)
"""Largest magnitudes of I and Q, full scale being 1."""
STEADY = ("cw", "qpsk", "nbfm")
"""Waveforms whose power is the same all the time."""


@dataclass(frozen=True)
class Readings:
    """What recordings were said to be, arrays of shape (recordings,).

    Attributes
    ----------
    snr_db : ndarray
        Mean of the chunks; NaN where it is null.
    error_db : ndarray
        The same less the true SNR; NaN in noise alone.
    width_ratio : ndarray
        Width of the passband, the sampled band where none was found, over the true one.
    is_present : ndarray
        Whether a signal was found in any chunk.
    has_reason : ndarray
        Whether a null SNR is explained.
    """

    snr_db: NDArray[np.float64]
    error_db: NDArray[np.float64]
    width_ratio: NDArray[np.float64]
    is_present: NDArray[np.bool_]
    has_reason: NDArray[np.bool_]

    @property
    def is_null(self) -> NDArray[np.bool_]:
        """Whether no SNR is given."""
        return np.isnan(self.snr_db)

    @property
    def is_wrong(self) -> NDArray[np.bool_]:
        """Whether an SNR beside a signal is off, stems from a wrong passband, or is null without a reason."""
        is_off = (np.abs(self.error_db) > TOLERANCE_DB) | (np.abs(self.width_ratio - 1) > WIDTH_TOLERANCE)
        return np.where(self.is_null, ~self.has_reason, is_off)


def filter_readings(signals: tuple[str | None, ...], share: float, rate_hz: float, count: int, seed: int) -> Readings:
    """Read recordings of a receiver whose filter is open for this share of the sampled band.

    Signals (names in WITHIN, None for noise alone), SNRs, roundings and levels in turn.
    """
    half_width_hz = share * rate_hz / 2
    rng = np.random.default_rng([seed, round(1000 * share), round(rate_hz), len(signals)])
    length = round(RECORDING_CHUNKS * CHUNK_MS * rate_hz / 1000)
    cases = tuple(product(SNRS_DB, signals, ROUNDINGS, LEVELS))

    def read() -> Iterator[tuple[float, ...]]:
        for index in range(count):
            snr_db, signal, bits, level = cases[index % len(cases)]
            samples = filtered(
                rng, length, rate_hz, half_width_hz, bits, signal=signal, snr_db=snr_db, level=level,
                has_skirt=index // len(cases) % 4 != 3,
            )  # fmt: skip
            figures = analyze(samples, rate_hz, chunk_duration_ms=CHUNK_MS)
            low_hz, high_hz = figures.notes["passband_hz"] or (-rate_hz / 2, rate_hz / 2)
            found_db = figures.features["snr_db"]["mean"]
            yield (
                np.nan if found_db is None else found_db,
                np.nan if found_db is None or signal is None else found_db - snr_db,
                (high_hz - low_hz) / (2 * half_width_hz),
                (figures.features["signal_present"]["max"] or 0) > 0,
                bool(figures.notes["null"].get("snr_db")),
            )

    return _readings(read())


def gap_readings(snr_db: float | None, share: float, pieces: int, length: int, count: int, seed: int) -> Readings:
    """Read recordings each of whose chunks lost this share of its samples, steady waveforms in turn; None for noise."""
    rng = np.random.default_rng([seed, round(100 * share), pieces, length, round(snr_db or 0) + 100])
    rate_hz = 1000 * length / CHUNK_MS

    def read() -> Iterator[tuple[float, ...]]:
        for index in range(count):
            samples = noise(rng, RECORDING_CHUNKS * length)
            if snr_db is not None:
                make = WAVEFORMS[STEADY[index % len(STEADY)]]
                samples = samples + 10 ** (snr_db / 20) * make(rng, samples.size, RATE_HZ)
            chunks = samples.reshape(RECORDING_CHUNKS, length)
            gapped = np.concatenate([with_gaps(rng, chunk, share, pieces) for chunk in chunks])
            figures = analyze(gapped, rate_hz, chunk_duration_ms=CHUNK_MS)
            found_db = figures.features["snr_db"]["mean"]
            yield (
                np.nan if found_db is None else found_db,
                np.nan if found_db is None or snr_db is None else found_db - snr_db,
                1.0,
                (figures.features["signal_present"]["max"] or 0) > 0,
                bool(figures.notes["null"].get("snr_db")),
            )

    return _readings(read())


def _readings(rows: Iterator[tuple[float, ...]]) -> Readings:
    snr_db, error_db, width_ratio, is_present, has_reason = np.array(list(rows), np.float64).T
    return Readings(snr_db, error_db, width_ratio, is_present > 0, has_reason > 0)
