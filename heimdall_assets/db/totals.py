"""How many sessions are in which state, without counting them: sums that triggers on feature_states keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.tables import feature_totals as totals

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

MOST_DIFFERENCES = 256
"""Rows; adding up this many takes a fraction of a millisecond."""

RECOUNT = """
    SELECT state, feature_version, stale_reason IS NOT NULL AS is_marked_stale, count(*) AS sessions,
           sum(measurements_total)::bigint AS measurements, sum(measurements_with_features)::bigint AS with_features,
           sum(measurements_used)::bigint AS used
    FROM heimdall.feature_states GROUP BY 1, 2, 3"""
SUMS = """
    SELECT state, feature_version, is_marked_stale, sum(sessions)::bigint AS sessions,
           sum(measurements)::bigint AS measurements, sum(with_features)::bigint AS with_features,
           sum(used)::bigint AS used
    FROM heimdall.feature_totals GROUP BY 1, 2, 3
    HAVING sum(sessions) <> 0 OR sum(measurements) <> 0 OR sum(with_features) <> 0 OR sum(used) <> 0"""
_COLUMNS = "state, feature_version, is_marked_stale, sessions, measurements, with_features, used"


def compact(connection: Connection) -> None:
    """Replace the differences by their sums where there are many; for the planner, under its lock.

    Those that are committed meanwhile are not seen, and stay.
    """
    if int(connection.scalar(sa.select(sa.func.count()).select_from(totals)) or 0) <= MOST_DIFFERENCES:
        return
    query = f"""
        WITH differences AS (DELETE FROM heimdall.feature_totals RETURNING {_COLUMNS})
        INSERT INTO heimdall.feature_totals ({_COLUMNS})
        {SUMS.replace("heimdall.feature_totals", "differences")}"""
    connection.execute(sa.text(query))


def recount(connection: Connection) -> bool:
    """Count again where the sums are wrong; True if they were. Nobody changes a state meanwhile."""
    connection.execute(sa.text("LOCK TABLE heimdall.feature_states IN SHARE ROW EXCLUSIVE MODE"))
    difference = f"(({RECOUNT}) EXCEPT ({SUMS})) UNION ALL (({SUMS}) EXCEPT ({RECOUNT}))"
    if not connection.scalar(sa.text(f"SELECT EXISTS ({difference})")):
        return False
    connection.execute(sa.delete(totals))
    connection.execute(sa.text(f"INSERT INTO heimdall.feature_totals ({_COLUMNS}) {RECOUNT}"))
    return True
