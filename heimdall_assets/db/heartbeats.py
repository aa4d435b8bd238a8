"""Signs of life: when the daemon's planner was last at work, and how far it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.tables import feature_heartbeats as heartbeats
from heimdall_assets.release import RunningProcess

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

PLANNER = "planner"
DISCOVERY = "discovery"
"""The last comparison of all sessions with all states."""
INPUTS = "inputs"
"""The last look for measurements that came late."""
STRAYS, ALL_STRAYS = "strays", "all_strays"
"""The last pass over measurements wherever they lie, and the last one over all of them."""
ROUND = "inputs_round"
"""The round through all sessions whose recordings may have been replaced, and where it stopped."""
TRUTH = "truth"
"""The last look for sessions that name another source than before."""
TRUTH_ROUND = "truth_round"
"""The round through all sessions whose ground truth may have changed, and where it stopped."""

DAEMON_SILENCE_S = 60.0
"""A daemon that has not planned for so long is called silent: its sensor ticks every ten seconds."""


def beat(connection: Connection, name: str, process: RunningProcess | None = None) -> None:
    """Leave a sign of life, and whose it is."""
    values = {"beat_at": sa.func.clock_timestamp(), "process": None if process is None else process.to_json()}
    connection.execute(
        insert(heartbeats).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
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


def process_of(connection: Connection, name: str) -> RunningProcess | None:
    """Who left the last sign of life; None where nobody did, or did not say."""
    values = connection.scalar(sa.select(heartbeats.c.process).where(heartbeats.c.name == name))
    return None if values is None else RunningProcess.from_json(values)


def seconds_since(connection: Connection, name: str) -> float | None:
    """Seconds since the last sign of life; None where there was none."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - heartbeats.c.beat_at)
    seconds = connection.scalar(sa.select(age).where(heartbeats.c.name == name))
    return None if seconds is None else float(seconds)


def is_daemon_alive(connection: Connection) -> bool:
    """True if a planner was at work a moment ago: then what is asked for will be carried out."""
    silence_s = seconds_since(connection, PLANNER)
    return silence_s is not None and silence_s < DAEMON_SILENCE_S
