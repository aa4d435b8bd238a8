"""Every attempt at a session: begun, finished, or lost with its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db.locks import held_keys, session_key
from heimdall_assets.db.tables import feature_attempts as attempts
from heimdall_assets.db.tables import feature_states as states

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.db.states import RetryRule
    from heimdall_assets.errors import HeimdallError


_LOST = {"lost_reason": "worker_lost", "lost_message": "the process ended during this attempt"}

# PostgreSQL closes the lost attempt after it has inserted the new one: only the statement's beginning is before both.
# Nobody waits for this to be on the disk: a server that crashes and forgets it has nothing stored of the attempt
# either, and its workers have lost their locks.
_BEGIN = sa.text("""
    WITH lost AS (
        UPDATE heimdall.feature_attempts
        SET finished_at = statement_timestamp(), outcome = 'lost', reason = :lost_reason, message = :lost_message
        WHERE recording_session_id = :id AND finished_at IS NULL),
    begun AS (
        UPDATE heimdall.feature_states
        SET state = 'running', attempts = attempts + 1, next_attempt_at = NULL, run_id = :run_id,
            running_since = clock_timestamp(), updated_at = clock_timestamp()
        WHERE recording_session_id = :id)
    INSERT INTO heimdall.feature_attempts (recording_session_id, number, run_id, feature_version)
    SELECT :id, coalesce(max(number), 0) + 1, :run_id, :feature_version
    FROM heimdall.feature_attempts WHERE recording_session_id = :id
    RETURNING number, set_config('synchronous_commit', 'off', true)""")


def begin_attempt(connection: Connection, session_id: UUID, *, run_id: str | None, feature_version: int) -> int:
    """Write down, in the caller's transaction and under the session's lock, that it is being worked on.

    An attempt that is still open is over: its worker has lost the lock.

    Returns
    -------
    int
        Number of the attempt, from 1, over the session's whole life.
    """
    values = {"id": session_id, "run_id": run_id, "feature_version": feature_version, **_LOST}
    return int(connection.execute(_BEGIN, values).one().number)


_FINISH = sa.text("""
    UPDATE heimdall.feature_attempts
    SET finished_at = clock_timestamp(), outcome = :outcome, seconds = :seconds, reason = :reason, message = :message,
        traceback = :traceback
    WHERE recording_session_id = :id AND number = :number""")


def finish_attempt(
    connection: Connection,
    session_id: UUID,
    number: int,
    *,
    outcome: str,
    seconds: float,
    error: HeimdallError | None = None,
    traceback: str | None = None,
) -> None:
    """Close an attempt, inside the transaction that stores its result.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    session_id : UUID
        The session.
    number : int
        From :func:`begin_attempt`.
    outcome : {"done", "partial", "kept", "failed"}
        kept: the recomputation was poorer than the row that is there.
    seconds : float
        Time that it took.
    error : HeimdallError, optional
        Why it failed.
    traceback : str, optional
        Of an error that the project does not know.
    """
    values = {
        "id": session_id,
        "number": number,
        "outcome": outcome,
        "seconds": seconds,
        "reason": None if error is None else error.reason,
        "message": None if error is None else error.message,
        "traceback": traceback,
    }
    connection.execute(_FINISH, values)


def recover_lost(connection: Connection, rule: RetryRule) -> list[UUID]:
    """Find sessions that are marked running although nobody holds their lock, and hand them back to the planner.

    A worker takes the lock before it marks the session and frees it after the result is stored, so a running session
    without a holder means that its worker died. The attempt counts: a session that kills its workers ends up
    quarantined, not in an endless circle.

    Returns
    -------
    list of UUID
        The sessions.
    """
    running = connection.execute(
        sa.select(
            states.c.recording_session_id, states.c.running_since, states.c.attempts, states.c.feature_version
        ).where(states.c.state == "running")
    ).all()
    if not running:
        return []
    held = held_keys(connection)
    lost = []
    for row in running:
        if session_key(row.recording_session_id) in held:
            continue
        quarantined = row.attempts >= rule.max_attempts
        # With features of ours it was a retry for the receivers that they lack: it is due again, not new.
        is_retry = row.feature_version is not None and not quarantined
        # Its worker may have finished between the two looks: then it is not the same any more.
        changed = connection.execute(
            sa.update(states)
            .where(
                states.c.recording_session_id == row.recording_session_id,
                states.c.state == "running",
                states.c.running_since == row.running_since,
            )
            .values(
                state="quarantined" if quarantined else "pending",
                running_since=None,
                reserved_by=None,
                reserved_at=None,
                next_attempt_at=sa.func.clock_timestamp() if is_retry else None,
                reason="worker_lost",
                message=f"the process that worked on it ended during attempt {row.attempts}",
                updated_at=sa.func.clock_timestamp(),
            )
        ).rowcount
        if changed:
            lost.append(row.recording_session_id)
    if lost:
        _close_lost(connection, lost)
    return lost


def _close_lost(connection: Connection, session_ids: Collection[UUID]) -> None:
    connection.execute(
        sa.update(attempts)
        .where(attempts.c.recording_session_id.in_(session_ids), attempts.c.finished_at.is_(None))
        .values(
            finished_at=sa.func.clock_timestamp(),
            outcome="lost",
            reason=_LOST["lost_reason"],
            message=_LOST["lost_message"],
        )
    )
