"""Measurements that name a session and lie far outside its window: found late, but never lost.

Statements look for a session's measurements near its window only, so that they need not look at every piece of the
table (see :mod:`heimdall_assets.db.windows`). The schedule's pass is the one that looks at all of them. What it finds
is noted in ``feature_strays``, and from then on the bounds of that session reach as far.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import heartbeats
from heimdall_assets.db.sessions import has_session_link, windowed
from heimdall_assets.db.suspects import OVERLAP, is_small
from heimdall_assets.db.windows import EVER, Span

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

WHOLE_EVERY = timedelta(days=1)
"""In a large database most passes look at measurements that came since the last pass; one a day looks at all."""


def pass_over(connection: Connection) -> list[UUID]:
    """Look for strays, and for whatever came since the last pass, wherever it lies; one statement, for the schedule.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.

    Returns
    -------
    list of UUID
        Sessions that may have measurements which nothing has counted.
    """
    if not has_session_link(connection):
        return []
    last, last_whole = (heartbeats.last_beat(connection, name) for name in (heartbeats.STRAYS, heartbeats.ALL_STRAYS))
    now = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    is_whole = last_whole is None or is_small(connection) or now - last_whole > WHOLE_EVERY
    heartbeats.beat(connection, heartbeats.STRAYS)
    if is_whole:
        heartbeats.beat(connection, heartbeats.ALL_STRAYS)
    return _note(connection, (last or now) - OVERLAP, EVER, is_whole=is_whole)


def note_lately(connection: Connection, since: datetime) -> list[UUID]:
    """The same for measurements that were made and written down since a moment; for every tick."""
    return _note(connection, since, Span.since(since), is_whole=False) if has_session_link(connection) else []


def _note(connection: Connection, since: datetime, span: Span, *, is_whole: bool) -> list[UUID]:
    if is_whole:
        of_session = f"JOIN {windowed('heimdall.recording_sessions')} s ON s.id = m.recording_session_id"
    else:
        one = "(SELECT * FROM heimdall.recording_sessions WHERE id = m.recording_session_id)"
        of_session = f"CROSS JOIN LATERAL {windowed(one)} s"
    query = f"""
        WITH found AS MATERIALIZED (
            SELECT s.id, min(m."timestamp") FILTER (WHERE is_stray) AS first_at,
                   max(m."timestamp") FILTER (WHERE is_stray) AS last_at
            FROM heimdall.measurements m {of_session}
            CROSS JOIN LATERAL (SELECT m."timestamp" NOT BETWEEN s.first_at AND s.last_at AS is_stray) b
            WHERE m.iq_data_location IS NOT NULL AND {span.on("m")}
              AND (m.created_at >= :since{" OR is_stray" if is_whole else ""})
            GROUP BY s.id),
        noted AS (
            INSERT INTO heimdall.feature_strays AS known (recording_session_id, first_at, last_at)
            SELECT id, first_at, last_at FROM found WHERE first_at IS NOT NULL
            ON CONFLICT (recording_session_id) DO UPDATE
            SET first_at = least(known.first_at, excluded.first_at),
                last_at = greatest(known.last_at, excluded.last_at))
        SELECT id FROM found"""
    return list(connection.scalars(sa.text(query), {"since": since}))
