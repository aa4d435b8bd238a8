"""A receiver's recordings of one session, in the order of time: the first that can be used, and as many as are needed.

Heimdall's recorder writes several measurements per receiver, one a second. Chunks are taken from the first recording,
and from those after it only where the chunks that are asked for exceed what was recorded so far by a whole chunk or
more. No chunk straddles two recordings: what is left of one behind its last chunk is not used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.request import samples_per_chunk
from heimdall_assets.errors import BadRow, RecordingNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heimdall_assets.extraction.recordings import Recording, Recordings
    from heimdall_assets.records import Measurement, Session
    from heimdall_assets.settings import Settings


class Series:
    """The measurements of one receiver, read as far as its chunks need.

    Parameters
    ----------
    measurements : sequence of Measurement
        At least one, in the order of time.
    settings : Settings
        Chunks.
    recordings : Recordings
        Where they are read.

    Attributes
    ----------
    at : Measurement
        The one that was read last, or whose error was raised.
    remarks : list of str
        Which measurements were passed over, and why.
    """

    def __init__(self, measurements: Sequence[Measurement], settings: Settings, recordings: Recordings) -> None:
        self.at = measurements[0]
        self.remarks: list[str] = []
        self._measurements = measurements
        self._settings = settings
        self._recordings = recordings

    def read(self) -> Recording:
        """All chunks as one recording, of one sample rate and one centre frequency.

        An object that is not found or shorter than one chunk is passed over. Where nothing longer is there, the first
        one that is shorter is taken.

        Raises
        ------
        RecordingNotFound
            Nothing is there. Another attempt is worth it: an object may still come.
        HeimdallError
            Anything else is wrong with a measurement that is needed.
        """
        parts: list[Recording] = []
        short: list[tuple[Measurement, Recording]] = []
        missing: list[tuple[Measurement, RecordingNotFound]] = []
        taken = recorded = 0
        for measurement in self._measurements:
            self.at = measurement
            require_sound(measurement)
            try:
                found = self._recordings.read(measurement)
            except RecordingNotFound as error:
                missing.append((measurement, error))
                self._pass_over(error.message)
                continue
            length = samples_per_chunk(found.sample_rate_hz, self._settings.chunk_ms)
            if len(found.samples) < length:
                short.append((measurement, found))
                self._pass_over(f"its {len(found.samples)} samples are less than a chunk of {length}")
                continue
            if parts and not _is_alike(parts[0], found):
                self._pass_over("its sample rate or centre frequency is another one")
                continue
            chunks = min(len(found.samples) // length, self._settings.num_chunks - taken)
            identity = replace(found.identity, num_chunks=chunks)
            parts.append(found._replace(samples=found.samples[: chunks * length], identity=identity))
            taken += chunks
            recorded += found.identity.num_samples or len(found.samples)
            if taken >= self._settings.num_chunks or recorded > (self._settings.num_chunks - 1) * length:
                break
        if not parts and short:
            self.at, only = short[0]
            self.remarks = [remark for remark in self.remarks if str(self.at.id) not in remark]
            parts.append(only)
        if not parts:
            self.at, not_found = missing[0]
            raise not_found
        return _joined(parts)

    def _pass_over(self, why: str) -> None:
        self.remarks.append(f"Measurement {self.at.id} was passed over: {why}.")


def require_sound(row: Session | Measurement) -> None:
    """Raise where a value cannot be worked with.

    Raises
    ------
    BadRow
        Names table, column and value.
    """
    if row.bad_value is not None:
        raise BadRow(f"{row.bad_value} cannot be worked with: correct it, then `heimdall backfill --retry-failed`")


def _is_alike(first: Recording, other: Recording) -> bool:
    return (
        first.sample_rate_hz == other.sample_rate_hz
        and first.identity.center_frequency_hz == other.identity.center_frequency_hz
    )


def _joined(parts: Sequence[Recording]) -> Recording:
    first = parts[0]
    identity = replace(
        first.identity,
        measurement_ids=tuple(part.identity.measurement_id for part in parts),
        num_samples=sum(part.identity.num_samples or 0 for part in parts),
        num_chunks=sum(part.identity.num_chunks or 0 for part in parts),
    )
    samples = first.samples if len(parts) == 1 else np.concatenate([part.samples for part in parts])
    return first._replace(samples=samples, identity=identity)
