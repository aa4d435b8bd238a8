"""A session from its lock to its stored result.

The order is what makes it safe to run twice at once and to kill at any point:

1. take a place to compute, and the session's lock, waiting for whoever holds it without the place;
2. look again whether it is done: then report what is stored; where other features are asked for, renew the ground
   truth of those that are stored first, which needs no IQ, and go on if they are stale for another reason too;
3. write down that an attempt begins;
4. **fetch** and **compute** receiver by receiver, no transaction open; a receiver's failure is its own;
5. **store** in one short transaction: the row, the state, the end of the attempt; stale from the start where a
   receiver's settings changed meanwhile;
6. free the lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from heimdall_assets.db import attempts, discovery, features, states, work
from heimdall_assets.db.engine import each_alone, translated
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.sessions import OTHER_INPUTS, load_session
from heimdall_assets.db.staleness import stale_reason_of
from heimdall_assets.errors import (
    BadData,
    HeimdallError,
    NoRecordings,
    SessionIgnored,
    SessionNotCompleted,
    UnexpectedError,
    UnknownSession,
)
from heimdall_assets.extraction.compute import compute_session
from heimdall_assets.extraction.inputs import inputs_of
from heimdall_assets.extraction.outcome import Outcome, featured_state, summary_of
from heimdall_assets.extraction.places import Places
from heimdall_assets.extraction.renewal import renew
from heimdall_assets.extraction.storing import Attempt, give_up, store_failure, store_result, usable_of
from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from typing import Any
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine, Row

    from heimdall_assets.extraction.recordings import Noted
    from heimdall_assets.records import Session, SessionFeatures
    from heimdall_assets.settings import Settings


def retry_rule(settings: Settings) -> states.RetryRule:
    """The settings' rule for transient failures."""
    return states.RetryRule(settings.max_attempts, settings.retry_base_seconds, settings.retry_max_seconds)


def extract_session(
    engine: Engine,
    session_id: UUID,
    settings: Settings,
    *,
    run_id: str | None = None,
    recompute: bool = False,
    stale: bool = False,
    places: Places | None = None,
) -> Outcome:
    """Make sure that a session has features; compute them unless it has them already.

    Parameters
    ----------
    engine : Engine
        Heimdall's database.
    session_id : UUID
        The session.
    settings : Settings
        Chunks, roots, retry rule.
    run_id : str, optional
        Noted in the attempt and in the row.
    recompute : bool
        Compute even if the same version has done it.
    stale : bool
        Compute where the features are stale (see :mod:`heimdall_assets.db.staleness`); without it they are left alone.
    places : Places, optional
        One is taken until the end, and left to others while a store or another holder of the session is waited for.

    Returns
    -------
    Outcome
        Failures of the session's inputs are outcomes; they are stored before this returns.

    Raises
    ------
    DatabaseError
        The database went away or refuses; the attempt is found lost by the planner.
    """
    places = places or Places(1)
    limit_s = settings.lock_timeout_seconds
    with places, session_lock(engine, session_id, timeout_seconds=limit_s, meanwhile=places.left) as connection:
        try:
            with translated():
                return _worked_on(
                    connection, session_id, settings, run_id=run_id, recompute=recompute, stale=stale, places=places
                )
        except (BadData, ValueError) as error:  # a value that is not foreseen, or that the driver cannot send
            failure = error if isinstance(error, BadData) else UnexpectedError.of(error)
            return give_up(connection, session_id, failure, run_id=run_id, rule=retry_rule(settings))


