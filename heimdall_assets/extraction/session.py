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

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.db import attempts, discovery, features, states, work
from heimdall_assets.db.engine import each_alone, translated
from heimdall_assets.db.locks import keep_settings, session_lock
from heimdall_assets.db.sessions import OTHER_INPUTS, load_session
from heimdall_assets.db.staleness import mark_of, stale_reason_of
from heimdall_assets.errors import (
    BadData,
    ExtractionFailed,
    HeimdallError,
    NoRecordings,
    NothingNew,
    PoorerResult,
    SessionIgnored,
    SessionNotCompleted,
    UnexpectedError,
    UnknownSession,
)
from heimdall_assets.extraction.compute import compute_session, traceback_of
from heimdall_assets.extraction.inputs import all_words, inputs_of
from heimdall_assets.extraction.outcome import Outcome, featured_state, summary_of
from heimdall_assets.extraction.places import Places
from heimdall_assets.extraction.renewal import renew
from heimdall_assets.extraction.stored import receivers_of
from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from typing import Any
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine, Row

    from heimdall_assets.extraction.recordings import Noted
    from heimdall_assets.records import ReceiverFeatures, Session, SessionFeatures
    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was begun.

    Attributes
    ----------
    number : int
        Of the session's attempts.
    run_id : str or None
        Dagster's run.
    rule : RetryRule
        For what may be tried again.
    is_first : bool
        Nothing was stored when it began.
    is_again : bool
        The session has features, and nobody asked for others: its inputs changed, or receivers were missing.
    may_replace : bool
        Features that are stored may be replaced: those that other code stored while this attempt ran may only if
        somebody asked for it, or the inputs changed.
    has_other_inputs : bool
        The features that were stored when it began are of measurements that do not belong to the session any more.
    inputs_tried : str
        What lay at the measurements' locations; see :mod:`heimdall_assets.extraction.inputs`.
    """

    number: int
    run_id: str | None
    rule: states.RetryRule
    is_first: bool
    is_again: bool
    may_replace: bool
    has_other_inputs: bool
    inputs_tried: str


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
            return _give_up(connection, session_id, failure, run_id=run_id, settings=settings)


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
        inputs_tried=inputs_of(session, settings, noted, _usable(computed)),
    )
    if isinstance(computed, HeimdallError):
        return _store_failure(connection, session, attempt, computed, seconds)
    return _store_result(connection, computed, attempt)


def _usable(computed: SessionFeatures | HeimdallError) -> set[str]:
    """Names of the receivers that have features."""
    receivers = () if isinstance(computed, HeimdallError) else computed.receivers
    return {receiver.station.name for receiver in receivers if receiver.features is not None}


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


def _store_result(connection: Connection, result: SessionFeatures, attempt: Attempt) -> Outcome:
    """Store a result, unless the row that is there is better, or was written meanwhile and nobody asked to replace it.

    Other code does not know our locks: it may have stored features since we looked. Those stay, as they would have
    if it had been a moment earlier.
    """
    session = result.session
    failed = [r for r in result.receivers if r.failure is not None]
    usable = _usable(result)
    retry = attempt.rule if any(r.failure and r.failure.transient for r in failed) else None
    with connection.begin():
        keep_settings(connection)
        row, kept = features.row_of(result), None
        is_stored = attempt.is_first and features.insert_features(connection, session.id, row)
        if not is_stored:
            stored = features.stored_features(connection, session.id, for_update=True)
            kept = None if stored is None or stored.failed else _why_kept(stored, result, attempt)
            is_stored = kept is None and features.replace_features(
                connection, result, attempt=attempt.number, only_failed=not attempt.may_replace
            )
        if not is_stored:
            _keep(connection, session, attempt, retry)
        else:
            states.set_featured(
                connection,
                session.id,
                state="partial" if failed else "done",
                feature_version=result.feature_version,
                measurements_total=len(session.measurements),
                measurements_with_features=sum(m.station.name in usable for m in session.measurements),
                reason=failed[0].failure.reason if failed and failed[0].failure else None,
                message=_missing(failed),
                known_source_id=session.known_source_id,
                frequency_hz=session.frequency_hz,
                measurements_used=sum(len(r.identity.measurement_ids) for r in result.receivers),
                stale_reason=mark_of(session.id, session.frequency_hz),
                inputs_tried=attempt.inputs_tried,
                retry=retry,
            )
        attempts.finish_attempt(
            connection,
            session.id,
            attempt.number,
            outcome="kept" if not is_stored else "partial" if failed else "done",
            seconds=result.seconds,
            error=kept,
            traceback=next((r.failure.traceback for r in failed if r.failure and r.failure.traceback), None),
        )
        if not is_stored:
            stored = features.stored_features(connection, session.id)
            row = dict(stored.row) if stored else {}
    return Outcome(session.id, True, is_stored, summary_of(row) if row else {})


def _store_failure(
    connection: Connection, session: Session, attempt: Attempt, error: HeimdallError, seconds: float
) -> Outcome:
    causes = error.failures if isinstance(error, ExtractionFailed) else [error]
    trace = next(filter(None, map(traceback_of, causes)), None)
    with connection.begin():
        keep_settings(connection)
        metadata = features.failure_metadata(run_id=attempt.run_id, feature_version=FEATURE_VERSION, seconds=seconds)
        kept = not features.replace_with_failure(connection, session, error, attempt=attempt.number, metadata=metadata)
        if kept:
            _keep(connection, session, attempt, attempt.rule if error.transient else None)
        else:
            states.set_failed(
                connection,
                session.id,
                error,
                attempt.rule,
                measurements_total=len(session.measurements),
                inputs_tried=attempt.inputs_tried,
            )
        attempts.finish_attempt(
            connection, session.id, attempt.number, outcome="failed", seconds=seconds, error=error, traceback=trace
        )
        stored = features.stored_features(connection, session.id) if kept else None
    if stored is not None:
        logger.warning("session %s: recomputing failed, its features stay as they are: %s", session.id, error.message)
        return Outcome(session.id, True, False, {**summary_of(stored.row), "recompute_failed": error.message})
    summary = {"reasons": error.reason, "seconds": round(seconds, 4), "feature_version": FEATURE_VERSION}
    return Outcome(session.id, False, False, summary, error.reason, error.message)


def _give_up(
    connection: Connection, session_id: UUID, error: HeimdallError, *, run_id: str | None, settings: Settings
) -> Outcome:
    """Store that a session cannot be read or stored: in its state and attempts, since its row may be what is wrong."""
    with connection.begin():
        number = attempts.begin_attempt(connection, session_id, run_id=run_id, feature_version=FEATURE_VERSION)
        states.set_failed(connection, session_id, error, retry_rule(settings))
        attempts.finish_attempt(
            connection,
            session_id,
            number,
            outcome="failed",
            seconds=0.0,
            error=error,
            traceback=traceback_of(error),
        )
    return Outcome(session_id, False, False, {"reasons": error.reason}, error.reason, error.message)


def _keep(
    connection: Connection,
    session: Session,
    attempt: Attempt,
    retry: states.RetryRule | None,
) -> None:
    """Leave the row as it is; what nobody asked for is tried again where that may help."""
    stored = features.stored_features(connection, session.id)
    before = states.state_of(connection, session.id)
    states.set_back(
        connection,
        session.id,
        state="pending" if stored is None else featured_state(stored),
        # what the row was computed from is not new when it comes back
        inputs_tried=all_words(None if before is None else before.inputs_tried, attempt.inputs_tried),
        retry=retry if attempt.is_again else None,
    )
    work.refresh(connection, [session.id])


def _why_stale(connection: Connection, session_id: UUID) -> str | None:
    return stale_reason_of(connection, session_id, feature_version=FEATURE_VERSION)


def _is_waiting(connection: Connection, session_id: UUID) -> bool:
    """Whether there is more to do for a session than its ground truth."""
    with each_alone(connection):
        state = states.look(connection, session_id)
        return (state is not None and state.waits_again) or _why_stale(connection, session_id) is not None


def _why_kept(
    stored: features.StoredFeatures, result: SessionFeatures, attempt: Attempt
) -> PoorerResult | NothingNew | None:
    """Why a result may not replace a row, if so."""
    missing = _missing([receiver for receiver in result.receivers if receiver.failure is not None])
    num_stored = stored.num_usable
    if attempt.has_other_inputs:  # receivers that are not of this session are no loss
        names = {receiver.station.name for receiver in result.receivers}
        num_stored = sum(r.error is None and r.name in names for r in receivers_of(stored.row))
    if result.num_usable < num_stored:
        return PoorerResult(
            f"only {result.num_usable} receivers are usable, {num_stored} are stored; {missing or 'others are gone'}"
        )
    if attempt.is_again and result.num_usable == stored.num_usable and features.has_same_inputs(stored, result):
        return NothingNew(f"the {stored.num_usable} receivers that are stored; {missing or 'no more are there'}")
    return None


def _missing(failed: list[ReceiverFeatures]) -> str | None:
    parts = [f"{r.station.name}: {r.failure.message}" for r in failed if r.failure]
    return "; ".join(parts) or None
