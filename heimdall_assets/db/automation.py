"""What Dagster's own database says of the sensor and the schedule: which of them are stopped."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

PLANNERS = ("unfeatured_sessions_sensor", "batch_feature_extraction_schedule")

DAEMON_SILENCE_S = 120.0
"""Dagster's daemon leaves a sign of life of its own every 30 s."""

_STOPPED = "SELECT instigator_body FROM instigators WHERE status = 'STOPPED'"
_SIGNS_OF_LIFE = "SELECT body FROM daemon_heartbeats WHERE daemon_type = 'SENSOR'"


def turned_off(connection: Connection, names: Collection[str] = PLANNERS) -> list[str]:
    """Those of the sensors and schedules that are stopped, while Dagster's daemon is alive to evaluate them.

    Parameters
    ----------
    connection : Connection
        Dagster's database.
    names : collection of str
        Of sensors and schedules.
    """
    stopped = {_name_of(body) for body in connection.scalars(sa.text(_STOPPED))}
    found = [name for name in names if name in stopped]
    return found if found and _is_daemon_alive(connection) else []


def _is_daemon_alive(connection: Connection) -> bool:
    # its column of times is of the time zone of whoever wrote it
    signs = [json.loads(body)["timestamp"] for body in connection.scalars(sa.text(_SIGNS_OF_LIFE))]
    return bool(signs) and time.time() - max(signs) < DAEMON_SILENCE_S


def _name_of(body: str) -> object:
    """The name in a state as Dagster stores it."""
    origin = json.loads(body).get("origin")
    return origin.get("job_name") if isinstance(origin, dict) else None
