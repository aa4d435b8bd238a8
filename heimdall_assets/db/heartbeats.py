"""Signs of life: when the daemon's planner was last at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.tables import feature_heartbeats as heartbeats

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PLANNER = "planner"


def beat(connection: Connection, name: str) -> None:
    """Leave a sign of life."""
    moment = {"beat_at": sa.func.clock_timestamp()}
    connection.execute(
        insert(heartbeats).values(name=name, **moment).on_conflict_do_update(index_elements=["name"], set_=moment)
    )


def seconds_since(connection: Connection, name: str) -> float | None:
    """Seconds since the last sign of life; None where there was none."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - heartbeats.c.beat_at)
    seconds = connection.scalar(sa.select(age).where(heartbeats.c.name == name))
    return None if seconds is None else float(seconds)
