"""The ledger against the tables: every state worked out anew, and what disagrees listed or set right.

The invariant is that nothing disagrees. What is only on its way does not: a session that was completed after the
planner last looked, a change that is queued for it, and whatever is being worked on or planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, states, totals, work
from heimdall_assets.db.heartbeats import PLANNER, last_beat
from heimdall_assets.db.locks import held_keys, session_key
from heimdall_assets.db.sessions import classified
from heimdall_assets.db.suspects import COMPLETED

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that the ledger says and the tables do not.

    Attributes
    ----------
    session_id : UUID or None
        None for a sum over sessions.
    stored, should_be : str or None
        What feature_states or feature_attempts say, and what they should; None: nothing.
    why : str
        What contradicts it.
    """

    session_id: UUID | None
    stored: str | None
    should_be: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Repair:
    """What was set right: numbers of sessions, and whether the sums were counted again."""

    discovered: int
    forgotten: int
    lost: int
    corrected: int
    recounted: bool


def _states(connection: Connection) -> str:
    """SQL for completed sessions whose state is not what the tables say."""
    return f"""
        WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions WHERE status = 'completed'),
        compared AS MATERIALIZED (
        SELECT c.id, c.completed_at, c.receivers_gone, fs.state AS stored, c.state AS should_be,
               CASE WHEN fs.state IS NULL THEN 'the session is completed, and is not in the ledger'
                    WHEN fs.state = c.state AND fs.feature_version IS DISTINCT FROM c.feature_version
                    THEN format('the features are of version %s, not %s', coalesce(c.feature_version::text, 'none'),
                                coalesce(fs.feature_version::text, 'none'))
                    WHEN fs.state = c.state
                    THEN format('%s of %s measurements have features, not %s of %s', c.measurements_with_features,
                                c.measurements_total, fs.measurements_with_features, fs.measurements_total)
                    WHEN c.state IN ('done', 'partial') THEN 'features are there'
                    WHEN fs.state IN ('done', 'partial') AND fs.feature_version IS DISTINCT FROM c.feature_version
                    THEN 'there are no features'
                    WHEN c.state = 'empty' THEN 'no measurement has IQ data'
                    ELSE 'it has recordings, and nothing was tried' END AS why,
               CASE WHEN fs.state IS NULL THEN c.completed_at < CAST(:planned_at AS timestamptz)
                    WHEN fs.state IN ('running', 'ignored') OR fs.reserved_by IS NOT NULL THEN false
                    ELSE (fs.state, fs.feature_version, fs.measurements_total, fs.measurements_with_features,
                          fs.measurements_used)
                         IS DISTINCT FROM
                         (c.state, c.feature_version, c.measurements_total, c.measurements_with_features,
                          c.measurements_used) END AS is_different,
               -- what other code computed does not say of which measurements
               fs.state = c.state AND fs.feature_version IS NULL AND c.feature_version IS NULL
                   AND fs.measurements_with_features > c.measurements_with_features
                   AND c.receivers_gone IS NOT NULL AS is_explained
        FROM ({classified(connection, "wanted")}) c
        LEFT JOIN heimdall.feature_states fs ON fs.recording_session_id = c.id
        WHERE NOT EXISTS (SELECT 1 FROM heimdall.feature_changes q WHERE q.recording_session_id = c.id)
          AND NOT EXISTS (SELECT 1 FROM heimdall.feature_rechecks q WHERE q.recording_session_id = c.id))
        (SELECT id, stored, should_be, why, NULL::uuid AS gone, NULL::bigint AS sessions
         FROM compared WHERE is_different AND is_explained IS NOT TRUE ORDER BY completed_at, id)
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, gone, count(*)
        FROM compared CROSS JOIN LATERAL unnest(compared.receivers_gone) gone GROUP BY gone"""


_GONE = f"""
    SELECT fs.recording_session_id AS id, fs.state AS stored FROM heimdall.feature_states fs
    WHERE fs.state NOT IN ('running', 'ignored') AND NOT {COMPLETED}
      AND NOT EXISTS (SELECT 1 FROM heimdall.feature_changes q
                      WHERE q.recording_session_id = fs.recording_session_id)
      -- one that was taken up again after the planner looked is on its way
      AND NOT EXISTS (SELECT 1 FROM heimdall.recording_sessions s
                      WHERE s.id = fs.recording_session_id
                        AND s.updated_at >= coalesce(CAST(:planned_at AS timestamptz), '-infinity'))
    ORDER BY 1"""

