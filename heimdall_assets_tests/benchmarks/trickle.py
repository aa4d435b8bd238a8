"""How long a session waits for its features: a steady trickle, alone and while a backlog drains."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.engine import transaction
from heimdall_assets_tests.benchmarks import backlog
from heimdall_assets_tests.benchmarks.drain import running_daemon
from heimdall_assets_tests.dagster_api import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from heimdall_assets_tests.benchmarks.throughput import Bench

SESSIONS = 20
INTERVAL_S = 6.0
TIMEOUT_S = 600.0


def latencies(made: Bench, old_sessions: int) -> list[float]:
    """Complete a session every six seconds, with so many old ones waiting; seconds that each waited for its features.

    The trickle begins when the daemon has stored its first session.
    """
    keys: list[UUID] = []
    first = backlog.add_sessions(made.factory, made.sets, max(1, old_sessions))
    with running_daemon(made.settings, **made.variables):
        wait_for(lambda: _stored(made, first), "the daemon's first session", timeout_s=TIMEOUT_S)
        for _ in range(SESSIONS):
            keys += _complete(made)
            time.sleep(INTERVAL_S)
        wait_for(lambda: len(_stored(made, keys)) == len(keys), "the trickle's features", timeout_s=TIMEOUT_S)
    return _stored(made, keys)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 2)


def _complete(made: Bench) -> list[UUID]:
    """Add one session that is completed now, by the database's clock."""
    keys = backlog.add_sessions(made.factory, made.sets[:1], 1)
    with transaction(made.factory.engine) as connection:
        query = """
            UPDATE heimdall.recording_sessions
            SET session_start = clock_timestamp() - interval '2 seconds', created_at = clock_timestamp(),
                updated_at = clock_timestamp()
            WHERE id = ANY (:keys)"""
        connection.execute(sa.text(query), {"keys": keys})
    return keys


def _stored(made: Bench, keys: Sequence[UUID]) -> list[float]:
    """Seconds from the completion of each session to its features, of those that have them."""
    rows = made.factory.rows(
        "SELECT extract(epoch FROM a.finished_at - s.updated_at) FROM heimdall.feature_attempts a "
        "JOIN heimdall.recording_sessions s ON s.id = a.recording_session_id "
        "WHERE a.outcome IN ('done', 'partial') AND s.id = ANY (:keys)",
        keys=list(keys),
    )
    return [float(row[0]) for row in rows]
