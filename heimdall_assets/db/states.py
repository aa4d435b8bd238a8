"""The state of every completed session, and how the end of an attempt changes it.

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

from heimdall_assets.db.discovery import discover
from heimdall_assets.db.tables import feature_states as states
from heimdall_assets.db.tables import measurement_features as features

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


def state_of(connection: Connection, session_id: UUID) -> sa.Row[Any] | None:
    """The row of feature_states, or None for a session that is unknown or not completed."""
    return connection.execute(sa.select(states).where(states.c.recording_session_id == session_id)).one_or_none()


_WAITS_AGAIN = sa.or_(states.c.new_inputs.is_not(None), states.c.next_attempt_at <= sa.func.clock_timestamp())
_HAS_ROW = sa.exists().where(features.c.recording_session_id == states.c.recording_session_id)
_LOOK = sa.select(
    states, sa.func.coalesce(_WAITS_AGAIN, sa.false()).label("waits_again"), _HAS_ROW.label("has_row")
).where(states.c.recording_session_id == sa.bindparam("id"))


def look(connection: Connection, session_id: UUID) -> sa.Row[Any] | None:
    """The row of feature_states, for whoever is about to work on the session, or None.

    Beside its columns there are ``waits_again``, true if the session is to be computed although it has features, since
    its inputs changed or a retry is due; and ``has_row``, true if it has a row of features, whatever that says.
    """
    return connection.execute(_LOOK, {"id": session_id}).one_or_none()


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
    known_source_id: UUID | None = None,
    frequency_hz: int | None = None,
    measurements_used: int = 0,
    stale_reason: sa.TextClause | None = None,
    inputs_tried: str | None = None,
    retry: RetryRule | None = None,
) -> None:
    """The session has features: state done or partial; a partial one keeps the missing receivers' reason.

    They are current, unless something changed while they were computed: ``stale_reason`` is SQL for what. ``retry`` is
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
        known_source_id=known_source_id,
        frequency_hz=frequency_hz,
        measurements_used=measurements_used,
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
        measurements_used=0,
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


def unmark(connection: Connection, session_id: UUID) -> None:
    """What made the session's features stale was taken back: the tables say that they are current."""
    statement = sa.update(states).where(states.c.recording_session_id == session_id)
    connection.execute(statement.values(stale_reason=None, updated_at=sa.func.clock_timestamp()))


def restore(connection: Connection, session_id: UUID, before: sa.Row[Any], *, state: str) -> None:
    """The session's row was renewed without an attempt at its recordings: everything else is as it was before."""
    _set_final(
        connection,
        session_id,
        state=state if before.state == "running" else before.state,
        attempts=before.attempts,
        next_attempt_at=before.next_attempt_at,
        reported_at=None,
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
