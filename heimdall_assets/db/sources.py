"""Changes of ground truth: sources that were corrected, sessions that name another one, and what that makes stale.

The planner compares known_sources with a small copy, and sessions that Heimdall touched with what they named before.
The sessions that a change concerns wait in ``feature_rechecks``, and are looked at some at a time: however many name
one source, no tick takes long.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db import heartbeats, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.suspects import OVERLAP, is_small
from heimdall_assets.db.truth import OTHER_TRUTH, differs_from_truth, is_near, true_source
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

RECHECKS_PER_LOOK = 1000
"""Sessions that one look takes from the queue: about half a second's worth."""
ROUND_LOOKS = 200
"""The schedule's ticks in which all sessions are compared; there are 288 a day."""
LEAST_ROUND = 2000
"""Sessions that the schedule compares at the least; their rows are compared without being opened."""


def follow(connection: Connection, *, is_full: bool) -> int:
    """Mark the features whose ground truth or inputs changed; for the planner, under its lock.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    is_full : bool
        Compare some more sessions on a round through all of them: it finds within a day what a writer changed without
        touching the session.

    Returns
    -------
    int
        Number of sessions that were looked at again.
    """
    _queue_by_sources(connection)
    _queue_by_sessions(connection)
    if is_full:
        _queue_by_round(connection)
    return work_off(connection)


def work_off(connection: Connection, limit: int = RECHECKS_PER_LOOK) -> int:
    """Set the states of some queued sessions to what the tables say; returns the number of sessions.

    What is being worked on, or about to be, stays in the queue.
    """
    query = """
        DELETE FROM heimdall.feature_rechecks WHERE recording_session_id IN (
            SELECT q.recording_session_id FROM heimdall.feature_rechecks q
            LEFT JOIN heimdall.feature_states fs USING (recording_session_id)
            WHERE fs.recording_session_id IS NULL OR (fs.state <> 'running' AND fs.reserved_by IS NULL)
            LIMIT :limit)
        RETURNING recording_session_id"""
    queued = list(connection.scalars(sa.text(query), {"limit": limit}))
    if queued:
        work.refresh(connection, queued)
    return len(queued)


def work_off_for(engine: Engine, seconds: float) -> None:
    """:func:`work_off` the queue, in short transactions, for so long at the most; the planner goes on from there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with transaction(engine) as connection:
            if not work_off(connection):
                return


_QUEUE = "INSERT INTO heimdall.feature_rechecks (recording_session_id)"
_ONCE = "ON CONFLICT DO NOTHING"
_SOURCE = "id, frequency_hz, latitude, longitude, power_dbm"


def _queue_by_sources(connection: Connection) -> None:
    """Queue the sessions that a changed, new or deleted source concerns, and copy it."""
    tolerance_hz = current_settings().source_tolerance_hz
    query = f"""
        WITH changed AS MATERIALIZED (
            SELECT coalesce(after.id, before.id) AS id, after.id IS NULL AS is_gone, after.frequency_hz,
                   after.latitude, after.longitude, after.power_dbm, before.frequency_hz AS frequency_before_hz
            FROM heimdall.known_sources after FULL JOIN heimdall.feature_sources before ON before.id = after.id
            WHERE (after.id, after.frequency_hz, after.latitude, after.longitude, after.power_dbm)
                  IS DISTINCT FROM
                  (before.id, before.frequency_hz, before.latitude, before.longitude, before.power_dbm)),
        queued AS (
            {_QUEUE}
            SELECT fs.recording_session_id FROM changed c
            JOIN heimdall.feature_states fs ON fs.known_source_id = c.id
            UNION
            SELECT fs.recording_session_id FROM changed c
            CROSS JOIN LATERAL (VALUES (c.frequency_hz), (c.frequency_before_hz)) near (frequency_hz)
            JOIN heimdall.feature_states fs
                ON fs.known_source_id IS NULL AND {is_near("fs.frequency_hz", "near.frequency_hz", tolerance_hz)}
            {_ONCE}),
        removed AS (
            DELETE FROM heimdall.feature_sources f USING changed c WHERE f.id = c.id AND c.is_gone)
        INSERT INTO heimdall.feature_sources ({_SOURCE})
        SELECT {_SOURCE} FROM changed WHERE NOT is_gone
        ON CONFLICT (id) DO UPDATE
        SET frequency_hz = excluded.frequency_hz, latitude = excluded.latitude, longitude = excluded.longitude,
            power_dbm = excluded.power_dbm"""
    connection.execute(sa.text(query))


def _queue_by_sessions(connection: Connection) -> None:
    """Queue sessions that name another source than before; in a large database those that were touched since."""
    last = heartbeats.last_beat(connection, heartbeats.TRUTH)
    heartbeats.beat(connection, heartbeats.TRUTH)
    parameters: dict[str, Any] = {}
    if last is not None and not is_small(connection):
        parameters["since"] = last - OVERLAP
    query = f"""
        {_QUEUE}
        SELECT s.id FROM heimdall.recording_sessions s
        JOIN heimdall.feature_states fs ON fs.recording_session_id = s.id
        WHERE s.status = 'completed' AND s.known_source_id IS DISTINCT FROM fs.known_source_id
          {"AND s.updated_at >= :since" if parameters else ""}
        {_ONCE}"""
    connection.execute(sa.text(query), parameters)


def _queue_by_round(connection: Connection) -> None:
    """Queue those of the next sessions on a round whose row has another truth than the tables give."""
    total = int(connection.scalar(sa.text("SELECT sum(sessions) FROM heimdall.feature_totals")) or 0)
    limit = max(LEAST_ROUND, total // ROUND_LOOKS + 1)
    after = heartbeats.position(connection, heartbeats.TRUTH_ROUND)
    query = f"""
        SELECT fs.recording_session_id FROM heimdall.feature_states fs
        WHERE fs.state IN ('done', 'partial') AND fs.feature_version IS NOT NULL
          {"" if after is None else "AND fs.recording_session_id > :after"}
        ORDER BY fs.recording_session_id LIMIT :limit"""
    parameters: dict[str, Any] = {"limit": limit, **({} if after is None else {"after": after})}
    ids = connection.scalars(sa.text(query), parameters).all()
    heartbeats.set_position(connection, heartbeats.TRUTH_ROUND, ids[-1] if len(ids) == limit else None)
    source = true_source("s.known_source_id", "fs.frequency_hz", current_settings().source_tolerance_hz)
    # How the truth was found stands in the metadata, which are large: it changes with what the session names.
    query = f"""
        {_QUEUE}
        SELECT fs.recording_session_id FROM heimdall.feature_states fs
        JOIN heimdall.recording_sessions s ON s.id = fs.recording_session_id
        CROSS JOIN LATERAL (
            SELECT mf.tx_known, mf.tx_latitude, mf.tx_longitude, mf.tx_power_dbm
            FROM heimdall.measurement_features mf WHERE mf.recording_session_id = s.id) f
        LEFT JOIN LATERAL ({source}) t ON true
        WHERE fs.recording_session_id = ANY (:ids) AND s.status = 'completed'
          AND (s.known_source_id IS DISTINCT FROM fs.known_source_id
               OR (coalesce(fs.stale_reason, '{OTHER_TRUTH}') = '{OTHER_TRUTH}'
                   AND ({differs_from_truth("f", "t", is_how_compared=False)}) <> (fs.stale_reason IS NOT NULL)))
        {_ONCE}"""
    connection.execute(sa.text(query), {"ids": list(ids)})
