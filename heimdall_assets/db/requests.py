"""Requests: which sessions people and scripts asked for, and how far they are.

A request is a selection. When the planner takes it in, the sessions that it finds are written down once; from then on
they are planned like others, after fresh work, until each has an outcome. So a request never asks for a session
twice, ends, survives restarts, and two that find the same sessions do the work once: whoever comes second finds an
attempt that ended after it was asked.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.locks import await_planner
from heimdall_assets.db.progress import UNDER_WAY, Progress, progress
from heimdall_assets.db.staleness import is_stale, why_stale
from heimdall_assets.db.suspects import current_sessions
from heimdall_assets.db.tables import feature_requests as requests
from heimdall_assets.db.truth import OTHER_TRUTH
from heimdall_assets.errors import SettingError
from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.engine import Connection

logger = logging.getLogger(__name__)

MOST_LOST = 3
"""A quarantined session whose workers died this often since it was asked for has failed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions are meant.

    Attributes
    ----------
    pending : bool
        Those that have no features and did not fail.
    stale : bool
        Those whose features are stale: of an older version, of other code, or marked so.
    failed : bool
        Those that failed, quarantined ones too.
    reason : str or None
        Of the failed ones, only those with this reason.
    session_ids : tuple of str
        Only these; a failed or stale one among them is meant too.
    since, until : str or None
        Only sessions that started in [since, until); ISO 8601.
    limit : int or None
        At most so many, the newest.
    batch_size : int or None
        Sessions in one run; None: HEIMDALL_BATCH_SIZE.
    """

    pending: bool = False
    stale: bool = False
    failed: bool = False
    reason: str | None = None
    session_ids: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    batch_size: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Selection:
        """The selection that :func:`submit` stored."""
        known = {field.name for field in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "session_ids": tuple(kept.get("session_ids", ()))})


def submit(connection: Connection, selection: Selection, *, requested_by: str) -> UUID:
    """Write a request down; the planner of the running system takes it in.

    Raises
    ------
    SettingError
        The selection names no sessions.
    """
    _selected(connection, selection, 0)  # refused here, where somebody is told, and not in the planner
    request_id: UUID = connection.execute(
        insert(requests).values(selection=asdict(selection), requested_by=requested_by).returning(requests.c.id)
    ).scalar_one()
    return request_id


_STALE_REQUESTER = "recompute_stale"

# A session whose last attempt at this version changed nothing would not become current by another one, unless it is
# its ground truth that has changed: that is renewed whatever has become of the recordings.
_STALE_UNTRIED = f"""
    SELECT c.id FROM sessions c
    WHERE {is_stale("c")}
      AND ({why_stale("c")} = '{OTHER_TRUTH}' OR NOT EXISTS (
          SELECT 1 FROM (SELECT t.outcome, t.feature_version FROM heimdall.feature_attempts t
                         WHERE t.recording_session_id = c.id AND t.finished_at IS NOT NULL
                         ORDER BY t.number DESC LIMIT 1) last
          WHERE last.feature_version >= :version AND last.outcome IN ('failed', 'kept')))
    ORDER BY c.start DESC, c.id LIMIT :limit"""


def ask_for_stale(connection: Connection, limit: int, *, feature_version: int) -> int:
    """Submit a request for the newest sessions with stale features, unless the last such request is still open.

    Sessions whose recomputation failed at this version are left alone.

    Returns
    -------
    int
        Number of sessions that were asked for.
    """
    is_open = sa.select(requests.c.id).where(
        requests.c.requested_by == _STALE_REQUESTER, requests.c.finished_at.is_(None)
    )
    if limit == 0 or connection.execute(is_open.limit(1)).one_or_none() is not None:
        return 0
    sessions, parameters = current_sessions(connection)
    query = sa.text(f"{sessions} {_STALE_UNTRIED}")
    found = connection.scalars(query, {**parameters, "version": feature_version, "limit": limit}).all()
    if found:
        submit(connection, Selection(session_ids=tuple(map(str, found))), requested_by=_STALE_REQUESTER)
    return len(found)


def count(connection: Connection, selection: Selection, *, feature_version: int) -> int:
    """How many sessions a selection finds now; changes nothing."""
    query, parameters = _selected(connection, selection, feature_version)
    return int(connection.scalar(sa.text(f"{query[0]} SELECT count(*) FROM ({query[1]}) found"), parameters) or 0)


def select_sessions(connection: Connection, selection: Selection, *, feature_version: int) -> list[UUID]:
    """The sessions that a selection finds now, the newest first."""
    query, parameters = _selected(connection, selection, feature_version)
    return [row.id for row in connection.execute(sa.text(" ".join(query)), parameters)]


def take_in(connection: Connection, *, feature_version: int) -> int:
    """Write down the sessions of every request that nobody has looked at yet.

    Returns
    -------
    int
        Number of requests.
    """
    waiting = connection.execute(
        sa.select(requests.c.id, requests.c.selection)
        .where(requests.c.kind == "extract", requests.c.status == "queued", requests.c.finished_at.is_(None))
        .order_by(requests.c.created_at)
    ).all()
    for request_id, values in waiting:
        try:
            query, parameters = _selected(connection, Selection.from_json(values), feature_version)
        except (SettingError, TypeError, ValueError) as error:  # written by other code: it must not stop all others
            logger.warning("request %s cannot be read and is cancelled: %s", request_id, error)
            cancel(connection, request_id)
            continue
        found = connection.execute(
            sa.text(
                f"{query[0]} INSERT INTO heimdall.feature_request_sessions "
                "(request_id, recording_session_id, position) "
                f"SELECT :request_id, found.id, row_number() OVER () FROM ({query[1]}) found"
            ),
            {**parameters, "request_id": request_id},
        ).rowcount
        connection.execute(
            sa.update(requests)
            .where(requests.c.id == request_id)
            .values(status="running", started_at=sa.func.clock_timestamp(), total_found=found)
        )
    return len(waiting)


_ASKS_FOR_STALE = """
    (coalesce((r.selection ->> 'stale')::boolean, false)
     OR jsonb_array_length(coalesce(r.selection -> 'session_ids', '[]')) > 0)""".strip()

_ANSWERED = f"""
      (fs.state IN ('ignored', 'empty')
           -- whoever did it: an attempt that ended after the request was made answers it
           OR EXISTS (SELECT 1 FROM heimdall.feature_attempts t
                      WHERE t.recording_session_id = a.recording_session_id AND t.finished_at > r.created_at
                        AND t.outcome <> 'lost')
           -- or it has killed one worker after the other: asking again would never end
           OR (fs.state = 'quarantined'
               AND (SELECT count(*) FROM heimdall.feature_attempts t
                    WHERE t.recording_session_id = a.recording_session_id AND t.finished_at > r.created_at)
                   >= :most_lost)
           -- or it has features, and was not asked for because they are stale
           OR (fs.state IN ('done', 'partial')
               AND NOT ({_ASKS_FOR_STALE} AND {is_stale("fs")})))"""
"""Condition on a request's session that is not running: nothing more is to be done for it. NULL is no."""

