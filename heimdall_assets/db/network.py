"""The network of receivers: who delivers, who hears something, who has gone quiet; and where everything stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.recent import STATES, latest_sessions
from heimdall_assets.db.sessions import HAS_FEATURES, few_of, linked_measurements, span_of
from heimdall_assets.db.tables import known_sources, websdr_stations
from heimdall_assets.db.values import NUMBER, TIME, is_sound, json_number
from heimdall_assets.db.windows import EVER

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

SAMPLE_SESSIONS = 1000
"""The latest sessions by which receivers are judged."""

LEAST_MISSED = 10
QUIET_PROBABILITY = 1e-3
"""A receiver is quiet if, by its own share of the sessions, missing the last ones is less likely than this."""
MOST_SOURCES = 1000


@dataclass(frozen=True, slots=True)
class ReceiverHealth:
    """What a receiver did in the latest sessions.

    Attributes
    ----------
    sessions : int
        How many sessions that is.
    delivered : int
        In how many of them it left IQ data.
    with_features : int
        In how many it has features.
    with_signal : int
        Of those, how many hold a signal in more than half of their chunks.
    failing : int
        In how many its recording could not be used.
    mean_snr_db : float or None
        Over those that have an SNR.
    last_seen : datetime or None
        Time stamp of its latest measurement; None where there is none among these sessions.
    missed : int
        Sessions that started after that.
    """

    name: str
    latitude: float | None
    longitude: float | None
    is_active: bool
    sessions: int
    delivered: int
    with_features: int
    with_signal: int
    failing: int
    mean_snr_db: float | None
    last_seen: datetime | None
    missed: int

    @property
    def delivered_percent(self) -> float | None:
        """Share of the sessions to which it delivered IQ data."""
        return 100.0 * self.delivered / self.sessions if self.sessions else None

    @property
    def signal_percent(self) -> float | None:
        """Share of its features that hold a signal."""
        return 100.0 * self.with_signal / self.with_features if self.with_features else None

    @property
    def failing_percent(self) -> float | None:
        """Share of its recordings that could not be used."""
        return 100.0 * self.failing / self.delivered if self.delivered else None

    @property
    def is_quiet(self) -> bool:
        """True if it should have been heard of by now."""
        if not self.is_active or self.missed < LEAST_MISSED:
            return False
        share = self.delivered / max(1, self.sessions - self.missed)
        return self.delivered == 0 or (1.0 - min(1.0, share)) ** self.missed < QUIET_PROBABILITY


@dataclass(frozen=True, slots=True)
class Place:
    """Something on the map; degrees north and east."""

    name: str
    latitude: float
    longitude: float


def receiver_health(connection: Connection, *, latest: int) -> list[ReceiverHealth]:
    """Every receiver over the latest completed sessions, by name.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    latest : int
        Over so many sessions.
    """
    parameters = {"states": list(STATES), "latest": latest}
    recent = f"SELECT recording_session_id AS id FROM ({latest_sessions('states', 'latest')}) latest"
    few = few_of(connection, recent, parameters)
    span = EVER if few is None else span_of(connection, few)
    query = f"""
        WITH recent AS MATERIALIZED ({latest_sessions("states", "latest")}),
        wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s
            JOIN recent ON recent.recording_session_id = s.id WHERE s.status = 'completed'),
        left_iq AS MATERIALIZED (
            SELECT m.name, m.session_id,
                   max(m."timestamp") FILTER (WHERE {is_sound('m."timestamp"', TIME)}) AS last_seen
            FROM ({linked_measurements(connection, "wanted", span)}) m GROUP BY m.name, m.session_id),
        delivered AS (
            SELECT l.name, count(*) AS sessions, max(l.last_seen) AS last_seen,
                   count(*) FILTER (WHERE r.state IN ('failed', 'quarantined')) AS all_failed
            FROM left_iq l JOIN recent r ON r.recording_session_id = l.session_id GROUP BY l.name),
        measured AS (
            SELECT r ->> 'rx_id' AS name,
                   count(*) FILTER (WHERE r ? 'error') AS failing,
                   count(*) FILTER (WHERE NOT r ? 'error') AS with_features,
                   count(*) FILTER (WHERE {_number("signal_present")} > 0.5) AS with_signal,
                   avg({_number("snr_db")}) AS mean_snr_db
            FROM wanted w
            JOIN heimdall.measurement_features mf ON mf.recording_session_id = w.id AND {HAS_FEATURES}
            CROSS JOIN LATERAL unnest(mf.receiver_features) r
            GROUP BY 1)
        SELECT st.name, st.is_active, d.last_seen,
               CASE WHEN st.latitude BETWEEN -90 AND 90 THEN st.latitude END AS latitude,
               CASE WHEN st.longitude BETWEEN -180 AND 180 THEN st.longitude END AS longitude,
               (SELECT count(*) FROM wanted) AS sessions,
               coalesce(d.sessions, 0) AS delivered, coalesce(d.all_failed, 0) + coalesce(m.failing, 0) AS failing,
               coalesce(m.with_features, 0) AS with_features, coalesce(m.with_signal, 0) AS with_signal,
               m.mean_snr_db,
               (SELECT count(*) FROM wanted w
                WHERE d.last_seen IS NULL
                   OR (coalesce(w.session_start, w.created_at) > d.last_seen
                       AND {is_sound("coalesce(w.session_start, w.created_at)", TIME)})) AS missed
        FROM heimdall.websdr_stations st
        LEFT JOIN delivered d ON d.name = st.name
        LEFT JOIN measured m ON m.name = st.name
        WHERE st.is_active OR d.name IS NOT NULL
        ORDER BY st.name"""
    rows = connection.execute(sa.text(query), parameters)
    return [ReceiverHealth(**row) for row in rows.mappings()]


def _number(feature: str) -> str:
    """SQL for the mean of a feature of the receiver's object ``r``; NULL for anything that is no number."""
    return json_number(f"r -> '{feature}' -> 'mean'")


def session_figures(connection: Connection, *, latest: int) -> list[tuple[float | None, float | None]]:
    """(mean_snr_db, gdop) of the latest sessions that have features."""
    query = f"""
        SELECT CASE WHEN {is_sound("mf.mean_snr_db", NUMBER)} THEN mf.mean_snr_db END AS mean_snr_db,
               CASE WHEN {is_sound("mf.gdop", NUMBER)} THEN mf.gdop END AS gdop
        FROM ({latest_sessions("states", "latest")}) recent
        JOIN heimdall.measurement_features mf
            ON mf.recording_session_id = recent.recording_session_id AND {HAS_FEATURES}"""
    rows = connection.execute(sa.text(query), {"states": ["done", "partial"], "latest": latest})
    return [(row.mean_snr_db, row.gdop) for row in rows]


def places(connection: Connection) -> tuple[list[Place], list[Place]]:
    """Receivers and known transmitters whose place is known."""
    found = []
    for table in (websdr_stations, known_sources):
        query = (
            sa.select(table.c.name, table.c.latitude, table.c.longitude)
            .where(table.c.latitude.between(-90, 90), table.c.longitude.between(-180, 180))
            .order_by(table.c.name)
            .limit(MOST_SOURCES)
        )
        found.append([Place(*row) for row in connection.execute(query)])
    return found[0], found[1]
