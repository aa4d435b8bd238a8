"""Correcting what an ingest registered: sessions, their measurements, the places of stations; and what is stale then.

Only rows that an ingest wrote are corrected. A session is recognised by its id, which is made of its content, and a
measurement by its id, which is made of the session's and the station's name.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db import inputs
from heimdall_assets.db.discovery import discover
from heimdall_assets.db.sessions import HAS_FEATURES, STARTS, VERSION
from heimdall_assets.db.tables import known_sources, measurements, recording_sessions, websdr_stations
from heimdall_assets.db.truth import OTHER_TRUTH
from heimdall_assets.db.validity import (
    CORRECTED,
    RECEIVER_SETTINGS,
    STATION_PLACE,
    differs_from_places,
    differs_from_settings,
)
from heimdall_assets.db.windows import Span

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.db.registration import NewSession
    from heimdall_assets.records import Measurement, Station


@dataclass(frozen=True, slots=True)
class Correction:
    """A value that was stored, and the one that holds now.

    Attributes
    ----------
    receiver : str or None
        Name of the station; None for a value of the session.
    field : str
        As ``stations.json`` calls it.
    before, after : object
        The values.
    """

    receiver: str | None
    field: str
    before: Any
    after: Any


def measurement_id(session_id: UUID, station: str) -> UUID:
    """Id of the measurement that an ingest registers for a station."""
    return uuid.uuid5(session_id, station)


def stored_stations(connection: Connection, names: Collection[str]) -> dict[str, Any]:
    """The rows of stations that are there: name -> (id, latitude, longitude, altitude_asl)."""
    table = websdr_stations
    query = sa.select(table.c.id, table.c.name, table.c.latitude, table.c.longitude, table.c.altitude_asl)
    return {row.name: row for row in connection.execute(query.where(table.c.name.in_(names)))}


def stored_source(connection: Connection, source_id: UUID | None) -> Any:
    """The row of a known source; None if it is missing."""
    return connection.execute(sa.select(known_sources).where(known_sources.c.id == source_id)).one_or_none()


def source_of(connection: Connection, session_id: UUID) -> UUID | None:
    """The known source that a session names."""
    found: UUID | None = connection.scalar(
        sa.select(recording_sessions.c.known_source_id).where(recording_sessions.c.id == session_id)
    )
    return found


def correct_session(
    connection: Connection, session_id: UUID, values: Mapping[str, Any], *, started_before: datetime | None = None
) -> None:
    """Change columns of a session; where its start moves, its end moves with it.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    session_id : UUID
        The session.
    values : mapping
        Columns and values.
    started_before : datetime, optional
        The start that is stored, where the values hold another one.
    """
    table = recording_sessions
    changed = dict(values)
    if started_before is not None:
        changed["session_end"] = table.c.session_end + (changed["session_start"] - started_before)
    if changed:
        connection.execute(sa.update(table).where(table.c.id == session_id).values(**changed))
    _touch(connection, table, {"id": session_id})


def correct_measurement(connection: Connection, stored: Measurement, values: Mapping[str, Any]) -> None:
    """Change columns of a measurement.

    Its time stamp is a part of the key, by which the table may be split into pieces. TimescaleDB refuses to move a
    row from one piece to another, so a row whose time changes is taken out and put in again, all its columns with it.
    """
    table = measurements
    key = {"timestamp": stored.timestamp, "id": stored.id}
    moment = values.get("timestamp", stored.timestamp)
    if moment == stored.timestamp:
        is_this = (table.c.timestamp == stored.timestamp, table.c.id == stored.id)
        connection.execute(sa.update(table).where(*is_this).values(**values))
    else:
        quoted = connection.dialect.identifier_preparer.quote_identifier
        columns = ", ".join(quoted(name) for name in sorted(_columns(connection, table)))
        query = f"""
            WITH taken AS (
                DELETE FROM heimdall.measurements m WHERE m."timestamp" = :timestamp AND m.id = :id RETURNING m)
            INSERT INTO heimdall.measurements ({columns})
            SELECT {columns}
            FROM (SELECT (jsonb_populate_record(taken.m, CAST(:changes AS jsonb))).* FROM taken) again"""
        changes = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
        connection.execute(sa.text(query), {**key, "changes": json.dumps(changes)})
    _touch(connection, table, {**key, "timestamp": moment})


def place_station(connection: Connection, station: Station) -> None:
    """Give a station that is there the place of a description; what that does not state stays."""
    table = websdr_stations
    stated = {
        "latitude": station.latitude,
        "longitude": station.longitude,
        "altitude_asl": None if station.altitude_m is None else round(station.altitude_m),
    }
    values = {name: value for name, value in stated.items() if value is not None}
    connection.execute(sa.update(table).where(table.c.name == station.name).values(**values))
    _touch(connection, table, {"name": station.name})


def mark_session(connection: Connection, session_id: UUID, reason: str | None) -> int:
    """Let a session that was corrected be done again: its features are stale, or it waits where it had failed.

    Parameters
    ----------
    connection : Connection
        In a transaction that holds :func:`heimdall_assets.db.locks.change_settings`.
    session_id : UUID
        The session.
    reason : str or None
        With which its features are stale; None: they are not.

    Returns
    -------
    int
        1 if the session's features are stale now and were not, else 0.
    """
    discover(connection, session_ids=[session_id])
    marked: list[bool] = []
    if reason is not None:
        # Samples that were corrected outweigh reasons for which a mark may be taken back.
        query = """
            WITH before AS MATERIALIZED (
                SELECT recording_session_id AS id, stale_reason FROM heimdall.feature_states
                WHERE recording_session_id = :id AND feature_version IS NOT NULL)
            UPDATE heimdall.feature_states fs SET stale_reason = :reason, updated_at = clock_timestamp()
            FROM before b
            WHERE fs.recording_session_id = b.id AND (b.stale_reason IS NULL OR b.stale_reason = ANY (:outweighed))
            RETURNING fs.state IN ('done', 'partial') AND b.stale_reason IS NULL AS is_new"""
        outweighed = [RECEIVER_SETTINGS, STATION_PLACE, OTHER_TRUTH] if reason == CORRECTED else []
        parameters = {"id": session_id, "reason": reason, "outweighed": outweighed}
        marked = list(connection.scalars(sa.text(query), parameters))
    query = """
        SELECT recording_session_id FROM heimdall.feature_states
        WHERE recording_session_id = :id AND state IN ('failed', 'quarantined')"""
    inputs.renew(connection, dict.fromkeys(connection.scalars(sa.text(query), {"id": session_id}), CORRECTED))
    return sum(marked)


def mark_station(connection: Connection, station: str, *, is_altitude_moved: bool) -> int:
    """Compare the features that a station has a part in with its place, and mark their sessions.

    Features that were computed with the place that holds now are current again. Marks of corrected samples stay.

    Parameters
    ----------
    connection : Connection
        In a transaction that holds :func:`heimdall_assets.db.locks.change_settings`.
    station : str
        Its name.
    is_altitude_moved : bool
        Its altitude, which features do not note, has changed: then all of them are stale.

    Returns
    -------
    int
        Sessions, done or partial, whose features are stale now and were not.
    """
    query = f"""
        WITH compared AS MATERIALIZED (
            SELECT s.id, CASE WHEN :all OR {differs_from_places()} THEN '{STATION_PLACE}'
                              WHEN {differs_from_settings(STARTS.format("s"))} THEN '{RECEIVER_SETTINGS}'
                         END AS stale_reason
            FROM heimdall.recording_sessions s
            JOIN heimdall.measurement_features mf ON mf.recording_session_id = s.id
            WHERE {HAS_FEATURES} AND {VERSION} IS NOT NULL AND mf.extraction_metadata -> 'receivers' ? :station),
        before AS MATERIALIZED (
            SELECT c.*, fs.stale_reason AS was FROM compared c
            JOIN heimdall.feature_states fs ON fs.recording_session_id = c.id)
        UPDATE heimdall.feature_states fs SET stale_reason = b.stale_reason, updated_at = clock_timestamp()
        FROM before b
        WHERE fs.recording_session_id = b.id AND b.was IS DISTINCT FROM b.stale_reason
          AND coalesce(b.was, '{STATION_PLACE}') IN ('{STATION_PLACE}', '{RECEIVER_SETTINGS}')
        RETURNING fs.state IN ('done', 'partial') AND b.was IS NULL AS is_new"""
    return sum(connection.scalars(sa.text(query), {"station": station, "all": is_altitude_moved}))


def sharing_sessions(connection: Connection, session: NewSession) -> dict[UUID, list[str]]:
    """Other sessions of the same time that hold recordings of a session: id -> names of the stations."""
    day = timedelta(days=1)
    span = Span.over([(session.started_at - day, session.started_at + day)])
    query = f"""
        SELECT s.id, st.name FROM heimdall.measurements m
        JOIN heimdall.recording_sessions s ON s.session_start = m."timestamp" AND s.id <> :id
        JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id
        WHERE {span.on("m")} AND m.iq_data_location = ANY (:locations)
        ORDER BY s.id, st.name"""
    parameters = {
        "id": session.id,
        "locations": [measurement.iq_data_location for measurement in session.measurements],
    }
    found: dict[UUID, list[str]] = {}
    for row in connection.execute(sa.text(query), parameters):
        found.setdefault(row.id, []).append(row.name)
    return found


def _touch(connection: Connection, table: sa.Table, key: Mapping[str, Any]) -> None:
    """Set updated_at of a row, where the table has it, so that others who look by it notice."""
    if "updated_at" in _columns(connection, table):
        is_this = " AND ".join(f'"{name}" = :{name}' for name in key)
        query = f"UPDATE {table.fullname} SET updated_at = clock_timestamp() WHERE {is_this}"
        connection.execute(sa.text(query), dict(key))


def _columns(connection: Connection, table: sa.Table) -> set[str]:
    """The columns that a table has and that can be written: it may have others than ours."""
    query = """
        SELECT column_name FROM information_schema.columns
        WHERE table_schema = 'heimdall' AND table_name = :table AND is_generated = 'NEVER'
          AND coalesce(identity_generation, '') <> 'ALWAYS'"""
    return set(connection.scalars(sa.text(query), {"table": table.name}))
