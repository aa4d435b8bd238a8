"""A session's recordings, read one after the other; those that lie in stores are asked for some time before."""

from __future__ import annotations

import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

from heimdall_assets.errors import BadParameter, RecordingError
from heimdall_assets.extraction.places import Places
from heimdall_assets.iq import is_in_store, open_location, stretch_of
from heimdall_assets.records import InputIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from uuid import UUID

    import numpy as np
    from numpy.typing import NDArray

    from heimdall_assets.iq import IQFile, Stretch
    from heimdall_assets.records import Measurement
    from heimdall_assets.settings import Settings

Noted = dict[str, tuple[int, str]]
"""Size and etag of objects, by location."""
MOST_SAMPLE_BYTES = 8
"""Of the usual formats; what is of a wider one takes another request."""
MAX_SAMPLES = 50_000_000
"""Of one receiver, 400 MB: more is asked for by a sample rate that is wrong, and would only exhaust the memory."""
AHEAD = 4
"""Recordings that are asked for before their turn: a store's latency is several times what one takes to compute."""
LARGEST_AHEAD_BYTES = 8 << 20
"""Of samples; for larger ones latency is little, and memory much."""


class Recording(NamedTuple):
    """What was read for a measurement.

    Attributes
    ----------
    samples : ndarray of complex64, shape (n,)
        Those of the chunks, without gaps; not to be written to.
    identity : InputIdentity
        What they were read of. Its sample rate is stated by the recording, the measurement, or the settings.
    sample_rate_hz : float
        The same rate.
    remarks : tuple of str
        What was assumed, is unknown, or was left out, a sentence each.
    """

    samples: NDArray[np.complex64]
    identity: InputIdentity
    sample_rate_hz: float
    remarks: tuple[str, ...] = ()