_TOTALS = f"""
    SELECT named.state, named.feature_version, named.is_marked_stale,
           s.sessions AS stored_sessions, s.measurements AS stored_measurements, s.with_features AS stored_features,
           s.used AS stored_used, r.sessions, r.measurements, r.with_features, r.used
    FROM ({totals.SUMS}) s FULL JOIN ({totals.RECOUNT}) r
        ON s.state = r.state AND s.is_marked_stale = r.is_marked_stale
       AND coalesce(s.feature_version, -1) = coalesce(r.feature_version, -1)
    CROSS JOIN LATERAL (
        SELECT coalesce(s.state, r.state) AS state, coalesce(s.feature_version, r.feature_version) AS feature_version,
               coalesce(s.is_marked_stale, r.is_marked_stale) AS is_marked_stale) named
    WHERE (s.sessions, s.measurements, s.with_features, s.used)
          IS DISTINCT FROM (r.sessions, r.measurements, r.with_features, r.used)
    ORDER BY 1, 2, 3"""

_OPEN = """
    SELECT coalesce(fs.recording_session_id, t.recording_session_id) AS id, fs.state, fs.running_since, t.number
    FROM (SELECT * FROM heimdall.feature_states WHERE state = 'running') fs
    FULL JOIN (SELECT * FROM heimdall.feature_attempts WHERE finished_at IS NULL) t
        ON t.recording_session_id = fs.recording_session_id
    ORDER BY 1, t.number"""


@dataclass(frozen=True, slots=True)
class Gone:
    """A receiver that measurements name and websdr_stations does not have: it was deleted, or never was there.

    Attributes
    ----------
    station_id : UUID or None
        None: measurements that name no receiver.
    sessions : int
        Completed sessions that have measurements of it. What was computed of them stays.
    """

    station_id: UUID | None
    sessions: int


def disagreements(connection: Connection) -> list[Disagreement]:
    """Everything that the ledger says and the tables do not; reads every session, and changes nothing."""
    return check(connection)[0]


def check(connection: Connection) -> tuple[list[Disagreement], list[Gone]]:
    """:func:`disagreements`, and the receivers that are gone, whose features need no measurement to stay right."""
    moment = {"planned_at": last_beat(connection, PLANNER)}
    rows = connection.execute(sa.text(_states(connection)), moment).all()
    gone = [Gone(row.gone, row.sessions) for row in rows if row.sessions is not None]
    found = [Disagreement(row.id, row.stored, row.should_be, row.why) for row in rows if row.sessions is None]
    found += [
        Disagreement(row.id, row.stored, None, "the session is gone, or not completed")
        for row in connection.execute(sa.text(_GONE), moment)
    ]
    found += _wrong_sums(connection)
    return found + _without_holder(connection), gone


def _wrong_sums(connection: Connection) -> list[Disagreement]:
    def shown(sessions: int | None, measurements: int | None, with_features: int | None, used: int | None) -> str:
        return f"{sessions or 0} sessions, {with_features or 0} of {measurements or 0} measurements, {used or 0} used"

    return [
        Disagreement(
            None,
            shown(row.stored_sessions, row.stored_measurements, row.stored_features, row.stored_used),
            shown(row.sessions, row.measurements, row.with_features, row.used),
            f"the sums of state {row.state}, version {row.feature_version or 'none'}"
            f"{', marked as stale' if row.is_marked_stale else ''}, are not what feature_states holds",
        )
        for row in connection.execute(sa.text(_TOTALS))
    ]


def _without_holder(connection: Connection) -> list[Disagreement]:
    """Sessions that run, and attempts that are open, although nobody holds the session's lock."""
    before = set(map(tuple, connection.execute(sa.text(_OPEN))))
    held = held_keys(connection)
    # Looked at again: a worker may have ended in between.
    still = before & set(map(tuple, connection.execute(sa.text(_OPEN)))) if before else before
    found = []
    for session_id, state, _, number in sorted(still, key=str):
        if session_key(session_id) not in held:
            stored = "running" if number is None else f"attempt {number} is open"
            should_be = "pending" if state == "running" and number is None else "lost"
            found.append(Disagreement(session_id, stored, should_be, "nobody is working on it"))
        elif state is None or number is None:
            found.append(Disagreement(session_id, state, "running", "its attempt and its state do not go together"))
    return found


_CLOSE_OPEN = """
    UPDATE heimdall.feature_attempts t
    SET finished_at = clock_timestamp(), outcome = 'lost', reason = 'worker_lost',
        message = 'the process ended during this attempt'
    WHERE t.finished_at IS NULL AND t.recording_session_id = ANY (:ids)
      AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs
                      WHERE fs.recording_session_id = t.recording_session_id AND fs.state = 'running')"""


def repair(connection: Connection, rule: states.RetryRule) -> Repair:
    """Set every state to what the tables say; in the planner's transaction, under its lock."""
    discovered = discovery.discover(connection)
    forgotten = discovery.forget_gone(connection)
    lost = attempts.recover_lost(connection, rule)
    orphans = [item.session_id for item in _without_holder(connection) if item.session_id is not None]
    connection.execute(sa.text(_CLOSE_OPEN), {"ids": orphans})
    corrected = work.refresh(connection)
    return Repair(discovered, forgotten, len(lost), corrected, totals.recount(connection))
