"""A measurements table in pieces, as TimescaleDB or PostgreSQL's own partitioning makes them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy.engine import Connection

_PARENT = """
    CREATE TABLE heimdall.measurements (
        "timestamp" timestamptz NOT NULL,
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        websdr_station_id uuid,
        recording_session_id uuid,
        frequency_hz bigint,
        signal_strength_db double precision,
        iq_data_location varchar(512),
        iq_data_format varchar(50),
        iq_sample_rate integer,
        iq_samples_count bigint,
        duration_seconds double precision,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY ("timestamp", id)
    ) PARTITION BY RANGE ("timestamp")"""


def create_measurements(connection: Connection, pieces: int, *, first: datetime, piece: timedelta) -> None:
    """Create the table before the migrations do.

    Parameters
    ----------
    connection : Connection
        To a database without Heimdall's tables.
    pieces : int
        So many of equal length follow one another; before the first and after the last there is one more each.
    first : datetime
        Where the first begins.
    piece : timedelta
        Length of each.
    """
    connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS heimdall"))
    connection.execute(sa.text(_PARENT))
    moments = [first + i * piece for i in range(pieces + 1)]
    edges = ["MINVALUE", *(f"'{moment.isoformat()}'" for moment in moments), "MAXVALUE"]
    for number, (begin, end) in enumerate(pairwise(edges)):
        connection.exec_driver_sql(
            f"CREATE TABLE heimdall.measurements_{number} PARTITION OF heimdall.measurements "
            f"FOR VALUES FROM ({begin}) TO ({end})"
        )
