"""Settings of receivers: what holds since when, changing it, and marking the features that a change makes stale.

A setting holds for the sessions that start at its ``valid_from`` or later, until the station's next one. Whatever is
computed notes the settings that it was computed with in its row; a change marks the sessions whose row says otherwise
than what holds now. So saying the same again marks nothing, and taking a change back takes the marks back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.locks import change_settings
from heimdall_assets.db.sessions import HAS_FEATURES, STARTS, VERSION
from heimdall_assets.db.tables import receiver_settings as table
from heimdall_assets.db.tables import websdr_stations
from heimdall_assets.db.validity import differs_from_settings, settings_of
from heimdall_assets.errors import UnknownStation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.records import ReceiverSettings

RECEIVER_SETTINGS = "receiver_settings"
"""The stale_reason of features that were computed with other settings than those that hold."""


@dataclass(frozen=True, slots=True)
class ValidSettings:
    """A station's settings since a moment; None: always, since nobody has set any."""

    station: str
    valid_from: datetime | None
    settings: ReceiverSettings


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of a setting did.

    Attributes
    ----------
    is_changed : bool
        False where it was so already.
    sessions_stale, sessions_current : int
        Sessions whose features are stale since, and such that are not any more.
    """

    is_changed: bool
    sessions_stale: int = 0
    sessions_current: int = 0


def station_names(connection: Connection) -> list[str]:
    """Names of all receivers, sorted."""
    return list(connection.scalars(sa.select(websdr_stations.c.name).order_by(websdr_stations.c.name)))


def settings_history(connection: Connection) -> list[ValidSettings]:
    """Everything that was set, by station and time."""
    rows = connection.execute(sa.select(table).order_by(table.c.station, table.c.valid_from))
    return [ValidSettings(row.station, row.valid_from, settings_of(row)) for row in rows]


def set_settings(connection: Connection, station: str, valid_from: datetime, settings: ReceiverSettings) -> Change:
    """Let settings hold for a station from a moment on, until its next ones, and mark what is stale by that.

    Raises
    ------
    UnknownStation
        No receiver has this name.
    """
    change_settings(connection)
    if connection.scalar(sa.select(websdr_stations.c.id).where(websdr_stations.c.name == station)) is None:
        raise UnknownStation(f"there is no receiver {station!r}")
    low_hz, high_hz = settings.passband_hz or (None, None)
    values = {
        "calibration_db": settings.calibration_db,
        "passband_low_hz": low_hz,
        "passband_high_hz": high_hz,
        "remove_dc": settings.remove_dc,
    }
    statement = (
        insert(table)
        .values(station=station, valid_from=valid_from, **values)
        .on_conflict_do_update(
            index_elements=[table.c.station, table.c.valid_from],
            set_=values,
            where=sa.or_(*(table.c[name].is_distinct_from(value) for name, value in values.items())),
        )
    )
    if not connection.execute(statement.returning(table.c.station)).all():
        return Change(False)
    return _mark(connection, station, valid_from)


def remove_settings(connection: Connection, station: str, valid_from: datetime) -> Change:
    """Take a setting back: those before it hold on, or the defaults; marks what is stale by that."""
    change_settings(connection)
    statement = sa.delete(table).where(table.c.station == station, table.c.valid_from == valid_from)
    if not connection.execute(statement.returning(table.c.station)).all():
        return Change(False)
    return _mark(connection, station, valid_from)


def why_outdated(connection: Connection, session_id: UUID) -> str | None:
    """The reason with which a session's row has to be marked, by the settings that hold now; None: it is current.

    To be asked where ``locks.keep_settings`` holds, or it may be otherwise already.
    """
    query = f"""
        SELECT {differs_from_settings(STARTS.format("s"))}
        FROM heimdall.recording_sessions s
        JOIN heimdall.measurement_features mf ON mf.recording_session_id = s.id
        WHERE s.id = :id AND {HAS_FEATURES} AND {VERSION} IS NOT NULL"""
    return RECEIVER_SETTINGS if connection.scalar(sa.text(query), {"id": session_id}) else None


def _mark(connection: Connection, station: str, valid_from: datetime) -> Change:
    """Compare the rows of the sessions for which a change matters with what holds now, and mark their states.

    Marks of other reasons stay. Whatever a session's state is: one that is being computed again keeps its features,
    and the mark, if that fails.
    """
    start = STARTS.format("s")
    query = f"""
        WITH compared AS MATERIALIZED (
            SELECT s.id, CASE WHEN {differs_from_settings(start)} THEN :reason END AS stale_reason
            FROM heimdall.recording_sessions s
            JOIN heimdall.measurement_features mf ON mf.recording_session_id = s.id
            WHERE {start} >= :since AND {start} < coalesce(
                      (SELECT min(later.valid_from) FROM heimdall.receiver_settings later
                       WHERE later.station = :station AND later.valid_from > :since), 'infinity')
              AND {HAS_FEATURES} AND {VERSION} IS NOT NULL
              AND EXISTS (SELECT 1 FROM unnest(mf.receiver_features) r WHERE r ->> 'rx_id' = :station))
        UPDATE heimdall.feature_states fs
        SET stale_reason = c.stale_reason, updated_at = clock_timestamp()
        FROM compared c
        WHERE fs.recording_session_id = c.id AND fs.stale_reason IS DISTINCT FROM c.stale_reason
          AND coalesce(fs.stale_reason, :reason) = :reason
        RETURNING fs.state IN ('done', 'partial') AS is_counted, fs.stale_reason IS NOT NULL AS is_stale"""
    parameters = {"station": station, "since": valid_from, "reason": RECEIVER_SETTINGS}
    rows: Sequence[Any] = connection.execute(sa.text(query), parameters).all()
    counted = [row.is_stale for row in rows if row.is_counted]
    return Change(True, sessions_stale=sum(counted), sessions_current=len(counted) - sum(counted))
