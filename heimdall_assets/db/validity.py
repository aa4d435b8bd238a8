"""Which settings of a receiver hold at a moment: those that became valid last, else the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.values import json_number
from heimdall_assets.records import UNCALIBRATED_DB, ReceiverSettings

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.engine import Connection


RECEIVER_SETTINGS = "receiver_settings"
"""The stale_reason of features that were computed with other settings than those that hold."""

STATION_PLACE = "station_place"
"""The stale_reason of features that were computed with another place of a station than the one that holds."""

CORRECTED = "corrected"
"""The stale_reason of features of measurements whose rate, frequency, format or time was corrected since."""


def in_force(station: str, station_id: str, moment: str) -> str:
    """SQL for the row of receiver_settings that holds for a station at a moment, if there is one.

    Parameters
    ----------
    station, station_id, moment : str
        SQL expressions: the station's name; its id as text, NULL where that is not known; a time.
    """
    return f"""
        SELECT rs.* FROM heimdall.receiver_settings rs
        WHERE {is_of("rs", station, station_id)} AND rs.valid_from <= {moment}
        ORDER BY rs.valid_from DESC, rs.station = {station} DESC LIMIT 1"""


def is_of(row: str, station: str, station_id: str) -> str:
    """SQL for whether a row of receiver_settings is of a station.

    The id decides, so that a station that is renamed keeps its settings. The name does only where the id is not known:
    none was noted, the station itself has none, or the one that had it is gone and another one has its name.
    """
    return f"""
        CASE WHEN {row}.station_id::text = {station_id} THEN true
             WHEN {row}.station = {station}
             THEN {station_id} IS NULL OR {row}.station_id IS NULL
                  OR NOT EXISTS (SELECT 1 FROM heimdall.websdr_stations known WHERE known.id = {row}.station_id)
             ELSE false END""".strip()


def id_of(station: str) -> str:
    """SQL for the id, as text, of the station that has a name, or had it when settings were set for it."""
    return f"""
        coalesce((SELECT named.id::text FROM heimdall.websdr_stations named WHERE named.name = {station}),
                 (SELECT was.station_id::text FROM heimdall.receiver_settings was WHERE was.station = {station}
                  ORDER BY was.valid_from DESC LIMIT 1))""".strip()


_SETTINGS_AT = sa.text(f"""
    SELECT st.name, held.calibration_db, held.passband_low_hz, held.passband_high_hz, held.remove_dc,
           held.response
    FROM (SELECT given.name, {id_of("given.name")} AS id FROM unnest(CAST(:stations AS text[])) given (name)) st
    CROSS JOIN LATERAL ({in_force("st.name", "st.id", "CAST(:moment AS timestamptz)")}) held""")


def settings_at(connection: Connection, stations: Collection[str], moment: datetime) -> dict[str, ReceiverSettings]:
    """The settings of stations at a moment; a station without any has the defaults."""
    rows = connection.execute(_SETTINGS_AT, {"stations": list(stations), "moment": moment})
    found = {row.name: settings_of(row) for row in rows}
    return {name: found.get(name, ReceiverSettings()) for name in stations}


def settings_of(row: Any) -> ReceiverSettings:
    """The settings that a row of receiver_settings stands for."""
    return ReceiverSettings(
        calibration_db=UNCALIBRATED_DB if row.calibration_db is None else row.calibration_db,
        passband_hz=None if row.passband_low_hz is None else (row.passband_low_hz, row.passband_high_hz),
        remove_dc=row.remove_dc,
        response=None
        if row.response is None
        else tuple((float(offset), float(level)) for offset, level in row.response),
    )


def differs_from_settings(moment: str) -> str:
    """SQL for whether a row of our code was computed with other settings than those that hold.

    Parameters
    ----------
    moment : str
        SQL expression of the session's start.

    Returns
    -------
    str
        A condition on ``mf``, the row. What it was computed with is in its extraction_metadata; rows from before
        there were settings have the defaults. Of receivers that failed, settings matter where they are the reason.
    """
    # What a row says of its inputs is small; its features, which are not, are looked into where a receiver differs.
    return f"""
        EXISTS (
            SELECT 1 FROM jsonb_each(CASE WHEN jsonb_typeof(mf.extraction_metadata -> 'receivers') = 'object'
                                          THEN mf.extraction_metadata -> 'receivers' END) input (rx_id, used)
            CROSS JOIN LATERAL (SELECT coalesce(used ->> 'station_id', {id_of("input.rx_id")}) AS id) station
            LEFT JOIN LATERAL ({in_force("input.rx_id", "station.id", moment)}) held ON true
            WHERE CASE WHEN (coalesce({json_number("used -> 'calibration_db'")}, {UNCALIBRATED_DB}),
                             {json_number("used -> 'passband_hz' -> 0")}, {json_number("used -> 'passband_hz' -> 1")},
                             coalesce(used -> 'remove_dc' = 'true', false),
                             nullif(used -> 'response', 'null'))
                            IS DISTINCT FROM
                            (coalesce(held.calibration_db, {UNCALIBRATED_DB}),
                             held.passband_low_hz, held.passband_high_hz, coalesce(held.remove_dc, false),
                             held.response)
                       THEN EXISTS (SELECT 1 FROM unnest(mf.receiver_features) r
                                    WHERE r ->> 'rx_id' = input.rx_id
                                      AND coalesce(r -> 'error' ->> 'reason', 'bad_parameter') = 'bad_parameter')
                  END)"""


def differs_from_places() -> str:
    """SQL for whether a row of our code was computed with another place of a station than the one that holds.

    Returns
    -------
    str
        A condition on ``mf``, the row. A place that is no number counts as none.
    """
    here = [f"CASE WHEN st.{name} BETWEEN -1e9 AND 1e9 THEN st.{name} END" for name in ("latitude", "longitude")]
    return f"""
        EXISTS (
            SELECT 1 FROM unnest(mf.receiver_features) r
            JOIN heimdall.websdr_stations st ON st.name = r ->> 'rx_id'
            WHERE ({json_number("r -> 'rx_lat'")}, {json_number("r -> 'rx_lon'")})
                  IS DISTINCT FROM ({", ".join(here)}))"""
