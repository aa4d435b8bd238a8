"""The files of a recording: what their headers say, what they are called by, and bringing them under the IQ root."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import (
    MalformedRecording,
    RecordingError,
    RecordingNotFound,
    StoreUnavailable,
    UnknownFormat,
)
from heimdall_assets.ingest.places import pieces
from heimdall_assets.iq import Hints, IQFile, assumed_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heimdall_assets.ingest.places import Place
    from heimdall_assets.ingest.roots import Root
    from heimdall_assets.ingest.stations import Description
    from heimdall_assets.records import Station
    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

INGESTED_FOLDER = "ingested"
LEVEL_SAMPLES = 65_536
SIGMF_PAIR = (".sigmf-meta", ".sigmf-data")


@dataclass(frozen=True, slots=True)
class Probed:
    """A receiver's file: its digest, and what its header says where it can be read."""

    station: Station
    place: Place
    digest: tuple[str, ...]
    """Of each of its files; the one with the samples comes last."""
    format: str
    sample_rate_hz: float | None
    center_frequency_hz: float | None
    start_time: datetime | None
    num_samples: int | None
    warnings: tuple[str, ...]
    modified_at: datetime | None
    level_db: float | None = None

    @property
    def content(self) -> str:
        """Digest of all of its bytes."""
        return self.digest[0] if len(self.digest) == 1 else hashlib.sha256("".join(self.digest).encode()).hexdigest()

    @property
    def folder(self) -> str:
        """Where it is kept below the root if it has to be copied there."""
        return f"{INGESTED_FOLDER}/{self.content[:2]}/{self.content[2:34]}"


def probe(
    station: Station, place: Place, description: Description, settings: Settings, format_name: str | None = None
) -> Probed:
    """Read a file's header and digest.

    A file that is damaged is registered all the same: that a receiver delivered rubbish is part of the session.
    """
    _require_text(place)
    hints = Hints(
        format=format_name,
        sample_rate_hz=description.sample_rate_hz,
        center_frequency_hz=description.center_frequency_hz,
        max_bytes=settings.max_object_bytes,
    )
    try:
        with IQFile(place.open(settings.max_object_bytes), hints) as recording:
            digest, modified_at = _digest(place)
            return Probed(
                station=station,
                place=place,
                digest=digest,
                format=recording.format,
                sample_rate_hz=recording.sample_rate_hz,
                center_frequency_hz=recording.center_frequency_hz,
                start_time=recording.start_time,
                num_samples=recording.num_samples,
                warnings=tuple(f"{place.name}: {remark}" for remark in _remarks(recording, settings)),
                modified_at=modified_at,
                level_db=_level_db(recording),
            )
    except (RecordingNotFound, StoreUnavailable, UnknownFormat):
        raise
    except RecordingError as error:
        if not place.is_file():
            raise
        warning = f"{place.name}: {error.message}"
        logger.warning("%s", warning)
        suffix = PurePath(place.name).suffix.lstrip(".").lower()
        digest, modified_at = _digest(place)
        return Probed(
            station, place, digest, suffix, description.sample_rate_hz, None, None, None, (warning,), modified_at
        )


def _remarks(recording: IQFile, settings: Settings) -> tuple[str, ...]:
    """What is assumed of a recording, or was passed over."""
    if recording.sample_rate_hz is not None:
        return recording.remarks
    return (*recording.remarks, assumed_rate(settings.default_sample_rate_hz))


def started_at(probed: Sequence[Probed]) -> tuple[datetime, tuple[str, ...]]:
    """When a session of these files started, and a warning where that is only assumed.

    The earliest time that a header or a name states; where none does, the time of the first file's last change: that
    is when its recording ended, or when it was copied.
    """
    stated = [each.start_time for each in probed if each.start_time is not None]
    if stated:
        return min(stated), ()
    first = probed[0]
    if first.modified_at is not None:
        time, what = first.modified_at, "the time of the file's last change"
    else:
        time, what = datetime.now(UTC), "the present time"
    warning = (
        f"the start time {time:%Y-%m-%d %H:%M:%S} UTC is assumed: it is {what}, since no header or name states one"
    )
    return time, (f"{first.place.name}: {warning}",)


def _level_db(recording: IQFile) -> float | None:
    """Mean power of the first samples in dB relative to full scale; None where there is none."""
    try:
        samples = recording.read(0, min(recording.num_samples, LEVEL_SAMPLES))
    except RecordingError:  # a part that is not needed to register it
        return None
    power = float(np.mean(np.abs(samples) ** 2)) if samples.size else 0.0
    return 10.0 * math.log10(power) if power > 0.0 and math.isfinite(power) else None


def duration_s(probed: Probed, settings: Settings) -> float | None:
    """Duration of a recording in s; None for one that cannot be read."""
    if probed.num_samples is None:
        return None
    return probed.num_samples / (probed.sample_rate_hz or settings.default_sample_rate_hz)


def bring(probed: Probed, root: Root) -> str:
    """Location of a file below the root; copied there, under its digest, where it lies elsewhere."""
    location = root.location(probed.place)
    if location is not None:
        return location
    kept = {part.name: root.keep(part, probed.folder) for part in _parts(probed.place)}
    return kept[probed.place.name]


def _require_text(place: Place) -> None:
    try:
        str(place).encode()
    except UnicodeEncodeError as error:
        raise MalformedRecording(f"the name of {str(place)!a} is not UTF-8") from error


def _parts(place: Place) -> list[Place]:
    """The files that make up a recording: a SigMF pair is two, everything else one."""
    name = PurePath(place.name)
    if name.suffix not in SIGMF_PAIR:
        return [place]
    both = [place.parent().child(name.with_suffix(suffix).name) for suffix in SIGMF_PAIR]
    return [part for part in both if part.is_file()]


def _digest(place: Place) -> tuple[tuple[str, ...], datetime | None]:
    """Digests of a recording's files, and the time of the one that is named."""
    digests = []
    modified_at = None
    for part in _parts(place):
        source = part.open()
        try:
            digest = hashlib.sha256()
            for piece in pieces(source):
                digest.update(piece)
        finally:
            source.close()
        digests.append(digest.hexdigest())
        if part.name == place.name:
            modified_at = source.modified_at
    return tuple(digests), modified_at
