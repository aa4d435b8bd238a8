"""Settings of receivers: what holds since when, changing it, and marking the features that a change makes stale.

A setting holds for the sessions that start at its ``valid_from`` or later, until the station's next one. Whatever is
computed notes the settings that it was computed with in its row; a change marks the sessions whose row says otherwise
than what holds now. So saying the same again marks nothing, and taking a change back takes the marks back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.locks import change_settings
from heimdall_assets.db.sessions import HAS_FEATURES, STARTS, VERSION
from heimdall_assets.db.states import database_time
from heimdall_assets.db.tables import receiver_settings as table
from heimdall_assets.db.tables import websdr_stations
from heimdall_assets.db.validity import RECEIVER_SETTINGS, differs_from_settings, id_of, is_of, settings_at, settings_of
from heimdall_assets.errors import UnknownStation

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.records import ReceiverSettings


@dataclass(frozen=True, slots=True)
class ValidSettings:
    """A station's settings since a moment."""

    station: str
    valid_from: datetime
    settings: ReceiverSettings


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of a setting did.

    Attributes
    ----------
    is_changed : bool
        False where it was so already.
    settings : ReceiverSettings
        What holds now.
    valid_from : datetime
        Since when.
    valid_until : datetime or None
        When the station's next setting begins; None: for good.
    sessions_stale, sessions_current : int
        Sessions whose features are stale since, and such that are not any more.
    """

    is_changed: bool
    settings: ReceiverSettings
    valid_from: datetime
    valid_until: datetime | None
    sessions_stale: int = 0
    sessions_current: int = 0


def station_names(connection: Connection) -> list[str]:
    """Names of all receivers, sorted."""
    return list(connection.scalars(sa.select(websdr_stations.c.name).order_by(websdr_stations.c.name)))


def altitudes_m(connection: Connection, names: Collection[str]) -> dict[str, float]:
    """Metres above sea level of those receivers whose height is known."""
    stations = websdr_stations.c
    query = sa.select(stations.name, stations.altitude_asl).where(
        stations.name.in_(names), stations.altitude_asl.is_not(None)
    )
    return {row.name: float(row.altitude_asl) for row in connection.execute(query)}


def settings_history(connection: Connection) -> list[ValidSettings]:
    """Everything that was set, by the station's present name and time; a station that is gone has its last one."""
    name = sa.func.coalesce(websdr_stations.c.name, table.c.station).label("name")
    query = (
        sa.select(table, name)
        .outerjoin_from(table, websdr_stations, websdr_stations.c.id == table.c.station_id)
        .order_by(name, table.c.valid_from)
    )
    return [ValidSettings(row.name, row.valid_from, settings_of(row)) for row in connection.execute(query)]


def set_settings(connection: Connection, station: str, valid_from: datetime | None = None, **values: Any) -> Change:
    """Let settings hold for a station from a moment on, until its next ones, and mark what is stale by that.

    Parameters
    ----------
    connection : Connection
        In a transaction, of which this is the first statement.
    station : str
        Name of a receiver.
    valid_from : datetime, optional
        None: now, where something changes by that.
    **values
        Fields of :class:`ReceiverSettings`; what is not given stays as it is at that moment.

    Raises
    ------
    UnknownStation
        No receiver has this name.
    """
    change_settings(connection)
    station_id = _require_station(connection, station)
    # whole seconds: what is shown is what has to be said to take it back
    since = database_time(connection).replace(microsecond=0) if valid_from is None else valid_from
    before = settings_at(connection, [station], since)[station]
    settings = replace(before, **values)
    if valid_from is None and settings == before:
        return Change(False, settings, since, _next_moment(connection, station, since))
    low_hz, high_hz = settings.passband_hz or (None, None)
    columns: dict[str, Any] = {
        "calibration_db": settings.calibration_db,
        "passband_low_hz": low_hz,
        "passband_high_hz": high_hz,
        "remove_dc": settings.remove_dc,
        "response": None if settings.response is None else [list(pair) for pair in settings.response],
    }
    # what was set for this moment under another name of the station is what is changed
    is_same = (_is_of(station), table.c.valid_from == since, table.c.station != station)
    connection.execute(sa.update(table).where(*is_same).values(station=station))
    statement = (
        insert(table)
        .values(station=station, valid_from=since, station_id=station_id, **columns)
        .on_conflict_do_update(
            index_elements=[table.c.station, table.c.valid_from],
            set_={**columns, "station_id": station_id},
            where=sa.or_(*(table.c[name].is_distinct_from(value) for name, value in columns.items())),
        )
    )
    is_changed = bool(connection.execute(statement.returning(table.c.station)).all())
    return _changed(connection, station, since, is_changed=is_changed)