# A session that was asked for because it is stale, and is so after the attempt, has failed although it has features.
_SETTLE = f"""
    UPDATE heimdall.feature_request_sessions a
    SET outcome = CASE WHEN fs.state IN ('done', 'partial') AND NOT ({_ASKS_FOR_STALE} AND {is_stale("fs")})
                       THEN 'done' ELSE 'failed' END
    FROM heimdall.feature_requests r, heimdall.feature_states fs
    WHERE a.outcome IS NULL AND r.id = a.request_id AND r.finished_at IS NULL AND r.status <> 'queued'
      AND fs.recording_session_id = a.recording_session_id
      AND fs.state <> 'running' AND {_ANSWERED}"""

_VANISHED = """
    UPDATE heimdall.feature_request_sessions a SET outcome = 'failed'
    FROM heimdall.feature_requests r
    WHERE a.outcome IS NULL AND r.id = a.request_id AND r.finished_at IS NULL AND r.status <> 'queued'
      AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs
                      WHERE fs.recording_session_id = a.recording_session_id)"""

_FINISH = f"""
    UPDATE heimdall.feature_requests r
    SET status = CASE r.status WHEN 'running' THEN 'done' ELSE r.status END, finished_at = clock_timestamp()
    WHERE r.kind = 'extract' AND r.finished_at IS NULL
      AND CASE r.status
          WHEN 'running' THEN
              NOT EXISTS (SELECT 1 FROM heimdall.feature_request_sessions a
                          WHERE a.request_id = r.id AND a.outcome IS NULL)
          WHEN 'cancelled' THEN
              NOT EXISTS (SELECT 1 FROM heimdall.feature_request_sessions a
                          JOIN heimdall.feature_states fs USING (recording_session_id)
                          WHERE a.request_id = r.id AND {UNDER_WAY})
          ELSE false END
    RETURNING r.id"""


