"""Requests: which sessions people and scripts asked for, and how far they are.

A request is a selection. When the planner takes it in, the sessions that it finds are written down once; from then on
they are planned like others, after fresh work, until each has an outcome. So a request never asks for a session
twice, ends, survives restarts, and two that find the same sessions do the work once: whoever comes second finds an
attempt that ended after it was asked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.sessions import STARTS, current_sessions
from heimdall_assets.db.staleness import is_stale
from heimdall_assets.db.tables import feature_request_sessions as asked
from heimdall_assets.db.tables import feature_requests as requests
from heimdall_assets.errors import SettingError, UnknownRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.engine import Connection


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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is; at the end ``done + failed`` is ``total_found``, unless it was cancelled."""

    request_id: UUID
    status: str
    total_found: int
    tasks_queued: int
    done: int
    failed: int
    remaining: int
    num_batches: int
    created_at: datetime
    eta_seconds: float | None

    @property
    def has_ended(self) -> bool:
        """True once nothing will change any more."""
        return self.status in {"done", "cancelled"}


def submit(connection: Connection, selection: Selection, *, requested_by: str) -> UUID:
    """Write a request down; the planner of the running system takes it in."""
    request_id: UUID = connection.execute(
        insert(requests).values(selection=asdict(selection), requested_by=requested_by).returning(requests.c.id)
    ).scalar_one()
    return request_id


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
        query, parameters = _selected(connection, Selection.from_json(values), feature_version)
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

# A session that was asked for because it is stale, and is so after the attempt, has failed although it has features.
_SETTLE = f"""
    UPDATE heimdall.feature_request_sessions a
    SET outcome = CASE WHEN fs.state IN ('done', 'partial') AND NOT ({_ASKS_FOR_STALE} AND {is_stale("fs")})
                       THEN 'done' ELSE 'failed' END
    FROM heimdall.feature_requests r, heimdall.feature_states fs
    WHERE a.outcome IS NULL AND r.id = a.request_id AND r.finished_at IS NULL AND r.status = 'running'
      AND fs.recording_session_id = a.recording_session_id
      AND fs.state <> 'running'
      AND (fs.state IN ('ignored', 'empty')
           -- whoever did it: an attempt that ended after the request was made answers it
           OR EXISTS (SELECT 1 FROM heimdall.feature_attempts t
                      WHERE t.recording_session_id = a.recording_session_id AND t.finished_at > r.created_at
                        AND t.outcome <> 'lost')
           -- or it has features, and was not asked for because they are stale
           OR (fs.state IN ('done', 'partial')
               AND NOT ({_ASKS_FOR_STALE} AND {is_stale("fs")})))"""

_VANISHED = """
    UPDATE heimdall.feature_request_sessions a SET outcome = 'failed'
    FROM heimdall.feature_requests r
    WHERE a.outcome IS NULL AND r.id = a.request_id AND r.finished_at IS NULL AND r.status = 'running'
      AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs
                      WHERE fs.recording_session_id = a.recording_session_id)"""

_FINISH = """
    UPDATE heimdall.feature_requests r SET status = 'done', finished_at = clock_timestamp()
    WHERE r.kind = 'extract' AND r.finished_at IS NULL AND r.status = 'running'
      AND NOT EXISTS (SELECT 1 FROM heimdall.feature_request_sessions a
                      WHERE a.request_id = r.id AND a.outcome IS NULL)
    RETURNING r.id, r.total_found,
              (SELECT count(*) FROM heimdall.feature_request_sessions a WHERE a.request_id = r.id) AS queued"""


def settle(connection: Connection, *, feature_version: int) -> list[tuple[UUID, int, int]]:
    """Give sessions that ended their outcome, and end the requests that have no open ones.

    Returns
    -------
    list of (UUID, int, int)
        The requests that ended now, how many sessions they had found, and how many were planned for them.
    """
    connection.execute(sa.text(_SETTLE), {"version": feature_version})
    connection.execute(sa.text(_VANISHED))
    return [(row[0], int(row[1] or 0), int(row[2])) for row in connection.execute(sa.text(_FINISH))]