def _worked_on(
    connection: Connection,
    session_id: UUID,
    settings: Settings,
    *,
    run_id: str | None,
    recompute: bool,
    stale: bool,
    places: Places,
) -> Outcome:
    """What :func:`extract_session` does under the session's lock."""
    try:
        state = _known_state(connection, session_id)
        if recompute or stale:
            renewed = renew(connection, session_id, settings, run_id=run_id)
            if renewed is not None and not recompute and not _is_waiting(connection, session_id):
                return Outcome(session_id, True, True, summary_of(renewed.row))
        with each_alone(connection):
            session = load_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
            stored = _stored(connection, session_id, state)
            why = _why_stale(connection, session_id) if recompute or stale else None
            is_asked = recompute or why is not None
            is_again = state is not None and state.waits_again
            is_wanted = stored is None or stored.failed or is_asked or is_again
            refusal = _refusal(session, None if state is None else state.state)
            if refusal is None:
                if stored and not is_wanted:
                    if stale and state is not None and state.stale_reason is not None:
                        states.unmark(connection, session_id)
                    return Outcome(session_id, True, False, summary_of(stored.row))
                number = attempts.begin_attempt(connection, session_id, run_id=run_id, feature_version=FEATURE_VERSION)
    except UnknownSession:
        with connection.begin():
            discovery.forget(connection, session_id)
        raise
    if refusal is not None:
        with connection.begin():
            if isinstance(refusal, NoRecordings):
                return _leave_empty(connection, session, refusal, run_id=run_id, is_wanted=is_wanted)
            return _leave_alone(connection, session, refusal)
    started = time.perf_counter()
    noted: Noted = {}
    computed = _computed(session, settings, run_id, noted, places)
    seconds = time.perf_counter() - started
    attempt = Attempt(
        number,
        run_id,
        retry_rule(settings),
        is_first=stored is None,
        is_again=is_again and not is_asked,
        may_replace=is_again or recompute or stale,
        has_other_inputs=why == OTHER_INPUTS,
        inputs_tried=inputs_of(session, settings, noted, usable_of(computed)),
    )
    if isinstance(computed, HeimdallError):
        return store_failure(connection, session, attempt, computed, seconds)
    return store_result(connection, computed, attempt)


def _computed(
    session: Session, settings: Settings, run_id: str | None, noted: Noted, places: Places
) -> SessionFeatures | HeimdallError:
    """The session's features, or why there are none."""
    try:
        return compute_session(session, settings, run_id=run_id, noted=noted, places=places)
    except Exception as error:  # noqa: BLE001  # a defect in one session is that session's failure
        return error if isinstance(error, HeimdallError) else UnexpectedError.of(error)


def _known_state(connection: Connection, session_id: UUID) -> Row[Any] | None:
    """The session's row of states; its first one where it is completed and nobody has seen it before."""
    with each_alone(connection):
        state = states.look(connection, session_id)
    if state is None:
        with connection.begin():
            discovery.discover(connection, session_ids=[session_id])
            state = states.look(connection, session_id)
    return state


def _stored(connection: Connection, session_id: UUID, state: Row[Any] | None) -> features.StoredFeatures | None:
    """The session's row of features; not asked for where its state has just said that there is none."""
    return features.stored_features(connection, session_id) if state is None or state.has_row else None


def _refusal(session: Session, state: str | None) -> HeimdallError | None:
    """Why the session is not worked on, if so."""
    if session.status != "completed":
        return SessionNotCompleted(f"session {session.id} is {session.status}, not completed")
    if state == "ignored":
        return SessionIgnored(f"session {session.id} is ignored: `heimdall ignore --undo {session.id}` brings it back")
    if not session.measurements and session.bad_value is None:
        return NoRecordings(f"no measurement of session {session.id} has IQ data")
    return None


def _leave_alone(connection: Connection, session: Session, error: HeimdallError) -> Outcome:
    """Report a session that is not worked on."""
    if isinstance(error, SessionNotCompleted):
        discovery.forget(connection, session.id)
    return Outcome(session.id, False, False, {"reasons": error.reason}, error.reason, error.message)


def _leave_empty(
    connection: Connection, session: Session, error: NoRecordings, *, run_id: str | None, is_wanted: bool
) -> Outcome:
    """Report a session without measurements; where they are gone it keeps its features, else it is empty.

    Where other features were asked for, that is an attempt that failed: whoever asked is answered, and can see why.
    """
    stored = features.stored_features(connection, session.id)
    if stored is not None and not stored.failed:
        if is_wanted:
            number = attempts.begin_attempt(connection, session.id, run_id=run_id, feature_version=FEATURE_VERSION)
            states.set_back(connection, session.id, state=featured_state(stored))
            work.refresh(connection, [session.id])
            attempts.finish_attempt(connection, session.id, number, outcome="failed", seconds=0.0, error=error)
        return Outcome(session.id, True, False, summary_of(stored.row))
    states.set_featured(
        connection,
        session.id,
        state="empty",
        feature_version=None,
        measurements_total=0,
        measurements_with_features=0,
        reason=error.reason,
        message=error.message,
    )
    return _leave_alone(connection, session, error)


def _why_stale(connection: Connection, session_id: UUID) -> str | None:
    return stale_reason_of(connection, session_id, feature_version=FEATURE_VERSION)


def _is_waiting(connection: Connection, session_id: UUID) -> bool:
    """Whether there is more to do for a session than its ground truth."""
    with each_alone(connection):
        state = states.look(connection, session_id)
        return (state is not None and state.waits_again) or _why_stale(connection, session_id) is not None
