"""Writing recording sessions as Heimdall's other services do: for recordings that come as files.

Ids and times are given with every row: the tables may be older than ours, without defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa

from heimdall_assets.db.mandatory import insert_into
from heimdall_assets.db.sessions import has_session_link
from heimdall_assets.db.tables import known_sources, measurements, recording_sessions, websdr_stations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.records import KnownSource, Station


@dataclass(frozen=True, slots=True)
class NewMeasurement:
    """A measurement to be registered: one receiver's file.

    Attributes
    ----------
    level_db : float or None
        Mean power of its first samples in dB relative to full scale; written where the database demands a strength.
    """

    id: UUID
    station: Station
    iq_data_location: str
    iq_data_format: str
    sample_rate_hz: float | None
    num_samples: int | None
    duration_seconds: float | None
    level_db: float | None = None


SILENCE_DB = -200.0
"""The strength of a recording without power, or without a sample that can be read."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be registered with its measurements."""

    id: UUID
    name: str
    started_at: datetime
    duration_seconds: float | None
    frequency_hz: int | None
    known_source: KnownSource | None
    measurements: Sequence[NewMeasurement]

    @property
    def stored_name(self) -> str:
        """The name as the column holds it."""
        return self.name[:255]


def register_session(connection: Connection, session: NewSession) -> bool:
    """Insert a completed session; in the caller's transaction, so that it appears whole or not at all.

    Returns
    -------
    bool
        False if a session with this id is there already: then nothing is changed.
    """
    source = session.known_source
    found_id = None if source is None else source_id(connection, source)
    if connection.scalar(sa.select(recording_sessions.c.id).where(recording_sessions.c.id == session.id)) is not None:
        return False
    stations = {new.id: _station_id(connection, new) for new in session.measurements}
    row = {
        "id": session.id,
        "known_source_id": found_id,
        "session_name": session.stored_name,
        "session_start": session.started_at,
        "duration_seconds": session.duration_seconds,
        "status": "completed",
        "created_at": sa.func.now(),
        "updated_at": sa.func.now(),
    }
    end = session.started_at + timedelta(seconds=session.duration_seconds or 0.0)
    statement = insert_into(recording_sessions, row, connection, session_end=end, duration_seconds=0.0)
    if connection.scalar(statement.on_conflict_do_nothing().returning(sa.column("id"))) is None:
        return False
    for new in session.measurements:
        row = _measurement_row(connection, session, new, stations[new.id])
        rate = round(new.num_samples / new.duration_seconds) if new.num_samples and new.duration_seconds else None
        connection.execute(
            insert_into(
                measurements,
                row,
                connection,
                frequency_hz=0,  # which is read as unknown
                signal_strength_db=SILENCE_DB if new.level_db is None else new.level_db,
                iq_sample_rate=rate,
                iq_samples_count=0,
                duration_seconds=0.0,
            )
        )
    return True


def _measurement_row(
    connection: Connection, session: NewSession, new: NewMeasurement, station_id: UUID
) -> dict[str, Any]:
    rate = new.sample_rate_hz
    link = {"recording_session_id": session.id} if has_session_link(connection) else {}
    return {
        **link,
        "timestamp": session.started_at,
        "id": new.id,
        "websdr_station_id": station_id,
        "frequency_hz": session.frequency_hz,
        "iq_data_location": new.iq_data_location,
        "iq_data_format": new.iq_data_format,
        "iq_sample_rate": None if rate is None else round(rate),
        "iq_samples_count": new.num_samples,
        "duration_seconds": new.duration_seconds,
        "created_at": session.started_at,  # inside the session's window: databases without the link go by it
    }


def _station_id(connection: Connection, new: NewMeasurement) -> UUID:
    """The station's id; a station that is there keeps its place, whatever a file says."""
    table, station = websdr_stations, new.station
    by_name = sa.select(table.c.id).where(table.c.name == station.name).order_by(table.c.id).limit(1)
    known: UUID | None = connection.scalar(by_name)
    if known is not None:
        return known
    row = {
        "id": uuid4(),
        "name": station.name,
        "latitude": station.latitude,
        "longitude": station.longitude,
        "altitude_asl": None if station.altitude_m is None else round(station.altitude_m),
    }
    folder = f"file:{PurePosixPath(new.iq_data_location).parent}"
    statement = insert_into(table, row, connection, url=folder, is_active=True)
    # without an index named: tables of others may lack the one that ours have
    connection.execute(statement.on_conflict_do_nothing())
    found: UUID = connection.execute(by_name).scalar_one()
    return found


def find_source(connection: Connection, source: KnownSource) -> Any:
    """The row of the known source of this name and frequency; None where there is none."""
    table = known_sources
    same = (table.c.name == source.name, table.c.frequency_hz.is_not_distinct_from(source.frequency_hz))
    return connection.execute(sa.select(table).where(*same).order_by(table.c.id).limit(1)).one_or_none()


def source_id(connection: Connection, source: KnownSource) -> UUID:
    """The source's id: the one of this name and frequency, else a new one."""
    stored = find_source(connection, source)
    if stored is not None:
        found: UUID = stored.id
        return found
    new_id = uuid4()
    row = {
        "id": new_id,
        "name": source.name,
        "frequency_hz": source.frequency_hz,
        "latitude": source.latitude,
        "longitude": source.longitude,
        "power_dbm": source.power_dbm,
        "source_type": source.source_type,
    }
    truths = {"frequency_hz": 0, "source_type": "unknown", "is_validated": False}
    connection.execute(insert_into(known_sources, row, connection, **truths))
    return new_id
