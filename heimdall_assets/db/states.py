"""The state of every completed session, and the attempts that changed it.

::

    (discovered) ── pending ──> running ──> done | partial
                       ^          │
                       │          ├──> failed ──(its time comes)──> running ...
                       │          └──> quarantined
                       └── worker lost
    empty: no measurement has IQ data         ignored: somebody said so
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.locks import held_keys, keep_settings, session_key
from heimdall_assets.db.sessions import classified
from heimdall_assets.db.tables import feature_attempts as attempts
from heimdall_assets.db.tables import feature_states as states

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.errors import HeimdallError


SMALL_TABLE = 20_000
"""Sessions; the anti-join over this many takes some ten milliseconds."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often, and after what wait, a transient failure is tried again; seconds."""

    max_attempts: int
    base_seconds: float
    max_seconds: float


def database_time(connection: Connection) -> datetime:
    """The server's clock: the only one that is compared with time stamps in the tables."""
    moment: datetime = connection.scalar(sa.text("SELECT clock_timestamp()"))
    return moment


def discover(
    connection: Connection, *, since: datetime | None = None, session_ids: Collection[UUID] | None = None
) -> int:
    """Give completed sessions that have no state yet their first one.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    since : datetime, optional
        Only sessions that Heimdall touched after this; None looks at all (an anti-join over the whole table).
    session_ids : collection of UUID, optional
        Only these.

    Returns
    -------
    int
        Number of sessions that were new.
    """
    keep_settings(connection)  # a session whose features are found may be stale by them
    conditions = ["s.status = 'completed'"]
    if since is not None:
        conditions.append("(s.updated_at >= :since OR s.created_at >= :since)")
    if session_ids is not None:
        conditions.append("s.id = ANY (:session_ids)")
    query = f"""
        WITH wanted AS MATERIALIZED (
            SELECT s.* FROM heimdall.recording_sessions s
            WHERE {" AND ".join(conditions)}
              AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs WHERE fs.recording_session_id = s.id))
        INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, measurements_total,
                                             measurements_with_features, feature_version, stale_reason)
        SELECT c.id, c.state, c.completed_at, c.measurements_total, c.measurements_with_features, c.feature_version,
               c.stale_reason
        FROM ({classified(connection, "wanted")}) c
        ON CONFLICT DO NOTHING"""
    parameters = {"since": since, "session_ids": None if session_ids is None else list(session_ids)}
    used = {name: value for name, value in parameters.items() if value is not None}
    return connection.execute(sa.text(query), used).rowcount


def is_small(connection: Connection) -> bool:
    """True while looking at every session costs no more than looking at the latest; by the server's statistics."""
    query = """
        SELECT n_live_tup FROM pg_stat_user_tables WHERE schemaname = 'heimdall' AND relname = 'recording_sessions'"""
    return int(connection.scalar(sa.text(query)) or 0) < SMALL_TABLE


def state_of(connection: Connection, session_id: UUID) -> sa.Row[tuple[object, ...]] | None:
    """The row of feature_states, or None for a session that is unknown or not completed."""
    return connection.execute(sa.select(states).where(states.c.recording_session_id == session_id)).one_or_none()


def begin_attempt(connection: Connection, session_id: UUID, *, run_id: str | None, feature_version: int) -> int:
    """Write down, in the caller's transaction and under the session's lock, that it is being worked on.

    An attempt that is still open is over: its worker has lost the lock.

    Returns
    -------
    int
        Number of the attempt, from 1, over the session's whole life.
    """
    _close_lost(connection, [session_id])
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id == session_id)
        .values(
            state="running",
            attempts=states.c.attempts + 1,
            next_attempt_at=None,
            run_id=run_id,
            running_since=sa.func.clock_timestamp(),
            updated_at=sa.func.clock_timestamp(),
        )
    )
    last = sa.select(sa.func.coalesce(sa.func.max(attempts.c.number), 0) + 1).where(
        attempts.c.recording_session_id == session_id
    )
    number = connection.scalar(
        insert(attempts)
        .values(
            recording_session_id=session_id,
            number=last.scalar_subquery(),
            run_id=run_id,
            feature_version=feature_version,
        )
        .returning(attempts.c.number)
    )
    return int(number or 0)


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
    connection.execute(
        sa.update(attempts)
        .where(attempts.c.recording_session_id == session_id, attempts.c.number == number)
        .values(
            finished_at=sa.func.clock_timestamp(),
            outcome=outcome,
            seconds=seconds,
            reason=None if error is None else error.reason,
            message=None if error is None else error.message,
            traceback=traceback,
        )
    )


