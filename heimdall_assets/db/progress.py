"""How far requests are: by the sessions that each found, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.errors import UnknownRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is.

    Attributes
    ----------
    status : {"queued", "running", "done", "cancelling", "cancelled"}
        cancelling: it was cancelled, and what had begun has not ended yet.
    total_found : int
        Sessions that it found when it was taken in.
    tasks_queued : int
        Of these, sessions that were planned, for whatever reason.
    done, failed : int
        Of these, sessions that have an outcome.
    cancelled : int
        Of these, sessions that a cancelled request gave up.
    remaining : int
        Of these, sessions that have no outcome yet, and will. At every moment ``done + failed + cancelled +
        remaining`` is ``total_found``; at the end nothing remains.
    num_batches : int
        Batches that its sessions were planned in.
    """

    request_id: UUID
    status: str
    total_found: int
    tasks_queued: int
    done: int
    failed: int
    cancelled: int
    remaining: int
    num_batches: int
    eta_seconds: float | None
    selection: Mapping[str, Any]
    requested_by: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """True once nothing will change any more."""
        return self.status in {"done", "cancelled"}


UNDER_WAY = "a.outcome IS NULL AND a.queued_at IS NOT NULL AND (fs.state = 'running' OR fs.reserved_by ~ '^request-')"
"""What a cancelled request waits for: its sessions in runs that have begun, or that are about to be cancelled."""

_PROGRESS = f"""
    SELECT r.id, r.requested_by, r.selection, r.num_batches, r.created_at, r.finished_at, s.*,
           CASE WHEN r.status = 'cancelled' AND r.finished_at IS NULL THEN 'cancelling' ELSE r.status END AS status,
           coalesce(r.total_found, 0) AS total_found,
           CASE WHEN r.finished_at IS NOT NULL THEN 0 WHEN r.status = 'cancelled' THEN s.under_way
                ELSE coalesce(r.total_found, 0) - s.done - s.failed END AS remaining,
           extract(epoch FROM coalesce(r.finished_at, clock_timestamp()) - r.started_at) AS seconds
    FROM heimdall.feature_requests r
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE a.queued_at IS NOT NULL OR a.outcome IS NOT NULL) AS queued,
               count(*) FILTER (WHERE a.outcome = 'done') AS done,
               count(*) FILTER (WHERE a.outcome = 'failed') AS failed,
               count(*) FILTER (WHERE {UNDER_WAY}) AS under_way
        FROM heimdall.feature_request_sessions a
        LEFT JOIN heimdall.feature_states fs
            ON fs.recording_session_id = a.recording_session_id AND r.status = 'cancelled' AND r.finished_at IS NULL
        WHERE a.request_id = r.id) s"""


def progress(connection: Connection, request_id: UUID) -> Progress:
    """How far a request is.

    Raises
    ------
    UnknownRequest
        There is no such request.
    """
    row = connection.execute(sa.text(f"{_PROGRESS} WHERE r.id = :id"), {"id": request_id}).one_or_none()
    if row is None:
        raise UnknownRequest(f"there is no request {request_id}")
    return _progress(row)


def recent(connection: Connection, limit: int) -> list[Progress]:
    """The requests that have not ended, then those that were made last."""
    query = f"{_PROGRESS} ORDER BY r.finished_at IS NOT NULL, r.created_at DESC LIMIT :limit"
    return [_progress(row) for row in connection.execute(sa.text(query), {"limit": limit})]


def _progress(row: Any) -> Progress:
    ended = row.done + row.failed
    return Progress(
        request_id=row.id,
        status=row.status,
        total_found=row.total_found,
        tasks_queued=row.queued,
        done=row.done,
        failed=row.failed,
        cancelled=row.total_found - ended - row.remaining,
        remaining=row.remaining,
        num_batches=row.num_batches,
        eta_seconds=round(float(row.seconds) / ended * row.remaining, 1) if ended and row.seconds else None,
        selection=row.selection,
        requested_by=row.requested_by,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
