"""Registering recordings as sessions.

What a session is called by is its content: the same receivers with the same bytes are the same session, so
repeating an ingest adds nothing, whatever the files are called and wherever they lie.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.registration import NewMeasurement, NewSession, register_session
from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import (
    DatabaseUnavailable,
    HeimdallError,
    MalformedRecording,
    RecordingError,
    UnknownSession,
)
from heimdall_assets.ingest.files import bring, duration_s, probe
from heimdall_assets.ingest.places import place_of
from heimdall_assets.ingest.roots import writable_root
from heimdall_assets.ingest.stations import Description, describe, expanded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.ingest.places import Place
    from heimdall_assets.ingest.roots import Root
    from heimdall_assets.settings import Settings

NAMESPACE = uuid.UUID("6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11")
"""Of the name-based UUIDs of ingested sessions."""

MAX_RATE_HZ = 2.0**31 - 1


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one recording.

    Attributes
    ----------
    path : str
        As given.
    session_id : UUID or None
        None where it was refused.
    is_new : bool
        False where the same content was there already.
    num_measurements : int
        Receivers.
    warnings : tuple of str
        Files that are registered although they cannot be read as they are.
    error : HeimdallError or None
        Why it was refused.
    """

    path: str
    session_id: uuid.UUID | None
    is_new: bool = False
    num_measurements: int = 0
    warnings: tuple[str, ...] = ()
    error: HeimdallError | None = None


def ingest(
    paths: Sequence[Path | str], engine: Engine, settings: Settings, *, stations_file: Path | str | None = None
) -> Iterator[Ingested]:
    """Register recordings, one session each, and yield what became of them in order.

    Parameters
    ----------
    paths : sequence of Path or str
        A folder with ``stations.json`` is a session; a folder of such folders is one session each; any other file
        is a session of one receiver. ``s3://bucket/folder`` and objects are taken like folders and files.
    engine : Engine
        Heimdall's database.
    settings : Settings
        Files outside its IQ root are copied into it.
    stations_file : Path or str, optional
        A ``stations.json`` that describes the given files; its ``file`` entries name them.

    Yields
    ------
    Ingested
        One at a time; each is committed before it is yielded.

    Raises
    ------
    DatabaseError
        The database is away or is another one.
    SettingError
        The IQ root is nothing that can be written to.
    """
    root = writable_root(settings)
    for path in paths:
        try:
            places = expanded(place_of(path, settings))
        except RecordingError as error:
            yield Ingested(str(path), None, error=error)
            continue
        for place in places:
            try:
                described = None if stations_file is None else place_of(stations_file, settings)
                with _all_or_nothing(root):
                    ingested = _ingest_one(place, describe(place, described), engine, settings, root)
                yield ingested
            except RecordingError as error:
                yield Ingested(str(place), None, error=error)


def _ingest_one(place: Place, description: Description, engine: Engine, settings: Settings, root: Root) -> Ingested:
    path = str(place)
    if not description.receivers:
        raise MalformedRecording(f"{path} names no receivers")
    probed = [probe(station, file, description.sample_rate_hz, settings) for station, file in description.receivers]
    warnings = tuple(p.warning for p in probed if p.warning)
    names = {p.station.name: "" if description.is_anonymous else p.station.name for p in probed}
    content = "\n".join(f"{names[p.station.name]}\0{p.digest}" for p in sorted(probed, key=lambda p: p.station.name))
    session_id = uuid.uuid5(NAMESPACE, content)
    if _is_known(engine, session_id):
        return Ingested(path, session_id, False, len(probed), warnings)
    started_at = description.started_at or min(
        (p.start_time for p in probed if p.start_time is not None),
        default=probed[0].modified_at or datetime.now(UTC),
    )
    durations = [duration_s(p, settings) for p in probed]
    known = [duration for duration in durations if duration is not None]
    frequency_hz = description.center_frequency_hz or next(
        (p.center_frequency_hz for p in probed if p.center_frequency_hz is not None), None
    )
    session = NewSession(
        id=session_id,
        name=description.name,
        started_at=started_at,
        duration_seconds=max(known) if known else None,
        frequency_hz=None if frequency_hz is None else round(frequency_hz),
        known_source=description.known_source,
        measurements=[
            NewMeasurement(
                id=uuid.uuid5(session_id, p.station.name),
                station=p.station,
                iq_data_location=bring(p, root),
                iq_data_format=p.format,
                # The column is an integer of 32 bits; a rate beyond it stays in the file's header alone.
                sample_rate_hz=p.sample_rate_hz if (p.sample_rate_hz or 0) < MAX_RATE_HZ else None,
                num_samples=p.num_samples,
                duration_seconds=duration,
                level_db=p.level_db,
            )
            for p, duration in zip(probed, durations, strict=True)
        ],
    )
    is_about_to_commit = False
    try:
        with transaction(engine) as connection:
            is_new = register_session(connection, session)
            is_about_to_commit = True
    except DatabaseUnavailable:
        if is_about_to_commit:  # it may have been committed: better copies too many than a session without its files
            root.settle()
        raise
    return Ingested(path, session_id, is_new, len(probed), warnings)


@contextmanager
def _all_or_nothing(root: Root) -> Iterator[None]:
    """Remove what was copied inside the block where it fails."""
    try:
        yield
    except BaseException:
        root.take_back()
        raise
    root.settle()


def _is_known(engine: Engine, session_id: uuid.UUID) -> bool:
    """Whether the session is registered; asked before files are copied, so that a repetition leaves none behind."""
    try:
        with transaction(engine) as connection:
            load_session(connection, session_id, source_tolerance_hz=0.0)
    except UnknownSession:
        return False
    return True