def set_featured(
    connection: Connection,
    session_id: UUID,
    *,
    state: str,
    feature_version: int | None,
    measurements_total: int,
    measurements_with_features: int,
    reason: str | None,
    message: str | None,
    stale_reason: str | None = None,
) -> None:
    """The session has features: state done or partial; a partial one keeps the missing receivers' reason.

    They are current, unless something changed while they were computed: then ``stale_reason`` says what.
    """
    _set_final(
        connection,
        session_id,
        state=state,
        attempts=0,
        feature_version=feature_version,
        stale_reason=stale_reason,
        measurements_total=measurements_total,
        measurements_with_features=measurements_with_features,
        reason=reason,
        message=message,
        next_attempt_at=None,
        reported_at=None,
    )


def set_failed(connection: Connection, session_id: UUID, error: HeimdallError, rule: RetryRule) -> str:
    """The session has no features: failed, with the time of the next attempt, or quarantined.

    The wait before attempt n + 1 is base x 2^(n-1) up to the maximum, times a random factor between 0.75 and 1.25,
    so that sessions that failed together do not come back together.

    Returns
    -------
    str
        The state.
    """
    # Of a session that is unknown to the planner (a person asked for it before it was completed) nothing is kept.
    tried = connection.scalar(sa.select(states.c.attempts).where(states.c.recording_session_id == session_id)) or 0
    will_retry = error.transient and tried < rule.max_attempts
    wait_seconds = min(rule.max_seconds, rule.base_seconds * 2.0 ** min(max(0, tried - 1), 60))
    _set_final(
        connection,
        session_id,
        state="failed" if will_retry else "quarantined",
        stale_reason=None,
        reason=error.reason,
        message=error.message,
        next_attempt_at=sa.text("clock_timestamp() + make_interval(secs => :wait * (0.75 + random() / 2))").bindparams(
            wait=wait_seconds
        )
        if will_retry
        else None,
    )
    return "failed" if will_retry else "quarantined"


def set_back(connection: Connection, session_id: UUID, *, state: str) -> None:
    """Restore the state of a session whose attempt changed nothing; features that were stale are so still."""
    _set_final(connection, session_id, state=state, attempts=0, next_attempt_at=None)


def _set_final(connection: Connection, session_id: UUID, **values: object) -> None:
    connection.execute(
        sa.update(states)
        .where(states.c.recording_session_id == session_id)
        .values(running_since=None, reserved_by=None, reserved_at=None, updated_at=sa.func.clock_timestamp(), **values)
    )


def ignore(connection: Connection, session_ids: Collection[UUID], *, undo: bool = False) -> list[UUID]:
    """Take sessions out of the work list for good, or bring them back as what the tables say they are.

    Returns
    -------
    list of UUID
        The sessions that changed; one that is being worked on does not.
    """
    discover(connection, session_ids=session_ids)
    if undo:
        condition = states.c.state == "ignored"
        # Without a row it is new again: discovery classifies it by its features and measurements.
        removed = connection.execute(
            sa.delete(states)
            .where(states.c.recording_session_id.in_(session_ids), condition)
            .returning(states.c.recording_session_id, states.c.stale_reason)
        ).all()
        discover(connection, session_ids=[row.recording_session_id for row in removed])
        for row in removed:
            if row.stale_reason is not None:
                connection.execute(
                    sa.update(states)
                    .where(
                        states.c.recording_session_id == row.recording_session_id,
                        states.c.feature_version.is_not(None),
                    )
                    .values(stale_reason=row.stale_reason)
                )
        return [row.recording_session_id for row in removed]
    changed = connection.scalars(
        sa.update(states)
        .where(states.c.recording_session_id.in_(session_ids), states.c.state.not_in(("ignored", "running")))
        .values(
            state="ignored",
            next_attempt_at=None,
            reserved_by=None,
            reserved_at=None,
            updated_at=sa.func.clock_timestamp(),
        )
        .returning(states.c.recording_session_id)
    ).all()
    return list(changed)


def forget(connection: Connection, session_id: UUID) -> None:
    """Drop the state of a session that was deleted or is not completed any more, or it would be planned for ever.

    Completed again, it is discovered again; one that somebody took out of the work list stays out. That Dagster has
    a partition of it is remembered: reconciliation takes it away.
    """
    query = """
        WITH forgotten AS (
            DELETE FROM heimdall.feature_states WHERE recording_session_id = :id AND state <> 'ignored'
            RETURNING recording_session_id, registered_at)
        INSERT INTO heimdall.feature_vanished_partitions (recording_session_id)
        SELECT recording_session_id FROM forgotten WHERE registered_at IS NOT NULL
        ON CONFLICT DO NOTHING"""
    connection.execute(sa.text(query), {"id": session_id})


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
        sa.select(states.c.recording_session_id, states.c.running_since, states.c.attempts).where(
            states.c.state == "running"
        )
    ).all()
    if not running:
        return []
    held = held_keys(connection)
    lost = []
    for row in running:
        if session_key(row.recording_session_id) in held:
            continue
        quarantined = row.attempts >= rule.max_attempts
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
            reason="worker_lost",
            message="the process ended during this attempt",
        )
    )
