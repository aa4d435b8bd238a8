"""The state of every completed session, and the attempts that changed it.

::

    (discovered) ── pending ──> running ──> done | partial
                       ^          │
                       │          ├──> failed ──(its time comes)──> running ...
                       │          └──> quarantined
                       └── worker lost
    empty: no measurement has IQ data         ignored: somebody said so

A partial session, and any whose inputs changed, is tried again while receivers that it lacks may come; its features
stay meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


FEW = 10_000
"""New sessions, that a look at all of them hands over one by one; where there are more, the database is new to us."""

# A statement of its own, since PostgreSQL uses one processor alone where the same statement writes.
_UNKNOWN = """
    SELECT s.id FROM heimdall.recording_sessions s
    WHERE s.status = 'completed'
      AND NOT EXISTS (SELECT 1 FROM heimdall.feature_states fs WHERE fs.recording_session_id = s.id)
    LIMIT :limit"""


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
    if since is None and session_ids is None:
        unknown = connection.scalars(sa.text(_UNKNOWN), {"limit": FEW + 1}).all()
        if len(unknown) <= FEW:
            session_ids = unknown
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


def state_of(connection: Connection, session_id: UUID) -> sa.Row[tuple[object, ...]] | None:
    """The row of feature_states, or None for a session that is unknown or not completed."""
    return connection.execute(sa.select(states).where(states.c.recording_session_id == session_id)).one_or_none()


def waits_again(connection: Connection, session_id: UUID) -> bool:
    """True if a session is to be computed although it has features: its inputs changed, or a retry is due."""
    is_wanted = sa.or_(states.c.new_inputs.is_not(None), states.c.next_attempt_at <= sa.func.clock_timestamp())
    query = sa.select(states.c.recording_session_id).where(states.c.recording_session_id == session_id, is_wanted)
    return connection.scalar(query) is not None


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
    inputs_tried: str | None = None,
    retry: RetryRule | None = None,
) -> None:
    """The session has features: state done or partial; a partial one keeps the missing receivers' reason.

    They are current, unless something changed while they were computed: then ``stale_reason`` says what. ``retry`` is
    given where the missing receivers may come yet: then the session is tried again, as often as the rule says.
    """
    _set_final(
        connection,
        session_id,
        state=state,
        feature_version=feature_version,
        stale_reason=stale_reason,
        new_inputs=None,
        inputs_tried=inputs_tried,
        measurements_total=measurements_total,
        measurements_with_features=measurements_with_features,
        reason=reason,
        message=message,
        **_next_attempt(connection, session_id, retry),
        reported_at=None,
    )


def set_failed(
    connection: Connection,
    session_id: UUID,
    error: HeimdallError,
    rule: RetryRule,
    *,
    measurements_total: int | None = None,
    inputs_tried: str | None = None,
) -> str:
    """The session has no features: failed, with the time of the next attempt, or quarantined.

    Returns
    -------
    str
        The state.
    """
    retry = _next_attempt(connection, session_id, rule if error.transient else None)
    state = "quarantined" if retry["next_attempt_at"] is None else "failed"
    _set_final(
        connection,
        session_id,
        state=state,
        feature_version=None,
        measurements_with_features=0,
        stale_reason=None,
        new_inputs=None,
        inputs_tried=inputs_tried,
        reason=error.reason,
        message=error.message,
        next_attempt_at=retry["next_attempt_at"],
        **({} if measurements_total is None else {"measurements_total": measurements_total}),
    )
    return state


def set_back(
    connection: Connection,
    session_id: UUID,
    *,
    state: str,
    inputs_tried: str | None = None,
    retry: RetryRule | None = None,
) -> None:
    """Restore the state of a session whose attempt changed nothing; features that were stale are so still.

    ``retry`` is given where another attempt may bring more: see :func:`set_featured`.
    """
    _set_final(
        connection,
        session_id,
        state=state,
        new_inputs=None,
        **({} if inputs_tried is None else {"inputs_tried": inputs_tried}),
        **_next_attempt(connection, session_id, retry),
    )


def _next_attempt(connection: Connection, session_id: UUID, rule: RetryRule | None) -> dict[str, Any]:
    """Values of (attempts, next_attempt_at) after an attempt; without a rule, or at its end, there is no next one.

    The wait before attempt n + 1 is base x 2^(n-1) up to the maximum, times a random factor between 0.75 and 1.25,
    so that sessions that failed together do not come back together.
    """
    if rule is None:
        return {"attempts": 0, "next_attempt_at": None}
    # Of a session that is unknown to the planner (a person asked for it before it was completed) nothing is kept.
    tried = connection.scalar(sa.select(states.c.attempts).where(states.c.recording_session_id == session_id)) or 0
    if tried >= rule.max_attempts:
        return {"attempts": tried, "next_attempt_at": None}
    wait_seconds = min(rule.max_seconds, rule.base_seconds * 2.0 ** min(max(0, tried - 1), 60))
    moment = sa.text("clock_timestamp() + make_interval(secs => :wait * (0.75 + random() / 2))")
    return {"attempts": tried, "next_attempt_at": moment.bindparams(wait=wait_seconds)}


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
            .returning(states.c.recording_session_id, states.c.stale_reason, states.c.inputs_tried)
        ).all()
        discover(connection, session_ids=[row.recording_session_id for row in removed])
        for row in removed:
            is_this = states.c.recording_session_id == row.recording_session_id
            connection.execute(sa.update(states).where(is_this).values(inputs_tried=row.inputs_tried))
            if row.stale_reason is not None:
                connection.execute(
                    sa.update(states)
                    .where(is_this, states.c.feature_version.is_not(None))
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


def forget_gone(connection: Connection, *, since: datetime | None = None) -> int:
    """:func:`forget` every session that was deleted or is not completed any more; returns how many that were.

    What is being worked on is left to its worker, which finds out by itself.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    since : datetime, optional
        Only sessions that Heimdall touched after this, and such that other code took features from; None looks at all.
    """
    among = (
        "true"
        if since is None
        else """
        fs.recording_session_id IN (
            SELECT s.id FROM heimdall.recording_sessions s WHERE s.status <> 'completed' AND s.updated_at >= :since
            UNION ALL SELECT c.recording_session_id FROM heimdall.feature_changes c)""".strip()
    )
    query = f"""
        WITH forgotten AS (
            DELETE FROM heimdall.feature_states fs
            WHERE fs.state NOT IN ('running', 'ignored') AND {among}
              AND NOT EXISTS (SELECT 1 FROM heimdall.recording_sessions s
                              WHERE s.id = fs.recording_session_id AND s.status = 'completed')
            RETURNING fs.recording_session_id, fs.registered_at),
        remembered AS (
            INSERT INTO heimdall.feature_vanished_partitions (recording_session_id)
            SELECT recording_session_id FROM forgotten WHERE registered_at IS NOT NULL
            ON CONFLICT DO NOTHING)
        SELECT count(*) FROM forgotten"""
    return int(connection.scalar(sa.text(query), {} if since is None else {"since": since}) or 0)


def has_gone(connection: Connection) -> bool:
    """True if sessions that have a state were deleted or are not completed any more.

    Asked after every completed session was discovered: then there are as many states as sessions, or some have gone.
    Counting both takes a tenth of the time of comparing them.
    """
    query = """
        SELECT (SELECT count(*) FROM heimdall.recording_sessions WHERE status = 'completed')
               <> (SELECT coalesce(sum(sessions), 0) FROM heimdall.feature_totals)"""
    return bool(connection.scalar(sa.text(query)))


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
            reason="worker_lost",
            message="the process ended during this attempt",
        )
    )
