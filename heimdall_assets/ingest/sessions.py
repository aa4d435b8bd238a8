"""Registering recordings as sessions.

What a session is called by is its content: the same receivers with the same bytes are the same session, so
repeating an ingest adds nothing, whatever the files are called and wherever they lie. What they are described as may
change: then what an ingest wrote is corrected, and each difference is named.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heimdall_assets.db.corrections import Correction, measurement_id, sharing_sessions
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.registration import NewMeasurement, NewSession, register_session
from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import (
    DatabaseUnavailable,
    HeimdallError,
    MalformedRecording,
    RecordingError,
    SessionBusy,
    StationElsewhere,
    UnknownSession,
)
from heimdall_assets.ingest.corrections import correct, move_stations, moves, source_warnings
from heimdall_assets.ingest.document import EARLIEST, LATEST, shown
from heimdall_assets.ingest.files import INGESTED_FOLDER, Probed, bring, duration_s, probe, started_at
from heimdall_assets.ingest.places import place_of
from heimdall_assets.ingest.roots import writable_root
from heimdall_assets.ingest.stations import MAX_RATE_HZ, Description, describe, expanded
from heimdall_assets.iq import identify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.ingest.places import Place
    from heimdall_assets.ingest.roots import Root
    from heimdall_assets.records import Session
    from heimdall_assets.settings import Settings

NAMESPACE = uuid.UUID("6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11")
"""Of the name-based UUIDs of ingested sessions."""

SAME_RATE = 1e-3
"""Of a sample rate: receivers' clocks differ by less."""


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
        What is only assumed, what was passed over, and files that are registered although they cannot be read.
    corrections : tuple of Correction
        Values that were stored otherwise.
    sessions_stale : int
        Sessions whose features are stale by that.
    error : HeimdallError or None
        Why it was refused.
    """

    path: str
    session_id: uuid.UUID | None
    is_new: bool = False
    num_measurements: int = 0
    warnings: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    sessions_stale: int = 0
    error: HeimdallError | None = None


def ingest(
    paths: Sequence[Path | str],
    engine: Engine,
    settings: Settings,
    *,
    stations_file: Path | str | None = None,
    format_name: str | None = None,
    correct_stations: bool = False,
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
    format_name : str, optional
        The format of files whose content does not tell.
    correct_stations : bool
        Stations that are there get the places that they are described at; without it a session that contradicts one
        is refused.

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
                    ingested = _ingest_one(
                        place,
                        describe(place, described),
                        engine,
                        settings,
                        root,
                        format_name=format_name,
                        correct_stations=correct_stations,
                    )
                yield ingested
            except (RecordingError, StationElsewhere, SessionBusy) as error:
                yield Ingested(str(place), None, error=error)


def _ingest_one(
    place: Place,
    description: Description,
    engine: Engine,
    settings: Settings,
    root: Root,
    *,
    format_name: str | None,
    correct_stations: bool,
) -> Ingested:
    path = str(place)
    if not description.receivers:
        raise MalformedRecording(f"{path} names no receivers")
    probed = [probe(station, file, description, settings, format_name) for station, file in description.receivers]
    probed, clocks = _without_odd_times(probed)
    *former, current = _session_ids(description, probed)
    stored = next(filter(None, (_stored(engine, key, settings) for key in (*former, current))), None)
    session_id = current if stored is None else stored.id
    moved = moves(engine, [p.station for p in probed], may_move=correct_stations)
    is_timed = description.started_at is not None or any(p.start_time is not None for p in probed)
    start, assumed = (description.started_at, ()) if description.started_at else started_at(probed)
    warnings = (*(warning for p in probed for warning in p.warnings), *clocks)
    if stored is None or stored.started_at == start:
        warnings += assumed
    durations = [duration_s(p, settings) for p in probed]
    known = [duration for duration in durations if duration is not None]
    frequency_hz = description.center_frequency_hz or next(
        (p.center_frequency_hz for p in probed if p.center_frequency_hz is not None), None
    )
    session = NewSession(
        id=session_id,
        name=description.name,
        started_at=start,
        duration_seconds=max(known) if known else None,
        frequency_hz=None if frequency_hz is None else round(frequency_hz),
        known_source=description.known_source,
        measurements=[
            NewMeasurement(
                id=measurement_id(session_id, p.station.name),
                station=p.station,
                iq_data_location=bring(p, root) if stored is None or _is_elsewhere(p, stored, settings) else "",
                iq_data_format=p.format,
                # The column is an integer of 32 bits; a rate beyond it stays in the file's header alone.
                sample_rate_hz=p.sample_rate_hz if (p.sample_rate_hz or 0) <= MAX_RATE_HZ else None,
                num_samples=p.num_samples,
                duration_seconds=duration,
                level_db=p.level_db,
            )
            for p, duration in zip(probed, durations, strict=True)
        ],
    )
    done = [move_stations(engine, moved)]
    warnings += _ignored_rates(description, probed) + source_warnings(engine, description.known_source)
    is_new = False
    is_about_to_commit = stored is not None
    try:
        if stored is None:
            with transaction(engine) as connection:
                sharing = sharing_sessions(connection, session)
                is_new = register_session(connection, session)
                is_about_to_commit = True
            warnings += tuple(
                f"session {key} holds the same recordings of {', '.join(map(shown, names))}: "
                f"`heimdall ignore {key}` takes it out of the work list"
                for key, names in sharing.items()
            )
        else:
            done.append(correct(engine, settings, session, is_named=description.is_named, is_timed=is_timed))
    except DatabaseUnavailable:
        if is_about_to_commit:  # it may have been committed: better copies too many than a session without its files
            root.settle()
        raise
    return Ingested(
        path,
        session_id,
        is_new,
        len(probed),
        warnings + tuple(warning for each in done for warning in each.warnings),
        corrections=tuple(correction for each in done for correction in each.corrections),
        sessions_stale=sum(each.sessions_stale for each in done),
    )


@contextmanager
def _all_or_nothing(root: Root) -> Iterator[None]:
    """Remove what was copied inside the block where it fails."""
    try:
        yield
    except BaseException:
        root.take_back()
        raise
    root.settle()


def _stored(engine: Engine, session_id: uuid.UUID, settings: Settings) -> Session | None:
    """The session as it is registered; asked for before files are copied, so that a repetition leaves none behind."""
    try:
        with transaction(engine) as connection:
            return load_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
    except UnknownSession:
        return None


def _session_ids(description: Description, probed: Sequence[Probed]) -> list[uuid.UUID]:
    """What a session of these recordings may be registered as.

    The last one is made of the samples alone, so that a SigMF recording whose metadata was corrected is the same. The
    first one is made of all bytes, as former releases did.
    """
    names = {p.station.name: "" if description.is_anonymous else p.station.name for p in probed}
    ordered = sorted(probed, key=lambda p: p.station.name)
    digests = ([p.content for p in ordered], [p.digest[-1] for p in ordered])
    lines = (
        [f"{names[p.station.name]}\0{digest}" for p, digest in zip(ordered, each, strict=True)] for each in digests
    )
    return list(dict.fromkeys(uuid.uuid5(NAMESPACE, "\n".join(each)) for each in lines))


def _is_elsewhere(probed: Probed, stored: Session, settings: Settings) -> bool:
    """Whether a recording has to be brought again: it has gone, or what was copied had other metadata."""
    own = measurement_id(stored.id, probed.station.name)
    locations = [m.iq_data_location for m in stored.measurements if m.id == own and m.iq_data_location]
    return any(
        (location.startswith(f"{INGESTED_FOLDER}/") and not location.startswith(f"{probed.folder}/"))
        or identify(location, settings) is None
        for location in locations
    )


def _without_odd_times(probed: Sequence[Probed]) -> tuple[list[Probed], tuple[str, ...]]:
    """The files without the times of clocks that were never set, and a warning for each of those."""
    odd = [p for p in probed if p.start_time is not None and not EARLIEST <= p.start_time < LATEST]
    return (
        [replace(p, start_time=None) if p in odd else p for p in probed],
        tuple(f"{p.place.name}: its start, {p.start_time.isoformat()}, is not used" for p in odd if p.start_time),
    )


def _ignored_rates(description: Description, probed: Sequence[Probed]) -> tuple[str, ...]:
    """Says where a recording states another sample rate than its description: the recording's is used."""
    rate_hz = description.sample_rate_hz
    if rate_hz is None:
        return ()
    others = [p for p in probed if p.sample_rate_hz and abs(p.sample_rate_hz / rate_hz - 1) > SAME_RATE]
    return tuple(
        f"{p.place.name}: it states {p.sample_rate_hz:.10g} Hz, which is used, not sample_rate_hz={rate_hz:.10g}"
        for p in others
    )
