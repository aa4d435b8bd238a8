"""Features that other code wrote: which sessions have them, and a sample of these for comparing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.sessions import HAS_FEATURES, STARTS, VERSION

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection

_FOREIGN = f"""
    FROM heimdall.measurement_features mf
    JOIN heimdall.recording_sessions s ON s.id = mf.recording_session_id
    WHERE s.status = 'completed' AND {HAS_FEATURES} AND {VERSION} IS NULL"""


def count_foreign(connection: Connection) -> int:
    """Number of completed sessions whose features other code wrote."""
    return int(connection.scalar(sa.text(f"SELECT count(*) {_FOREIGN}")) or 0)


def sample_foreign(connection: Connection, count: int, *, seed: int) -> list[UUID]:
    """Completed sessions whose features other code wrote, spread evenly over the time in which they started.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    count : int
        At most so many, at least 1. The sessions, in the order of their starts, are cut into so many slices of equal
        size, and each gives one.
    seed : int
        Which of its slice that is: the same seed finds the same sessions as long as the rows are the same.

    Returns
    -------
    list of UUID
        In the order of their starts; all of them where there are no more.
    """
    query = f"""
        WITH sliced AS (
            SELECT s.id, ntile(:count) OVER (ORDER BY {STARTS.format("s")}, s.id) AS slice
            {_FOREIGN}),
        chosen AS (
            SELECT DISTINCT ON (slice) slice, id FROM sliced
            ORDER BY slice, md5(CAST(:seed AS text) || ':' || id), id)
        SELECT id FROM chosen ORDER BY slice"""
    return list(connection.scalars(sa.text(query), {"count": count, "seed": str(seed)}))