def settle(connection: Connection, *, feature_version: int) -> list[Progress]:
    """Give sessions that ended their outcome, and end the requests that wait for none any more.

    Returns
    -------
    list of Progress
        The requests that ended now.
    """
    _set_outcomes(connection, feature_version)
    return [progress(connection, request_id) for request_id in connection.scalars(sa.text(_FINISH)).all()]


def _set_outcomes(connection: Connection, feature_version: int) -> None:
    connection.execute(sa.text(_SETTLE), {"version": feature_version, "most_lost": MOST_LOST})
    connection.execute(sa.text(_VANISHED))


_NEXT = f"""
    SELECT a.request_id, a.recording_session_id, fs.registered_at IS NOT NULL AS is_registered,
           {is_stale("fs")} AS stale, (r.selection ->> 'batch_size')::int AS batch_size
    FROM heimdall.feature_requests r
    JOIN heimdall.feature_request_sessions a ON a.request_id = r.id AND a.outcome IS NULL
    JOIN heimdall.feature_states fs ON fs.recording_session_id = a.recording_session_id
    WHERE r.status = 'running' AND r.finished_at IS NULL
      AND fs.reserved_by IS NULL AND fs.state <> 'running'
      -- what ended since the outcomes were set must not be asked for again
      AND {_ANSWERED} IS NOT TRUE
    ORDER BY r.created_at, a.position LIMIT :limit"""


def next_sessions(connection: Connection, limit: int, *, feature_version: int) -> Sequence[Any]:
    """Open sessions of running requests, the oldest request first: what ``planning.Asked`` holds."""
    return connection.execute(
        sa.text(_NEXT), {"limit": limit, "version": feature_version, "most_lost": MOST_LOST}
    ).all()


_NOTE_QUEUED = """
    WITH planned AS (
        UPDATE heimdall.feature_request_sessions a SET queued_at = clock_timestamp()
        FROM heimdall.feature_requests r, heimdall.feature_states fs
        WHERE r.status = 'running' AND r.finished_at IS NULL AND a.request_id = r.id AND a.outcome IS NULL
          AND fs.recording_session_id = a.recording_session_id AND fs.reserved_by IS NOT NULL
          AND (a.queued_at IS NULL OR a.queued_at < fs.reserved_at)
        RETURNING a.request_id, a.position, fs.reserved_by)
    SELECT request_id, count(*) AS sessions FROM planned GROUP BY request_id, reserved_by
    ORDER BY request_id, min(position)"""


