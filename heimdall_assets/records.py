"""Frozen records that travel between the rooms: what a session is, what was read, what was computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    import numpy as np
    from numpy.typing import NDArray

FEATURE_VERSION = 3
"""Version of the estimators; raised with every change of what they return, so that older rows show as stale."""

Aggregate = dict[str, float | None]
"""One feature over the chunks of a recording: mean, std (population), min, max; all None where undefined."""


UNCALIBRATED_DB = 30.0
"""Offset from dB of |x|^2 = 1 to dBm of recordings that hold watts, and of receivers of which nothing is known."""


@dataclass(frozen=True, slots=True)
class IQRecording:
    """A stretch of complex baseband samples with what its file says about them.

    Attributes
    ----------
    samples : ndarray of complex64, shape (n,)
        Full scale of integer formats is 1.0.
    sample_rate_hz, center_frequency_hz : float or None
        None where the file does not say.
    start_time : datetime or None
        UTC time of the first sample.
    format : str
        npy, cf32, cs16, cs8, cu8, kiwi, ...
    """

    samples: NDArray[np.complex64]
    sample_rate_hz: float | None
    center_frequency_hz: float | None
    start_time: datetime | None
    format: str


@dataclass(frozen=True, slots=True)
class Station:
    """A receiver: its name is its identity (``rx_id``); degrees north and east, metres above sea level.

    Attributes
    ----------
    id : UUID or None
        The key in websdr_stations; None where it comes from elsewhere.
    is_known : bool
        False for a receiver that websdr_stations does not have.
    """

    name: str
    latitude: float | None
    longitude: float | None
    altitude_m: float | None = None
    id: UUID | None = field(default=None, compare=False)
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """What is known of a receiver and changes its features; see ``heimdall_assets.dsp.analyze``.

    Attributes
    ----------
    calibration_db : float
        Offset from dB of |x|^2 = 1 to dBm.
    passband_hz : (float, float) or None
        Lowest and highest frequency, from the centre frequency, that it lets through; None: estimated or unlimited.
    remove_dc : bool
        Take the mean off each chunk: it has an offset of its own.
    response : tuple of (float, float) or None
        How strong white noise is in its output: pairs of a frequency, from the centre frequency, in Hz and a response
        in dB, by rising frequency; interpolated linearly, constant beyond the ends. None: estimated.
    """

    calibration_db: float = UNCALIBRATED_DB
    passband_hz: tuple[float, float] | None = None
    remove_dc: bool = False
    response: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A transmitter whose place is known."""

    name: str
    latitude: float
    longitude: float
    frequency_hz: int | None = None
    power_dbm: float | None = None
    source_type: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One receiver's part of a recording session."""

    id: UUID
    timestamp: datetime
    station: Station
    frequency_hz: int | None
    iq_data_location: str | None
    iq_data_format: str | None
    iq_sample_rate_hz: float | None
    settings: ReceiverSettings = ReceiverSettings()
    """The station's at the start of the session."""
    bad_value: str | None = None
    """What of its row, or its station's, cannot be worked with: ``table.column = value``."""


@dataclass(frozen=True, slots=True)
class Session:
    """A recording session with its measurements, in the order of their time stamps."""

    id: UUID
    name: str | None
    status: str
    started_at: datetime
    measurements: tuple[Measurement, ...]
    known_source: KnownSource | None = None
    ground_truth: str | None = None
    """How known_source was found: "session" (named by it), "frequency" (the only one near it), or None."""
    known_source_id: UUID | None = None
    """The source that it names, whether its place is known or not."""
    bad_value: str | None = None
    """What of its row, or its known source's, cannot be worked with: ``table.column = value``."""

    @property
    def frequency_hz(self) -> int | None:
        """The frequency that all its measurements have; None where they have several, or none."""
        frequencies = {measurement.frequency_hz for measurement in self.measurements if measurement.frequency_hz}
        return frequencies.pop() if len(frequencies) == 1 else None


@dataclass(frozen=True, slots=True)
class InputIdentity:
    """What was read for a receiver, so that a replaced or late file can be told from the one that was used.

    Where several measurements were read, ``measurement_ids`` names all, in the order of time; samples and chunks are
    those of all, and everything else is of the first one.
    """

    measurement_id: UUID
    iq_data_location: str
    size_bytes: int | None = None
    etag: str | None = None
    format: str | None = None
    sample_rate_hz: float | None = None
    center_frequency_hz: float | None = None
    start_time: datetime | None = None
    num_samples: int | None = None
    num_chunks: int | None = None
    chunk_duration_ms: float | None = None
    measurement_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverFailure:
    """Why a receiver has no features."""

    reason: str
    message: str
    transient: bool
    traceback: str | None = None
    """Only of an error that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class ReceiverFeatures:
    """One receiver's result: either ``features`` (the 18, each an aggregate) or a ``failure``."""

    station: Station
    identity: InputIdentity
    features: Mapping[str, Aggregate] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    failure: ReceiverFailure | None = None
    settings: ReceiverSettings = ReceiverSettings()
    """Those that it was computed with."""


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """Figures of a session over its receivers.

    Attributes
    ----------
    num_receivers_detected : int
        Receivers with a signal in more than half of their chunks.
    mean_snr_db : float or None
        Over those receivers that have an SNR.
    overall_confidence : float
        In [0, 1].
    gdop : float or None
        See ``heimdall_assets.dsp.gdop``.
    """

    num_receivers_detected: int
    mean_snr_db: float | None
    overall_confidence: float
    gdop: float | None


@dataclass(frozen=True, slots=True)
class SessionFeatures:
    """What one extraction of a session found; stored as one row of ``measurement_features``."""

    session: Session
    receivers: tuple[ReceiverFeatures, ...]
    figures: SessionFigures
    feature_version: int
    seconds: float
    run_id: str | None

    @property
    def num_usable(self) -> int:
        """Number of receivers that have features."""
        return sum(receiver.features is not None for receiver in self.receivers)


@dataclass(frozen=True, slots=True)
class FeaturePairs:
    """One feature of the same receivers in the same sessions, as other code stored it and as it is computed now.

    Attributes
    ----------
    name, unit : str
        Of the feature; the unit is empty for a pure number.
    session_ids, receivers : tuple
        Whose the pairs are, shape (n,).
    old, new : ndarray of float64, shape (n,)
        Means over the chunks; NaN where undefined.
    """

    name: str
    unit: str
    session_ids: tuple[UUID, ...]
    receivers: tuple[str, ...]
    old: NDArray[np.float64]
    new: NDArray[np.float64]
