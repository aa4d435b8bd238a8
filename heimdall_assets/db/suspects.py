"""Sessions whose state may be another than feature_states says, and every session as the tables are now.

feature_states is right about a session until Heimdall, or other code, changes one of its tables. Whoever asks for
figures must not wait for the planner to notice: what may have changed is looked at again, session by session, and
everything else is taken as it stands.

In a small database what may have changed is found by comparing everything. In a large one that would take seconds, so
it is found by what is left behind: time stamps since the schedule's last look at all sessions, and the queue of changes
that a trigger on measurement_features fills. A session that was deleted while it had no features leaves nothing behind:
it is missed by that look.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.heartbeats import DISCOVERY, last_beat
from heimdall_assets.db.sessions import (
    HAS_FEATURES,
    STARTS,
    VERSION,
    classified,
    few_of,
    has_session_link,
    linked_measurements,
    span_of,
)
from heimdall_assets.db.windows import EVER, Span

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.engine import Connection

SMALL_TABLE = 20_000
"""Sessions; comparing this many takes some ten milliseconds."""

OVERLAP = timedelta(minutes=10)
"""A time stamp is older than the end of the transaction that wrote it: looks reach this far back."""

COMPLETED = """
    EXISTS (SELECT 1 FROM heimdall.recording_sessions s
            WHERE s.id = fs.recording_session_id AND s.status = 'completed')""".strip()
"""A condition on ``fs``, a row of feature_states."""

KNOWN = "EXISTS (SELECT 1 FROM heimdall.feature_states fs WHERE fs.recording_session_id = s.id)"
"""A condition on ``s``, a session."""

_CHANGED = """
    SELECT fs.recording_session_id AS id
    FROM heimdall.feature_changes c JOIN heimdall.feature_states fs USING (recording_session_id)
    WHERE fs.state NOT IN ('running', 'ignored')"""


def is_small(connection: Connection) -> bool:
    """True while looking at every session costs no more than looking at the latest; by the server's statistics."""
    query = """
        SELECT n_live_tup FROM pg_stat_user_tables WHERE schemaname = 'heimdall' AND relname = 'recording_sessions'"""
    return int(connection.scalar(sa.text(query)) or 0) < SMALL_TABLE


def outdated(connection: Connection, session_ids: Collection[UUID] | None = None) -> str:
    """SQL for whether the tables contradict a row of feature_states: other code was at work since.

    Parameters
    ----------
    connection : Connection
        Asked when the measurements of empty sessions would have been made.
    session_ids : collection of UUID, optional
        Only these are going to be compared.

    Returns
    -------
    str
        A condition on ``fs``, the row, and ``mf``, the outer-joined row of measurement_features that has features:
        some appeared for a session that waited, or went, or were replaced; or a session that was empty has
        recordings. What is running or ignored is so whatever the tables say.
    """
    narrowed = "true" if session_ids is None else "recording_session_id = ANY (:session_ids)"
    empty = few_of(
        connection,
        f"SELECT recording_session_id AS id FROM heimdall.feature_states WHERE state = 'empty' AND {narrowed}",
        {} if session_ids is None else {"session_ids": list(session_ids)},
    )
    span = EVER if empty is None else span_of(connection, empty)
    return f"""
        CASE WHEN fs.state IN ('running', 'ignored') THEN false
             WHEN fs.state IN ('done', 'partial')
             THEN mf.recording_session_id IS NULL OR fs.feature_version IS DISTINCT FROM {VERSION}
             WHEN fs.state = 'empty'
             THEN mf.recording_session_id IS NOT NULL
                  OR (SELECT 1 FROM heimdall.recording_sessions s
                      CROSS JOIN LATERAL ({linked_measurements(connection, "(SELECT s.*)", span)}) m
                      WHERE s.id = fs.recording_session_id LIMIT 1) IS NOT NULL
             WHEN fs.new_inputs IS NOT NULL THEN fs.feature_version IS DISTINCT FROM {VERSION}
             ELSE mf.recording_session_id IS NOT NULL END"""


MISPLACED = """
        CASE WHEN fs.state IN ('running', 'ignored') THEN false
             WHEN fs.state IN ('done', 'partial') OR fs.new_inputs IS NOT NULL THEN mf.recording_session_id IS NULL
             ELSE mf.recording_session_id IS NOT NULL END"""
"""The same by the presence of rows alone: no row of features is read, which at a million sessions takes minutes."""


def contradicted(connection: Connection, session_ids: Collection[UUID] | None = None) -> str:
    """SQL for the rows of feature_states that measurement_features, or the measurements, contradict.

    Parameters
    ----------
    connection : Connection
        Asked how large the database is.
    session_ids : collection of UUID, optional
        Only these are compared, and as thoroughly as in a small database; the parameter ``session_ids`` names them.

    Returns
    -------
    str
        A SELECT of (id).
    """
    is_thorough = session_ids is not None or is_small(connection)
    condition = outdated(connection, session_ids) if is_thorough else MISPLACED
    narrowed = "true" if session_ids is None else "{0}.recording_session_id = ANY (:session_ids)"
    return f"""
        SELECT fs.recording_session_id AS id FROM heimdall.feature_states fs
        LEFT JOIN heimdall.measurement_features mf
            ON mf.recording_session_id = fs.recording_session_id AND {HAS_FEATURES} AND {narrowed.format("mf")}
        WHERE {narrowed.format("fs")} AND {condition}"""