def note_queued(connection: Connection) -> list[tuple[UUID, int, int]]:
    """Remember which sessions of running requests were planned, for whatever reason.

    Returns
    -------
    list of (UUID, int, int)
        A batch that holds such sessions and was not noted before: the request, the batch's number in it, from 1, and
        how many of the request's sessions it holds.
    """
    noted = []
    for request_id, sessions in connection.execute(sa.text(_NOTE_QUEUED)).all():
        number = connection.execute(
            sa.update(requests)
            .where(requests.c.id == request_id)
            .values(num_batches=requests.c.num_batches + 1)
            .returning(requests.c.num_batches)
        ).scalar_one()
        noted.append((request_id, int(number), int(sessions)))
    return noted


def cancelled_requests(connection: Connection, request_ids: Collection[str]) -> set[str]:
    """Those of the requests that were cancelled."""
    query = sa.select(requests.c.id).where(
        sa.cast(requests.c.id, sa.Text).in_(request_ids), requests.c.status == "cancelled"
    )
    return {str(key) for key in connection.scalars(query)}


def cancel(connection: Connection, request_id: UUID) -> Progress:
    """Stop a request: what is not planned will not be for it, the planner takes back what waits in the queue.

    What runs ends as it would have, and counts. Pending sessions are not lost: sensor and schedule plan them for
    their own sake.

    Raises
    ------
    UnknownRequest
        There is no such request.
    """
    await_planner(connection)  # what it is planning just now is under way, and it sees that there is no more to plan
    connection.execute(
        sa.update(requests)
        .where(requests.c.id == request_id, requests.c.finished_at.is_(None))
        .values(status="cancelled")
    )
    _set_outcomes(connection, FEATURE_VERSION)  # what was done since the planner's last look counts
    under_way = sa.text(f"""
        SELECT count(*) FROM heimdall.feature_request_sessions a
        JOIN heimdall.feature_states fs USING (recording_session_id) WHERE a.request_id = :id AND {UNDER_WAY}""")
    if not connection.scalar(under_way, {"id": request_id}):  # then no planner is needed to end it
        connection.execute(
            sa.update(requests)
            .where(requests.c.id == request_id, requests.c.finished_at.is_(None))
            .values(finished_at=sa.func.clock_timestamp())
        )
    return progress(connection, request_id)


def _selected(
    connection: Connection, selection: Selection, feature_version: int
) -> tuple[tuple[str, str], dict[str, Any]]:
    """The selection as SQL: (common table expressions, SELECT of ids the newest first), and its parameters."""
    parameters: dict[str, Any] = {}
    kinds, narrowed = [], []
    if selection.pending or selection.session_ids:
        kinds.append("c.state = 'pending'")
    if selection.stale or selection.session_ids:
        parameters["version"] = feature_version
        kinds.append(is_stale("c"))
    if selection.failed or (selection.session_ids and selection.reason is None):
        kinds.append("c.state IN ('failed', 'quarantined')")
    if selection.reason is not None:
        parameters["reason"] = selection.reason
        kinds.append("c.state IN ('failed', 'quarantined') AND c.reason = :reason")
    if not kinds:
        raise SettingError("the selection names no sessions: pending, stale, failed, a reason, or session ids")
    if selection.session_ids:
        parameters["session_ids"] = [UUID(text) for text in selection.session_ids]
        narrowed.append("c.id = ANY (:session_ids)")
    for name, comparison in (("since", ">="), ("until", "<")):
        moment = getattr(selection, name)
        if moment is not None:
            parameters[name] = datetime.fromisoformat(moment)
            narrowed.append(f"c.start {comparison} :{name}")
    conditions = " AND ".join([f"({' OR '.join(f'({kind})' for kind in kinds)})", *narrowed])
    limit = ""
    if selection.limit is not None:
        parameters["limit"] = selection.limit
        limit = "LIMIT :limit"
    sessions, more = current_sessions(connection)
    select = f"SELECT c.id FROM sessions c WHERE {conditions} ORDER BY c.start DESC, c.id {limit}"
    return (sessions, select), {**parameters, **more}
