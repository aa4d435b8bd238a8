"""Whether the latest features are what they should be: complete, and of the frequencies that are known.

Both look at the latest sessions only, and cost the same at a million sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.recent import latest_sessions
from heimdall_assets.db.sessions import HAS_FEATURES, VERSION
from heimdall_assets.db.values import json_number

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.engine import Connection

FEATURED = ["done", "partial"]
STATISTICS = ["mean", "std", "min", "max"]
NARROW_HZ = 2000.0
"""A transmission that is no wider has a frequency to compare with; that of a wider one moves with what it carries."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A figure of a receiver that is no number, or is missing."""

    session_id: UUID
    receiver: str | None
    figure: str
    found: str


@dataclass(frozen=True, slots=True)
class BeaconDeviation:
    """How far from its known frequency a receiver measured a narrow transmission."""

    receiver: str
    frequency_hz: float
    deviation_hz: float


def num_latest(connection: Connection, *, latest: int) -> int:
    """How many sessions :func:`flaws` looks at."""
    query = f"SELECT count(*) FROM ({latest_sessions('states', 'latest')}) recent"
    return int(connection.scalar(sa.text(query), {"states": FEATURED, "latest": latest}) or 0)


def flaws(
    connection: Connection,
    *,
    features: Collection[str],
    always_defined: Collection[str],
    feature_version: int,
    latest: int,
    limit: int = 20,
) -> list[Flaw]:
    """What the latest sessions lack of their receivers' figures.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    features : collection of str
        Each must be there with four statistics, each of which is a number or null.
    always_defined : collection of str
        Those whose statistics are never null.
    feature_version : int
        Rows of this version are looked at.
    latest : int
        Over so many sessions.
    limit : int
        At most so many flaws.
    """
    query = f"""
        SELECT w.id AS session_id, r ->> 'rx_id' AS receiver, f.name || '_' || s.name AS figure,
               coalesce(jsonb_typeof(r -> f.name -> s.name), 'nothing') AS found
        FROM (SELECT recent.recording_session_id AS id FROM ({latest_sessions("states", "latest")}) recent) w
        JOIN heimdall.measurement_features mf
            ON mf.recording_session_id = w.id AND {HAS_FEATURES} AND {VERSION} = :version
        CROSS JOIN LATERAL unnest(mf.receiver_features) r
        CROSS JOIN unnest(CAST(:features AS text[])) f (name)
        CROSS JOIN unnest(CAST(:statistics AS text[])) s (name)
        WHERE NOT r ? 'error'
          AND CASE coalesce(jsonb_typeof(r -> f.name -> s.name), 'nothing')
                  WHEN 'number' THEN false WHEN 'null' THEN f.name = ANY (CAST(:always AS text[])) ELSE true END
        LIMIT :limit"""
    parameters = {
        "states": FEATURED,
        "latest": latest,
        "version": feature_version,
        "features": list(features),
        "statistics": STATISTICS,
        "always": list(always_defined),
        "limit": limit,
    }
    return [Flaw(**row) for row in connection.execute(sa.text(query), parameters).mappings()]


def beacon_deviations(connection: Connection, *, feature_version: int, latest: int) -> list[BeaconDeviation]:
    """How far the latest narrow transmissions of known frequency were from it, receiver by receiver.

    Of sessions that name their transmitter; where a receiver heard it in more than half of its chunks.
    """
    query = f"""
        SELECT receiver, frequency_hz::double precision AS frequency_hz,
               center_hz + offset_hz - frequency_hz AS deviation_hz
        FROM (
            SELECT r ->> 'rx_id' AS receiver, ks.frequency_hz,
                   {json_number("r -> 'bandwidth_hz' -> 'mean'")} AS width_hz,
                   {json_number("mf.extraction_metadata -> 'receivers' -> (r ->> 'rx_id') -> 'center_frequency_hz'")}
                       AS center_hz,
                   {json_number("r -> 'frequency_offset_hz' -> 'mean'")} AS offset_hz,
                   {json_number("r -> 'signal_present' -> 'mean'")} AS presence
            FROM ({latest_sessions("states", "latest")}) recent
            JOIN heimdall.recording_sessions s ON s.id = recent.recording_session_id
            JOIN heimdall.known_sources ks ON ks.id = s.known_source_id AND ks.frequency_hz > 0
            JOIN heimdall.measurement_features mf
                ON mf.recording_session_id = s.id AND {HAS_FEATURES} AND {VERSION} = :version
            CROSS JOIN LATERAL unnest(mf.receiver_features) r
            WHERE NOT r ? 'error') measured
        WHERE presence > 0.5 AND width_hz <= :narrow_hz AND center_hz + offset_hz IS NOT NULL
        ORDER BY receiver"""
    parameters = {"states": FEATURED, "latest": latest, "version": feature_version, "narrow_hz": NARROW_HZ}
    return [BeaconDeviation(**row) for row in connection.execute(sa.text(query), parameters).mappings()]
