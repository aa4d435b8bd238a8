"""Inputs that came late or were replaced: sessions that are done and have to be done again.

What an attempt found at its measurements' locations is noted in ``feature_states.inputs_tried``: a word an object,
made of its measurement, location, size and etag. A word that is new since means an object that nobody has tried. One
that is gone means nothing: recordings are deleted some day, and features outlive them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import heartbeats, strays
from heimdall_assets.db.sessions import (
    ENDS,
    HAS_FEATURES,
    STARTS,
    USABLE,
    USED,
    VERSION,
    classified,
    few_of,
    has_session_link,
    linked_measurements,
    span_of,
)
from heimdall_assets.db.windows import EVER, Span

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

LATE_IQ = "late_iq"
REPLACED_IQ = "replaced_iq"

OVERLAP = timedelta(minutes=1)
"""Looks reach this far back behind the last one; what is committed later than that waits for :func:`next_to_check`."""

LONGEST_LOOK = timedelta(days=1)
"""How far back new measurements are looked for; older ones are found by :func:`next_to_check`."""

_CHECKED_STATES = "('empty', 'done', 'partial', 'failed', 'quarantined')"

# Features of other code stay until somebody asks: whatever their inputs are, they are stale.
_IS_OURS = "(fs.state IN ('empty', 'failed', 'quarantined') OR fs.feature_version IS NOT NULL)"

_AGAIN = """
        state = 'pending', attempts = 0, next_attempt_at = NULL, reason = NULL, message = NULL,
        first_seen_completed_at = clock_timestamp(), updated_at = clock_timestamp()"""


@dataclass(frozen=True, slots=True)
class Tried:
    """A session, what its last attempt found, and where its measurements point now.

    Attributes
    ----------
    session_id : UUID
        The session.
    inputs_tried : str or None
        Words; None where no attempt has noted any.
    measurements_total : int
        So many measurements it had.
    measurements_now : int
        So many it has.
    locations : tuple of (UUID, str)
        Measurement and iq_data_location; without what was not needed, of receivers that have features of ours, and
        without those of receivers that are not known.
    """

    session_id: UUID
    inputs_tried: str | None
    measurements_total: int
    measurements_now: int
    locations: tuple[tuple[UUID, str], ...]

    @property
    def why(self) -> str:
        """Why an object that nobody has tried is there."""
        return LATE_IQ if self.measurements_now > self.measurements_total else REPLACED_IQ


def absorb_late(connection: Connection, others: Collection[UUID] = ()) -> int:
    """Notice measurements that came after their session was looked at; for the planner, under its lock.

    The session's number of measurements follows. Where there are more than before of receivers without features, it
    waits again: one that has features of ours keeps them meanwhile; one that is ignored, or whose features other code
    wrote, stays what it is. Further measurements of a receiver that has features change nothing.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    others : collection of UUID
        Sessions that are looked at too.

    Returns
    -------
    int
        Number of sessions that changed.
    """
    last = heartbeats.last_beat(connection, heartbeats.INPUTS)
    now = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    since = max(now - LONGEST_LOOK, (last or now - LONGEST_LOOK) - OVERLAP)
    heartbeats.beat(connection, heartbeats.INPUTS)
    named = {*others, *strays.note_lately(connection, since)}
    found, parameters = f"{_touched(connection, since)} UNION {_THESE}", {"since": since, "others": list(named)}
    span, few = EVER, few_of(connection, found, parameters)
    if few is not None:
        if not few:
            return 0
        found, parameters, span = _THESE, {"others": few}, span_of(connection, few)
    query = f"""
        WITH touched AS MATERIALIZED ({found}),
        wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s JOIN touched USING (id)
            -- row by row, by the primary key: the touched are few
            CROSS JOIN LATERAL (SELECT * FROM heimdall.feature_states k
                                WHERE k.recording_session_id = s.id LIMIT 1) fs
            CROSS JOIN LATERAL (SELECT count(*) AS total
                                FROM ({linked_measurements(connection, "(SELECT s.*)", span)}) m) l
            WHERE s.status = 'completed' AND fs.state <> 'running' AND fs.reserved_by IS NULL
              AND l.total <> fs.measurements_total),
        compared AS (
            SELECT c.*, c.measurements_total - c.measurements_with_features
                        > fs.measurements_total - fs.measurements_with_features
                        AND fs.state IN {_CHECKED_STATES}
                        AND {_IS_OURS} AND fs.feature_version IS NOT DISTINCT FROM c.feature_version AS is_again
            FROM ({classified(connection, "wanted", span)}) c
            JOIN heimdall.feature_states fs ON fs.recording_session_id = c.id),
        again AS (
            UPDATE heimdall.feature_states fs
            SET measurements_total = c.measurements_total, measurements_with_features = c.measurements_with_features,
                measurements_used = c.measurements_used,
                new_inputs = CASE WHEN fs.feature_version IS NOT NULL THEN '{LATE_IQ}' END, {_AGAIN}
            FROM compared c WHERE fs.recording_session_id = c.id AND c.is_again AND fs.state IN {_CHECKED_STATES}
            RETURNING fs.recording_session_id),
        counted AS (
            UPDATE heimdall.feature_states fs
            SET measurements_total = c.measurements_total, updated_at = clock_timestamp(),
                measurements_with_features = CASE WHEN fs.state IN ('done', 'partial')
                                                  THEN c.measurements_with_features
                                                  ELSE fs.measurements_with_features END,
                measurements_used = CASE WHEN fs.state IN ('done', 'partial') THEN c.measurements_used
                                         ELSE fs.measurements_used END
            FROM compared c WHERE fs.recording_session_id = c.id AND NOT c.is_again AND fs.state <> 'running'
            RETURNING fs.recording_session_id)
        SELECT (SELECT count(*) FROM again) + (SELECT count(*) FROM counted)"""
    return int(connection.scalar(sa.text(query), parameters) or 0)


_THESE = "SELECT unnest(CAST(:others AS uuid[])) AS id"


def _touched(connection: Connection, since: datetime) -> str:
    """SQL for the sessions in whose window measurements were made since a moment, and those that Heimdall touched.

    Those that a measurement names are found by :func:`strays.note_lately`.
    """
    return f"""
        SELECT s.id FROM heimdall.measurements m
        JOIN heimdall.recording_sessions s
            ON {STARTS.format("s")} BETWEEN m.created_at - interval '1 day' AND m.created_at
           AND {ENDS.format("s")} >= m.created_at
        WHERE m.created_at >= :since AND m.iq_data_location IS NOT NULL AND {Span.since(since).on("m")}
          {"AND m.recording_session_id IS NULL" if has_session_link(connection) else ""}
        UNION
        SELECT s.id FROM heimdall.recording_sessions s WHERE s.status = 'completed' AND s.updated_at >= :since"""


def next_to_check(connection: Connection, limit: int) -> list[Tried]:
    """The next sessions on a round through all that were tried, or had nothing to try; remembers where it stopped.

    Ids are random, so a round visits old and new sessions alike.
    """
    after = heartbeats.position(connection, heartbeats.ROUND)
    query = f"""
        SELECT fs.recording_session_id AS id, fs.inputs_tried, fs.measurements_total FROM heimdall.feature_states fs
        WHERE fs.state IN {_CHECKED_STATES} AND fs.reserved_by IS NULL
          {"" if after is None else "AND fs.recording_session_id > :after"}
        ORDER BY fs.recording_session_id LIMIT :limit"""
    rows = connection.execute(sa.text(query), {"limit": limit, **({} if after is None else {"after": after})}).all()
    heartbeats.set_position(connection, heartbeats.ROUND, rows[-1].id if len(rows) == limit else None)
    numbers = dict.fromkeys((row.id for row in rows), 0)
    locations: dict[UUID, list[tuple[UUID, str]]] = {row.id: [] for row in rows}
    span = span_of(connection, locations)
    query = f"""
        WITH wanted AS MATERIALIZED (
            SELECT * FROM heimdall.recording_sessions WHERE id = ANY (:ids) AND status = 'completed'),
        used AS MATERIALIZED (
            SELECT mf.recording_session_id AS session_id, {USABLE} AS usable, {USED} AS measurements
            FROM heimdall.measurement_features mf
            WHERE mf.recording_session_id = ANY (:ids) AND {HAS_FEATURES} AND {VERSION} IS NOT NULL)
        SELECT m.session_id, m.id, m.iq_data_location,
               m.is_known AND (m.name = ANY (u.usable) AND m.id::text <> ALL (u.measurements)) IS NOT TRUE AS counts
        FROM ({linked_measurements(connection, "wanted", span)}) m LEFT JOIN used u USING (session_id)"""
    for row in connection.execute(sa.text(query), {"ids": list(locations)}):
        numbers[row.session_id] += 1
        if row.counts:
            locations[row.session_id].append((row.id, row.iq_data_location))
    return [
        Tried(row.id, row.inputs_tried, row.measurements_total, numbers[row.id], tuple(locations[row.id]))
        for row in rows
    ]


def note(connection: Connection, words: Mapping[UUID, str]) -> None:
    """Write down what was found for sessions of which nothing was noted, so that a change is seen the next time."""
    if not words:
        return
    query = """
        UPDATE heimdall.feature_states fs SET inputs_tried = :words
        WHERE fs.recording_session_id = :id AND fs.inputs_tried IS NULL"""
    connection.execute(sa.text(query), [{"id": key, "words": text} for key, text in words.items()])


def renew(connection: Connection, reasons: Mapping[UUID, str]) -> list[UUID]:
    """Let sessions wait again that have objects which nobody has tried; features of ours stay until others are stored.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    reasons : mapping of UUID to str
        ``late_iq`` or ``replaced_iq``.

    Returns
    -------
    list of UUID
        The sessions that do; what is running, planned or ignored by now, or done by other code, does not.
    """
    query = f"""
        UPDATE heimdall.feature_states fs
        SET new_inputs = CASE WHEN fs.feature_version IS NOT NULL THEN r.reason END, {_AGAIN}
        FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[])) r (id, reason)
        WHERE fs.recording_session_id = r.id AND fs.state IN {_CHECKED_STATES} AND fs.reserved_by IS NULL
          AND {_IS_OURS}
        RETURNING fs.recording_session_id"""
    parameters = {"ids": list(reasons), "reasons": list(reasons.values())}
    return list(connection.scalars(sa.text(query), parameters))