def remove_settings(connection: Connection, station: str, valid_from: datetime) -> Change:
    """Take the setting of a moment back: what held before holds on; marks what is stale by that.

    It may be of a receiver that is gone. Nothing is changed where none was set for the moment.
    """
    change_settings(connection)
    statement = sa.delete(table).where(_is_of(station), table.c.valid_from == valid_from)
    is_changed = bool(connection.execute(statement.returning(table.c.station)).all())
    if not is_changed:
        _require_station(connection, station)
    return _changed(connection, station, valid_from, is_changed=is_changed)


def _require_station(connection: Connection, station: str) -> UUID:
    found: UUID | None = connection.scalar(sa.select(websdr_stations.c.id).where(websdr_stations.c.name == station))
    if found is None:
        raise UnknownStation(f"there is no receiver {station!r}")
    return found


def _is_of(station: str) -> sa.ColumnElement[bool]:
    """Whether a row of receiver_settings is of the station of this name."""
    condition = is_of("heimdall.receiver_settings", ":of_station", id_of(":of_station"))
    bound = sa.bindparam("of_station", station, sa.Text)
    return sa.type_coerce(sa.text(f"({condition})").bindparams(bound), sa.Boolean)


def _next_moment(connection: Connection, station: str, after: datetime) -> datetime | None:
    query = sa.select(sa.func.min(table.c.valid_from)).where(_is_of(station), table.c.valid_from > after)
    moment: datetime | None = connection.scalar(query)
    return moment


def _changed(connection: Connection, station: str, since: datetime, *, is_changed: bool) -> Change:
    until = _next_moment(connection, station, since)
    stale, current = _mark(connection, station, since, until) if is_changed else (0, 0)
    return Change(is_changed, settings_at(connection, [station], since)[station], since, until, stale, current)


def _mark(connection: Connection, station: str, since: datetime, until: datetime | None) -> tuple[int, int]:
    """Compare the rows of the sessions for which a change matters with what holds now, and mark their states.

    Marks of other reasons stay. Whatever a session's state is: one that is being computed again keeps its features,
    and the mark, if that fails.

    Returns
    -------
    tuple of int
        Sessions, done or partial, that are marked now and were not; and such whose mark is gone.
    """
    start = STARTS.format("s")
    query = f"""
        WITH compared AS MATERIALIZED (
            SELECT s.id, CASE WHEN {differs_from_settings(start)} THEN :reason END AS stale_reason
            FROM heimdall.recording_sessions s
            JOIN heimdall.measurement_features mf ON mf.recording_session_id = s.id
            WHERE {start} >= :since {"" if until is None else f"AND {start} < :until"}
              AND {HAS_FEATURES} AND {VERSION} IS NOT NULL
              AND EXISTS (
                  SELECT 1 FROM jsonb_each(CASE WHEN jsonb_typeof(mf.extraction_metadata -> 'receivers') = 'object'
                                                THEN mf.extraction_metadata -> 'receivers' END) input (rx_id, used)
                  WHERE input.rx_id = :station OR used ->> 'station_id' = {id_of(":station")}
                     OR input.rx_id IN (SELECT rs.station FROM heimdall.receiver_settings rs
                                        WHERE rs.station_id::text = {id_of(":station")}))),
        marked AS (
            UPDATE heimdall.feature_states fs
            SET stale_reason = c.stale_reason, updated_at = clock_timestamp()
            FROM compared c
            WHERE fs.recording_session_id = c.id AND fs.stale_reason IS DISTINCT FROM c.stale_reason
              AND coalesce(fs.stale_reason, :reason) = :reason
            RETURNING fs.recording_session_id AS id, fs.state IN ('done', 'partial') AS is_counted,
                      fs.stale_reason IS NOT NULL AS is_stale),
        -- what is not stale for its settings any more may be so for another reason
        queued AS (
            INSERT INTO heimdall.feature_rechecks (recording_session_id)
            SELECT id FROM marked WHERE NOT is_stale ON CONFLICT DO NOTHING)
        SELECT is_counted, is_stale FROM marked"""
    parameters = {"station": station, "since": since, "reason": RECEIVER_SETTINGS}
    rows = connection.execute(sa.text(query), parameters if until is None else {**parameters, "until": until})
    counted = [row.is_stale for row in rows if row.is_counted]
    return sum(counted), len(counted) - sum(counted)
