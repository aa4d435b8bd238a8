"""Signs of life: when the daemon's planner was last at work, and how far it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.tables import feature_heartbeats as heartbeats

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

PLANNER = "planner"
DISCOVERY = "discovery"
"""The last comparison of all sessions with all states."""
INPUTS = "inputs"
"""The last look for measurements that came late."""
ROUND = "inputs_round"
"""The round through all sessions whose recordings may have been replaced, and where it stopped."""


def beat(connection: Connection, name: str) -> None:
    """Leave a sign of life."""
    moment = {"beat_at": sa.func.clock_timestamp()}
    connection.execute(
        insert(heartbeats).values(name=name, **moment).on_conflict_do_update(index_elements=["name"], set_=moment)
    )


def last_beat(connection: Connection, name: str) -> datetime | None:
    """When the last sign of life was left; None where there was none."""
    moment: datetime | None = connection.scalar(sa.select(heartbeats.c.beat_at).where(heartbeats.c.name == name))
    return moment


def position(connection: Connection, name: str) -> UUID | None:
    """The session at which a look that goes round all of them stopped; None: it begins anew."""
    found: UUID | None = connection.scalar(sa.select(heartbeats.c.position).where(heartbeats.c.name == name))
    return found


def set_position(connection: Connection, name: str, session_id: UUID | None) -> None:
    """Remember where a look stopped; a sign of life too."""
    beat(connection, name)
    connection.execute(sa.update(heartbeats).where(heartbeats.c.name == name).values(position=session_id))


def seconds_since(connection: Connection, name: str) -> float | None:
    """Seconds since the last sign of life; None where there was none."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - heartbeats.c.beat_at)
    seconds = connection.scalar(sa.select(age).where(heartbeats.c.name == name))
    return None if seconds is None else float(seconds)