def suspects(connection: Connection) -> tuple[str, dict[str, Any], Span]:
    """SQL for the sessions that have to be looked at, its parameters, and a span.

    Returns
    -------
    tuple of (str, dict, Span)
        A SELECT of (id), each once: sessions that are new, gone or not completed any more, that other code touched, or
        that had no recordings. Some of them may be as feature_states says. The span covers their measurements.
    """
    found, parameters = _suspects(connection)
    few = few_of(connection, found, parameters)
    if few is None:
        return found, parameters, EVER
    these = "SELECT unnest(CAST(:suspects AS uuid[])) AS id"
    return these, {"suspects": few}, span_of(connection, few)


def _suspects(connection: Connection) -> tuple[str, dict[str, Any]]:
    since = last_beat(connection, DISCOVERY)
    if since is None or is_small(connection):
        return (
            f"""
            SELECT s.id FROM heimdall.recording_sessions s WHERE s.status = 'completed' AND NOT {KNOWN}
            UNION
            SELECT fs.recording_session_id FROM heimdall.feature_states fs WHERE NOT {COMPLETED}
            UNION ({contradicted(connection)}) UNION ({_CHANGED})""",
            {},
        )
    lately = Span.since(since - OVERLAP).on("m")
    late = f"""
            UNION
            SELECT fs.recording_session_id FROM heimdall.measurements m
            JOIN heimdall.feature_states fs USING (recording_session_id)
            WHERE m.iq_data_location IS NOT NULL AND m.created_at >= :looked_since AND {lately}
              AND fs.state = 'empty'"""
    return (
        f"""
            SELECT s.id FROM heimdall.recording_sessions s
            WHERE s.status = 'completed' AND (s.updated_at >= :looked_since OR s.created_at >= :looked_since)
              AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs
                              WHERE fs.recording_session_id = s.id AND fs.state <> 'empty')
            UNION
            SELECT s.id FROM heimdall.recording_sessions s
            WHERE s.status <> 'completed' AND s.updated_at >= :looked_since AND {KNOWN}
            UNION
            SELECT fs.recording_session_id FROM heimdall.feature_states fs
            WHERE fs.state IN ('running', 'ignored') AND NOT {COMPLETED}
            UNION ({_CHANGED}) {late if has_session_link(connection) else ""}""",
        {"looked_since": since - OVERLAP},
    )


def current_sessions(connection: Connection) -> tuple[str, dict[str, Any]]:
    """SQL for every completed session as the tables are now, and its parameters.

    Returns
    -------
    tuple of (str, dict)
        A WITH clause that ends in a CTE named ``sessions``: (id, start, state, measurements_total,
        measurements_with_features, feature_version, stale_reason, reason, waiting_since). A session is taken from its
        row in feature_states, unless it is a suspect. Conditions on ``sessions`` are pushed down into the tables.
    """
    found, parameters, span = suspects(connection)
    return (
        f"""
        WITH suspects AS MATERIALIZED ({found}),
        wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s JOIN suspects USING (id) WHERE s.status = 'completed'),
        sessions AS (
            SELECT k.recording_session_id AS id, {STARTS.format("s")} AS start, k.state, k.measurements_total,
                   k.measurements_with_features, k.feature_version, k.stale_reason, k.reason,
                   k.first_seen_completed_at AS waiting_since
            FROM heimdall.feature_states k
            JOIN heimdall.recording_sessions s ON s.id = k.recording_session_id AND s.status = 'completed'
            WHERE NOT EXISTS (SELECT 1 FROM suspects x WHERE x.id = k.recording_session_id)
            UNION ALL
            SELECT c.id, {STARTS.format("s")}, c.state, c.measurements_total, c.measurements_with_features,
                   c.feature_version, c.stale_reason, CASE WHEN k.state = c.state THEN k.reason END,
                   {WAITING_SINCE}
            FROM ({classified(connection, "wanted", span)}) c
            JOIN wanted s ON s.id = c.id
            LEFT JOIN heimdall.feature_states k ON k.recording_session_id = c.id)""",
        parameters,
    )


WAITING_SINCE = """
        CASE WHEN k.recording_session_id IS NULL THEN c.completed_at
             WHEN k.state = 'pending' THEN k.first_seen_completed_at
             ELSE statement_timestamp() END""".strip()
"""Since when a suspect waits: what is new since Heimdall touched it, what has to be done again since now.

Of the clocks, one that stands still during a statement: conditions are pushed into no query that holds another.
"""