_NEXT = f"""
    SELECT a.request_id, a.recording_session_id, fs.registered_at IS NOT NULL AS is_registered,
           {is_stale("fs")} AS stale, (r.selection ->> 'batch_size')::int AS batch_size
    FROM heimdall.feature_requests r
    JOIN heimdall.feature_request_sessions a ON a.request_id = r.id AND a.outcome IS NULL
    JOIN heimdall.feature_states fs ON fs.recording_session_id = a.recording_session_id
    WHERE r.status = 'running' AND r.finished_at IS NULL
      AND fs.reserved_by IS NULL AND fs.state NOT IN ('running', 'ignored')
    ORDER BY r.created_at, a.position LIMIT :limit"""


def next_sessions(connection: Connection, limit: int, *, feature_version: int) -> Sequence[Any]:
    """Open sessions of running requests, the oldest request first: what ``planning.Asked`` holds."""
    return connection.execute(sa.text(_NEXT), {"limit": limit, "version": feature_version}).all()


def set_queued(connection: Connection, request_id: UUID, session_ids: Collection[UUID]) -> int:
    """Remember that a batch was planned for a request; returns its number, from 1."""
    connection.execute(
        sa.update(asked)
        .where(asked.c.request_id == request_id, asked.c.recording_session_id.in_(session_ids))
        .values(queued_at=sa.func.clock_timestamp())
    )
    number = connection.execute(
        sa.update(requests)
        .where(requests.c.id == request_id)
        .values(num_batches=requests.c.num_batches + 1)
        .returning(requests.c.num_batches)
    ).scalar_one()
    return int(number)


def cancelled_requests(connection: Connection, request_ids: Collection[str]) -> set[str]:
    """Those of the requests that were cancelled."""
    query = sa.select(requests.c.id).where(
        sa.cast(requests.c.id, sa.Text).in_(request_ids), requests.c.status == "cancelled"
    )
    return {str(key) for key in connection.scalars(query)}


def cancel(connection: Connection, request_id: UUID) -> Progress:
    """Stop a request: what is not queued yet will not be; what runs ends as it would have.

    Raises
    ------
    UnknownRequest
        There is no such request.
    """
    connection.execute(
        sa.update(requests)
        .where(requests.c.id == request_id, requests.c.finished_at.is_(None))
        .values(status="cancelled", finished_at=sa.func.clock_timestamp())
    )
    return progress(connection, request_id)


def progress(connection: Connection, request_id: UUID) -> Progress:
    """How far a request is.

    Raises
    ------
    UnknownRequest
        There is no such request.
    """
    query = """
        SELECT r.status, coalesce(r.total_found, 0) AS total_found, r.num_batches, r.created_at,
               count(*) FILTER (WHERE a.queued_at IS NOT NULL OR a.outcome IS NOT NULL) AS queued,
               count(*) FILTER (WHERE a.outcome = 'done') AS done,
               count(*) FILTER (WHERE a.outcome = 'failed') AS failed,
               extract(epoch FROM coalesce(r.finished_at, clock_timestamp()) - r.started_at) AS seconds
        FROM heimdall.feature_requests r
        LEFT JOIN heimdall.feature_request_sessions a ON a.request_id = r.id
        WHERE r.id = :id GROUP BY r.id"""
    row = connection.execute(sa.text(query), {"id": request_id}).one_or_none()
    if row is None:
        raise UnknownRequest(f"there is no request {request_id}")
    ended = row.done + row.failed
    remaining = 0 if row.status in {"done", "cancelled"} else row.total_found - ended
    return Progress(
        request_id=request_id,
        status=row.status,
        total_found=row.total_found,
        tasks_queued=row.queued,
        done=row.done,
        failed=row.failed,
        remaining=remaining,
        num_batches=row.num_batches,
        created_at=row.created_at,
        eta_seconds=round(float(row.seconds) / ended * remaining, 1) if ended and row.seconds else None,
    )


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
    if selection.failed or selection.session_ids:
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
            narrowed.append(f"{STARTS.format('s')} {comparison} :{name}")
    conditions = " AND ".join([f"({' OR '.join(f'({kind})' for kind in kinds)})", *narrowed])
    limit = ""
    if selection.limit is not None:
        parameters["limit"] = selection.limit
        limit = "LIMIT :limit"
    select = f"""
        SELECT c.id FROM sessions c JOIN heimdall.recording_sessions s ON s.id = c.id
        WHERE {conditions} ORDER BY {STARTS.format("s")} DESC, c.id {limit}"""
    return (current_sessions(connection), select), parameters
