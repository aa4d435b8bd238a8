"""A whole recording in a few hundred columns: spectrogram and envelope, with work and memory that do not grow with it.

A column covers an equal part of the time. Short recordings are read whole; of long ones each column reads a few
stretches, spread evenly over its time, so that a file of gigabytes costs as much as one of a hundred megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_COLUMNS = 600
"""More than a picture has room for would only be averaged again by the eye."""

FRAME_SAMPLES = (64, 512)
"""Least and largest transform of the spectrogram."""

FRAMES_A_COLUMN = 0.25
"""Fewest transforms a column has to itself; below 1 neighbours overlap."""

MAX_SAMPLES = 1 << 24
"""Samples that are read at the most; beyond, the columns share them."""

STRETCHES = 4
"""Pieces that a column reads, where it cannot read everything."""

PIECE_SAMPLES = 1 << 18
"""Samples that are held at once."""

SAFE_PEAK = (1e-9, 1e9)
"""Samples whose largest part lies between have squares and transforms that single precision holds."""


class Samples(Protocol):
    """What is read from: an :class:`~heimdall_assets.iq.IQFile`, or anything alike."""

    num_samples: int

    def read(self, start: int, count: int) -> NDArray[np.complex64]:
        """Samples [start, start + count)."""
        ...


@dataclass(frozen=True, slots=True)
class Overview:
    """Spectrogram and envelope of a recording.

    Attributes
    ----------
    duration_s : float
        Time that the columns cover together, from the first sample on.
    sample_rate_hz : float
        Frequencies span half of it to either side of the centre frequency.
    density_dbm_per_hz : ndarray of float32, shape (frequencies, columns)
        Power density, from the lowest frequency upwards, averaged over what was read of a column; minus infinity
        where it is 0, NaN where samples are not finite.
    frame_samples : int
        Length of the transforms, Hann-windowed.
    least, rms, largest : ndarray, shape (columns,)
        Of |x| over ``reference`` in what was read of a column.
    reference : float
        Root mean square of x in all that was read.
    share_read : float
        Share of the samples that was looked at, in (0, 1].
    """

    duration_s: float
    sample_rate_hz: float
    density_dbm_per_hz: NDArray[np.float32]
    frame_samples: int
    least: NDArray[np.float64]
    rms: NDArray[np.float64]
    largest: NDArray[np.float64]
    reference: float
    share_read: float


def overview_of(
    recording: Samples, sample_rate_hz: float, *, calibration_db: float = 30.0, max_samples: int = MAX_SAMPLES
) -> Overview:
    """Look over a recording.

    Parameters
    ----------
    recording : Samples
        At least one frame, 64 samples, long.
    sample_rate_hz : float
        Complex samples a second.
    calibration_db : float
        Offset from dB of |x|^2 = 1 to dBm.
    max_samples : int
        Most samples that are read.

    Returns
    -------
    Overview
        At most 600 columns.
    """
    total = recording.num_samples
    least_frame, largest_frame = FRAME_SAMPLES
    frame = int(np.clip(2 ** round(np.log2(max(1.0, total**0.5))), least_frame, largest_frame))
    columns = int(np.clip(total / (frame * FRAMES_A_COLUMN), 1, MAX_COLUMNS))
    bounds = np.linspace(0, total, columns + 1).astype(np.int64)
    share = max(frame, max_samples // columns)
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    scale = sample_rate_hz * float(np.sum(window.astype(np.float64) ** 2))
    density = np.full((frame, columns), np.nan, np.float32)
    least, power, largest = (np.full(columns, np.nan) for _ in range(3))
    num_read = 0
    with np.errstate(all="ignore"):  # what is not a number leaves its column blank
        for column, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            sums = np.zeros(frame)
            frames, squares, count = 0, 0.0, 0
            low, high = np.inf, 0.0
            for at, length in _stretches(start, stop, share, frame, total):
                samples, unit = _in_unit(recording.read(at, length))
                spectra = samples[: len(samples) // frame * frame].reshape(-1, frame)
                coefficients = fft.fft(spectra * window, axis=1)
                sums += unit**2 * (coefficients.real**2 + coefficients.imag**2).sum(axis=0, dtype=np.float64)
                frames += len(spectra)
                inside = samples[max(0, start - at) : stop - at]  # a frame may reach into the neighbouring columns
                squared = inside.real**2 + inside.imag**2
                low, high = min(low, unit**2 * float(squared.min())), max(high, unit**2 * float(squared.max()))
                squares += unit**2 * float(squared.sum(dtype=np.float64))
                count += inside.size
            num_read += count
            decibel = 10 * np.log10(fft.fftshift(sums) / (frames * scale)) + calibration_db
            density[:, column] = np.where(decibel < np.inf, decibel, np.nan)
            if np.isfinite(squares):
                least[column], power[column], largest[column] = np.sqrt(low), squares / count, np.sqrt(high)
    reference = float(np.sqrt(np.nanmean(power))) if np.isfinite(power).any() else 0.0
    scale_of_envelope = reference if reference > 0 else 1.0
    return Overview(
        duration_s=total / sample_rate_hz,
        sample_rate_hz=sample_rate_hz,
        density_dbm_per_hz=density,
        frame_samples=frame,
        least=least / scale_of_envelope,
        rms=np.sqrt(power) / scale_of_envelope,
        largest=largest / scale_of_envelope,
        reference=reference,
        share_read=num_read / total,
    )


def _in_unit(samples: NDArray[np.complex64]) -> tuple[NDArray[np.complex64], float]:
    """Return samples that can be squared in single precision, and the unit that they are in."""
    peak = float(max(np.abs(samples.real).max(), np.abs(samples.imag).max()))
    least, most = SAFE_PEAK
    if least < peak < most or not 0 < peak < np.inf:
        return samples, 1.0
    return (samples.astype(np.complex128) / peak).astype(np.complex64), peak


def _stretches(start: int, stop: int, share: int, frame: int, total: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of what a column reads: all of it if that is within its share, else a few pieces.

    A column shorter than a frame reads one that has the column in its middle, as far as the recording goes.
    """
    length = stop - start
    if length < frame:
        at = int(np.clip((start + stop - frame) // 2, 0, max(0, total - frame)))
        yield at, min(frame, total)
    elif length <= share:
        for at in range(start, stop, PIECE_SAMPLES):
            yield at, min(PIECE_SAMPLES, stop - at)
    else:
        piece = max(frame, min(share // STRETCHES, PIECE_SAMPLES) // frame * frame)
        count = max(1, share // piece)
        for number in range(count):
            yield start + (length - piece) * number // max(1, count - 1), piece