class Recordings:
    """Recordings of a session, for one thread. A context manager.

    Parameters
    ----------
    order : iterable of Measurement
        In which they are going to be read. Others may be read as well, and none has to be.
    settings : Settings
        Chunks and roots.
    noted : dict, optional
        Size and etag of every object that is opened are put down here, by location, also where it fails then.
    places : Places, optional
        Of which one is held; it is left to others while a store is waited for.
    """

    def __init__(
        self,
        order: Iterable[Measurement],
        settings: Settings,
        noted: Noted | None = None,
        places: Places | None = None,
    ) -> None:
        self._settings = settings
        self._noted = noted
        self._places = places or Places(1)
        self._waiting = deque(m for m in order if _is_worth_asking(m, settings))
        self._coming: dict[UUID, Future[Recording]] = {}

    def read(self, measurement: Measurement) -> Recording:
        """What belongs to a measurement; nothing of it is kept.

        Raises
        ------
        BadParameter
            The chunks would have more than MAX_SAMPLES.
        RecordingError
            As :func:`~heimdall_assets.iq.open_location` and :meth:`~heimdall_assets.iq.IQFile.read`.
        """
        while self._waiting and len(self._coming) < AHEAD:
            soon = self._waiting.popleft()
            readers = _readers(os.getpid(), self._settings.store_connections)
            self._coming[soon.id] = readers.submit(read_recording, soon, self._settings, self._noted)
        coming = self._coming.pop(measurement.id, None)
        at_hand = coming.done() if coming else not is_in_store(measurement.iq_data_location or "", self._settings)
        with nullcontext() if at_hand else self._places.left():
            return coming.result() if coming else read_recording(measurement, self._settings, self._noted)

    def close(self) -> None:
        """Ask for no more; what is on its way is not waited for."""
        self._waiting.clear()
        for coming in self._coming.values():
            coming.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_recording(measurement: Measurement, settings: Settings, noted: Noted | None = None) -> Recording:
    """Read the chunks of one measurement; as :meth:`Recordings.read`."""
    location = measurement.iq_data_location or ""
    with _opened(measurement, settings, noted) as recording:
        stretch = _stretch(recording, settings)
        sample_rate_hz, chunk_length = stretch.sample_rate_hz, stretch.chunk_length
        if chunk_length * settings.num_chunks > MAX_SAMPLES:
            raise BadParameter(
                f"{settings.num_chunks} chunks of {settings.chunk_ms:g} ms at {sample_rate_hz:g} Hz are "
                f"{chunk_length * settings.num_chunks} samples; at most {MAX_SAMPLES} are read"
            )
        samples = recording.read(0, stretch.num_samples, writable=False)
        identity = InputIdentity(
            measurement_id=measurement.id,
            measurement_ids=(measurement.id,),
            iq_data_location=location,
            size_bytes=recording.size_bytes,
            etag=recording.etag,
            format=recording.format,
            sample_rate_hz=sample_rate_hz,
            center_frequency_hz=recording.center_frequency_hz,
            start_time=recording.start_time,
            num_samples=recording.num_samples,
            num_chunks=max(1, min(settings.num_chunks, len(samples) // max(1, chunk_length))),
            chunk_duration_ms=settings.chunk_ms,
        )
        remarks = (*stretch.remarks, *_start_remark(measurement, recording))
    return Recording(samples, identity, sample_rate_hz, remarks)


@lru_cache(maxsize=1)
def _readers(pid: int, most: int) -> ThreadPoolExecutor:  # noqa: ARG001  # threads do not survive a fork
    """Threads of this process that read ahead: no more than are busy at a time, and kept, since a start costs more."""
    return ThreadPoolExecutor(most, "reader")


def remarks_on(measurement: Measurement, settings: Settings) -> tuple[str, ...]:
    """What will be assumed of a recording that is not computed yet.

    Only its header is read, and only from this machine: empty for one in a store, or one that cannot be read.
    """
    if is_in_store(measurement.iq_data_location or "", settings):
        return ()
    try:
        with _opened(measurement, settings) as recording:
            return (*_stretch(recording, settings).remarks, *_start_remark(measurement, recording))
    except RecordingError:
        return ()


def _opened(measurement: Measurement, settings: Settings, noted: Noted | None = None) -> IQFile:
    return open_location(
        measurement.iq_data_location or "",
        settings,
        noted,
        ahead_bytes=_expected_bytes(measurement, settings) or None,
        format=measurement.iq_data_format,
        sample_rate_hz=measurement.iq_sample_rate_hz,
        center_frequency_hz=measurement.frequency_hz,
    )


def _stretch(recording: IQFile, settings: Settings) -> Stretch:
    return stretch_of(
        recording,
        default_sample_rate_hz=settings.default_sample_rate_hz,
        chunk_ms=settings.chunk_ms,
        num_chunks=settings.num_chunks,
    )


def _start_remark(measurement: Measurement, recording: IQFile) -> tuple[str, ...]:
    """A remark where the measurement's time is that of its file; databases keep microseconds, file systems more."""
    changed = recording.modified_at
    if recording.start_time is not None or changed is None:
        return ()
    if abs(measurement.timestamp - changed) >= timedelta(milliseconds=1):
        return ()
    return ("The start time of the session is assumed: it is the time of this file's last change.",)


def _expected_bytes(measurement: Measurement, settings: Settings) -> int:
    """Of the chunks of a measurement whose sample rate is known, else 0; a wrong one is refused when it is opened."""
    rate_hz = measurement.iq_sample_rate_hz or 0.0
    if not 0 < rate_hz < math.inf:
        return 0
    return math.ceil(rate_hz * settings.chunk_ms / 1000 * settings.num_chunks * MOST_SAMPLE_BYTES)


def _is_worth_asking(measurement: Measurement, settings: Settings) -> bool:
    """Whether to ask for a recording before its turn; files of this machine are there at once."""
    expected_bytes = _expected_bytes(measurement, settings)
    return 0 < expected_bytes <= LARGEST_AHEAD_BYTES and is_in_store(measurement.iq_data_location or "", settings)
