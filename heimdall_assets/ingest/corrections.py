"""What is described otherwise than it is stored: sessions that an ingest wrote before, and places of stations.

What a description does not state is left as it is; so is what other services wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from heimdall_assets.db import corrections as store
from heimdall_assets.db.corrections import Correction
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import change_settings, session_lock
from heimdall_assets.db.registration import find_source, source_id
from heimdall_assets.db.sessions import load_session
from heimdall_assets.db.truth import OTHER_TRUTH
from heimdall_assets.db.validity import CORRECTED
from heimdall_assets.errors import StationElsewhere
from heimdall_assets.ingest.document import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.db.registration import NewMeasurement, NewSession
    from heimdall_assets.records import KnownSource, Measurement, Session, Station
    from heimdall_assets.settings import Settings

SAME_PLACE_DEG = 1e-6
"""About 0.1 m: places that differ by less are written with other numbers of digits."""

SAME_START = timedelta(milliseconds=1)

SESSION_COLUMNS = {"session_start": "session_start", "name": "session_name"}
MEASUREMENT_COLUMNS = {
    "sample_rate_hz": "iq_sample_rate",
    "center_frequency_hz": "frequency_hz",
    "format": "iq_data_format",
    "location": "iq_data_location",
}
"""Columns by the names that ``stations.json`` has for them, or would have."""

OF_SAMPLES = ("sample_rate_hz", "center_frequency_hz", "format", "session_start")
"""Fields that features depend on."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What was corrected.

    Attributes
    ----------
    corrections : tuple of Correction
        Each value that was changed.
    warnings : tuple of str
        What differs, or belongs to the session, and was left as it is.
    sessions_stale : int
        Sessions whose features are stale since.
    """

    corrections: tuple[Correction, ...] = ()
    warnings: tuple[str, ...] = ()
    sessions_stale: int = 0


def correct(engine: Engine, settings: Settings, described: NewSession, *, is_named: bool, is_timed: bool) -> Corrected:
    """Make a session that an ingest wrote before what it is described as now.

    Parameters
    ----------
    engine : Engine
        Heimdall's database.
    settings : Settings
        How long a worker that holds the session is waited for.
    described : NewSession
        The session; measurements without a location keep theirs.
    is_named, is_timed : bool
        Its name, and its start, are stated by the description or by a recording.
    """
    stated = {"session_start": is_timed, "name": is_named}
    with transaction(engine) as connection:
        found = _differences(connection, described, stated, settings)
    if not found.corrections:
        return found
    timeout_s = settings.lock_timeout_seconds
    with session_lock(engine, described.id, timeout_seconds=timeout_s) as connection, connection.begin():
        change_settings(connection)
        found = _differences(connection, described, stated, settings)
        num_stale = _apply(connection, described, found.corrections, settings)
    return Corrected(found.corrections, found.warnings, num_stale)


def _differences(
    connection: Connection, described: NewSession, stated: dict[str, bool], settings: Settings
) -> Corrected:
    session = load_session(connection, described.id, source_tolerance_hz=settings.source_tolerance_hz)
    found: list[Correction] = []
    if stated["session_start"] and abs(session.started_at - described.started_at) >= SAME_START:
        found.append(Correction(None, "session_start", session.started_at, described.started_at))
    if stated["name"] and session.name != described.stored_name:
        found.append(Correction(None, "name", session.name, described.stored_name))
    warnings: list[str] = []
    if described.known_source is not None:
        named = store.stored_source(connection, store.source_of(connection, described.id))
        before, after = (None if each is None else _source_text(each) for each in (named, described.known_source))
        if before != after:
            found.append(Correction(None, "known_source", before, after))
    for stored, new in _pairs(session, described):
        if new is None:
            warnings.append(
                f"measurement {stored.id} of {shown(stored.station.name)} is not of this folder: it stays as it is"
            )
        else:
            found += _measurement_differences(stored, new, described.frequency_hz)
    gone = {m.station.name for m in described.measurements} - {m.station.name for m in session.measurements}
    if gone and len(session.measurements) < len(described.measurements):
        warnings += [f"the measurement of {shown(name)} is gone from the session" for name in sorted(gone)]
    return Corrected(tuple(found), tuple(warnings))


def _pairs(session: Session, described: NewSession) -> list[tuple[Measurement, NewMeasurement | None]]:
    """The measurements of a stored session with what each is described as; None for one of another service."""
    by_name = {new.station.name: new for new in described.measurements}
    # the receiver of a single file is called by the file, whose name may be another one by now
    alone = described.measurements[0] if len(by_name) == 1 else None
    return [
        (
            stored,
            by_name.get(stored.station.name, alone)
            if stored.id == store.measurement_id(described.id, stored.station.name)
            else None,
        )
        for stored in session.measurements
    ]


def _measurement_differences(stored: Measurement, new: NewMeasurement, frequency_hz: int | None) -> list[Correction]:
    rate = new.sample_rate_hz
    pairs = {
        "sample_rate_hz": (stored.iq_sample_rate_hz, None if rate is None else round(rate)),
        "center_frequency_hz": (stored.frequency_hz, frequency_hz),
        # the format of a file that cannot be read is only what it is called by
        "format": (stored.iq_data_format, None if new.num_samples is None else new.iq_data_format),
        "location": (stored.iq_data_location, new.iq_data_location or None),
    }
    name = stored.station.name
    return [
        Correction(name, field, *pair) for field, pair in pairs.items() if pair[1] is not None and pair[0] != pair[1]
    ]


def _apply(connection: Connection, described: NewSession, found: Sequence[Correction], settings: Settings) -> int:
    """Change the rows; returns how many sessions have stale features since."""
    session = load_session(connection, described.id, source_tolerance_hz=settings.source_tolerance_hz)
    of_session = {each.field: each for each in found if each.receiver is None}
    values: dict[str, Any] = {SESSION_COLUMNS[f]: c.after for f, c in of_session.items() if f in SESSION_COLUMNS}
    if "known_source" in of_session and described.known_source is not None:
        values["known_source_id"] = source_id(connection, described.known_source)
    start = of_session.get("session_start")
    moment = {} if start is None else dict.fromkeys(("timestamp", "created_at"), described.started_at)
    for stored, new in _pairs(session, described):
        fields = [each for each in found if each.receiver == stored.station.name]
        if new is None or not (fields or moment):
            continue
        changed = {**moment, **{MEASUREMENT_COLUMNS[each.field]: each.after for each in fields}}
        if {"sample_rate_hz", "format"} & {each.field for each in fields} and new.duration_seconds is not None:
            changed |= {"iq_samples_count": new.num_samples, "duration_seconds": new.duration_seconds}
            values["duration_seconds"] = described.duration_seconds
        store.correct_measurement(connection, stored, changed)
    store.correct_session(connection, described.id, values, started_before=None if start is None else start.before)
    fields_found = {each.field for each in found}
    reason = CORRECTED if fields_found & {*OF_SAMPLES} else OTHER_TRUTH if "known_source" in fields_found else None
    return 0 if fields_found == {"name"} else store.mark_session(connection, described.id, reason)


@dataclass(frozen=True, slots=True)
class Move:
    """A station that is described elsewhere than it is stored."""

    station: Station
    before: tuple[float | None, float | None, int | None]
    after: tuple[float | None, float | None, int | None]

    @property
    def is_known(self) -> bool:
        """Whether the stored place, not only a missing one, is contradicted."""
        return any(_is_other(*pair) and pair[0] is not None for pair in zip(self.before, self.after, strict=True))

    @property
    def corrections(self) -> list[Correction]:
        """The values that differ."""
        names = ("latitude", "longitude", "altitude_asl")
        pairs = zip(names, self.before, self.after, strict=True)
        return [Correction(self.station.name, name, *pair) for name, *pair in pairs if _is_other(*pair)]


def moves(engine: Engine, stations: Iterable[Station], *, may_move: bool) -> list[Move]:
    """The stations that are there and are described elsewhere.

    Raises
    ------
    StationElsewhere
        A stored place is contradicted, and may not be changed.
    """
    by_name = {station.name: station for station in stations}
    with transaction(engine) as connection:
        stored = store.stored_stations(connection, list(by_name))
    found = [
        Move(
            by_name[name],
            (row.latitude, row.longitude, row.altitude_asl),
            (
                by_name[name].latitude,
                by_name[name].longitude,
                None if (altitude_m := by_name[name].altitude_m) is None else round(altitude_m),
            ),
        )
        for name, row in stored.items()
    ]
    found = [move for move in found if move.corrections]
    if refused := [move for move in found if move.is_known and not may_move]:
        texts = [
            f"receiver {shown(m.station.name)} stands at {_place_text(*m.before)}, not at {_place_text(*m.after)}"
            for m in refused
        ]
        raise StationElsewhere(f"{'; '.join(texts)}: --correct-stations changes what is stored")
    return found


def move_stations(engine: Engine, found: Sequence[Move]) -> Corrected:
    """Give stations the places that they are described at; features that depend on them become stale."""
    if not found:
        return Corrected()
    with transaction(engine) as connection:
        change_settings(connection)
        num_stale = 0
        for move in found:
            store.place_station(connection, move.station)
            is_altitude_moved = any(each.field == "altitude_asl" for each in move.corrections)
            num_stale += store.mark_station(connection, move.station.name, is_altitude_moved=is_altitude_moved)
    return Corrected(tuple(each for move in found for each in move.corrections), (), num_stale)


def source_warnings(engine: Engine, described: KnownSource | None) -> tuple[str, ...]:
    """Says where a known source that is there stays elsewhere than it is described."""
    if described is None:
        return ()
    with transaction(engine) as connection:
        stored = find_source(connection, described)
    if stored is None:
        return ()
    before = (stored.latitude, stored.longitude)
    if not any(_is_other(*pair) for pair in zip(before, (described.latitude, described.longitude), strict=True)):
        return ()
    after = _place_text(described.latitude, described.longitude)
    text = f"the known source {shown(described.name)} stays at {_place_text(*before)}, not at {after}"
    return (f"{text}: other sessions depend on it",)


def _is_other(stored: float | None, stated: float | None) -> bool:
    """Whether a stated coordinate is another one than the stored; longitudes of 180 and -180 are the same."""
    if stated is None:
        return False
    if stored is None:
        return True
    distance = abs(stored - stated) % 360.0
    return not min(distance, 360.0 - distance) < SAME_PLACE_DEG


def _place_text(latitude: float | None, longitude: float | None, altitude_m: float | None = None) -> str:
    if latitude is None or longitude is None:
        return "no known place"
    return f"{latitude:.9g} N {longitude:.9g} E" + ("" if altitude_m is None else f", {altitude_m:g} m")


def _source_text(source: Any) -> str:
    return source.name if source.frequency_hz is None else f"{source.name}, {source.frequency_hz} Hz"
