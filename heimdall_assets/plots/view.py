"""What the pictures of a recording are drawn from: some chunks analysed, and all of it looked over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.dsp import SpectrumView, spectrum_view
from heimdall_assets.errors import BadParameter
from heimdall_assets.plots.overview import Overview, overview_of

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import ArrayLike

    from heimdall_assets.iq import IQFile

MAX_ANALYSED_SAMPLES = 1 << 23
"""Chunks that go beyond 64 MB of samples are left out of the analysis; a single one may not."""


@dataclass(frozen=True, slots=True)
class RecordingView:
    """A recording, ready to be drawn; holds no samples.

    Attributes
    ----------
    name : str
        What the recording is called: its receiver, or its file.
    format : str
        npy, kiwi, cf32, ...
    sample_rate_hz : float
        Complex samples a second.
    center_frequency_hz, start_time : float, datetime or None
        None where nobody says.
    first_s : float
        Where the analysed chunks begin, in seconds from the start.
    spectrum : SpectrumView
        Those chunks.
    overview : Overview
        The whole recording.
    """

    name: str
    format: str
    sample_rate_hz: float
    center_frequency_hz: float | None
    start_time: datetime | None
    first_s: float
    spectrum: SpectrumView
    overview: Overview

    @property
    def analysed_s(self) -> tuple[float, float]:
        """Begin and end of the analysed chunks, in seconds from the start; chunks of zeros included."""
        notes = self.spectrum.figures.notes
        count = notes["num_chunks"] + notes["zero_chunks"]
        return self.first_s, self.first_s + count * notes["chunk_length"] / self.sample_rate_hz


def view_of(
    recording: IQFile,
    *,
    name: str,
    sample_rate_hz: float,
    chunk_duration_ms: float = 200.0,
    num_chunks: int | None = 5,
    start_chunk: int = 0,
    false_alarm_probability: float = 1e-3,
    calibration_db: float = 30.0,
    passband_hz: tuple[float, float] | None = None,
    remove_dc: bool = False,
    response: ArrayLike | None = None,
) -> RecordingView:
    """Read what the pictures need: the chunks, and a bounded share of the whole recording.

    Parameters
    ----------
    recording : IQFile
        Open.
    name : str
        For the title.
    sample_rate_hz : float
        The recording's, or what is assumed where it does not say.
    chunk_duration_ms, num_chunks, false_alarm_probability, calibration_db, passband_hz, remove_dc, response
        As of :func:`~heimdall_assets.dsp.analyze`. At most 8 million samples are analysed: fewer chunks then.
    start_chunk : int
        First chunk that is analysed, counted from 0.

    Raises
    ------
    BadParameter
        ``start_chunk`` lies behind the end, or a single chunk has more than 8 million samples.
    SignalError, RecordingError
        The recording cannot be measured, or read.
    """
    chunk_length = int(sample_rate_hz * chunk_duration_ms / 1000)
    if chunk_length > MAX_ANALYSED_SAMPLES:
        raise BadParameter(
            f"a chunk of {chunk_duration_ms=} at {sample_rate_hz=} has {chunk_length} samples; "
            f"at most {MAX_ANALYSED_SAMPLES} are drawn"
        )
    available = max(1, recording.num_samples // max(1, chunk_length))
    if not 0 <= start_chunk < available:
        raise BadParameter(f"{start_chunk=} is none of the recording's chunks, 0 to {available - 1}")
    wanted = min(num_chunks or available, max(1, MAX_ANALYSED_SAMPLES // max(1, chunk_length)))
    samples = recording.read(start_chunk * chunk_length, max(1024, wanted * chunk_length))
    spectrum = spectrum_view(
        samples,
        sample_rate_hz,
        chunk_duration_ms=chunk_duration_ms,
        num_chunks=wanted,
        false_alarm_probability=false_alarm_probability,
        calibration_db=calibration_db,
        passband_hz=passband_hz,
        remove_dc=remove_dc,
        response=response,
    )
    del samples
    return RecordingView(
        name=name,
        format=recording.format,
        sample_rate_hz=sample_rate_hz,
        center_frequency_hz=recording.center_frequency_hz,
        start_time=recording.start_time,
        first_s=start_chunk * chunk_length / sample_rate_hz,
        spectrum=spectrum,
        overview=overview_of(recording, sample_rate_hz, calibration_db=calibration_db),
    )
