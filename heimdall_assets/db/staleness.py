"""Which stored features are out of date, and why: the one rule, whoever asks.

Features are stale while other code wrote them (``other_code``), an older version of ours did (``older_version``), or
something that they depend on has changed since: which measurements belong to the session (``other_inputs``), settings
of a receiver (``receiver_settings``), or the ground truth (``other_truth``). Then the session's row of feature_states
is marked with the first of these reasons. The mark is of the features, not of the state: it stays while the session is
worked on, and goes when others are stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.sessions import STARTS, classified, span_of
from heimdall_assets.db.truth import OTHER_TRUTH, differs_from_truth, true_source
from heimdall_assets.db.validity import RECEIVER_SETTINGS, STATION_PLACE, differs_from_places, differs_from_settings
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection


def why_stale(row: str) -> str:
    """SQL for the reason why a session's features are stale; NULL where they are not, or where it has none.

    Parameters
    ----------
    row : str
        Name of something that has state, feature_version and stale_reason. The parameter ``version`` is the current
        version of the estimators.
    """
    return f"""
        CASE WHEN {row}.state IN ('done', 'partial')
             THEN CASE WHEN {row}.feature_version IS NULL THEN 'other_code'
                       WHEN {row}.feature_version < :version THEN 'older_version'
                       ELSE {row}.stale_reason END END""".strip()


def is_stale(row: str) -> str:
    """SQL for whether a session's features are stale; see :func:`why_stale`."""
    return f"({why_stale(row)}) IS NOT NULL"


_statement = lru_cache(maxsize=4)(sa.text)


def mark_of(session_id: UUID, frequency_hz: int | None) -> sa.TextClause:
    """SQL for the reason with which a session's row of feature_states has to be marked, once its features are stored.

    NULL: nothing changed while they were computed. To be asked where ``locks.keep_settings`` holds, or it may be
    otherwise already. Measurements that came meanwhile are noticed by the planner.

    Parameters
    ----------
    session_id : UUID
        The session, whose row is ours.
    frequency_hz : int or None
        That all its measurements have.
    """
    source = true_source("s.known_source_id", "CAST(:marked_hz AS bigint)", current_settings().source_tolerance_hz)
    query = f"""
        (SELECT CASE WHEN {differs_from_places()} THEN '{STATION_PLACE}'
                     WHEN {differs_from_settings(STARTS.format("s"))} THEN '{RECEIVER_SETTINGS}'
                     WHEN {differs_from_truth("mf", "t")} THEN '{OTHER_TRUTH}' END
         FROM heimdall.recording_sessions s
         JOIN LATERAL (SELECT *, extraction_metadata ->> 'ground_truth' AS ground_truth
                       FROM heimdall.measurement_features WHERE recording_session_id = s.id) mf ON true
         LEFT JOIN LATERAL ({source}) t ON true
         WHERE s.id = :marked_id)"""
    return _statement(query).bindparams(marked_id=session_id, marked_hz=frequency_hz)


def stale_reason_of(connection: Connection, session_id: UUID, *, feature_version: int) -> str | None:
    """Why a session's features are stale, by the tables as they are; None where they are current or missing."""
    span = span_of(connection, [session_id])
    query = f"""
        WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions WHERE id = :id)
        SELECT {why_stale("c")} FROM ({classified(connection, "wanted", span)}) c"""
    reason: str | None = connection.scalar(sa.text(query), {"id": session_id, "version": feature_version})
    return reason
