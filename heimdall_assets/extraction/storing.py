"""What becomes of an attempt: the row, the state and the end of the attempt, in one short transaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.db import attempts, features, states, work
from heimdall_assets.db.locks import keep_settings
from heimdall_assets.db.staleness import mark_of
from heimdall_assets.errors import ExtractionFailed, HeimdallError, NothingNew, PoorerResult
from heimdall_assets.extraction.compute import traceback_of
from heimdall_assets.extraction.inputs import all_words
from heimdall_assets.extraction.outcome import Outcome, featured_state, summary_of
from heimdall_assets.extraction.stored import receivers_of
from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.records import ReceiverFeatures, Session, SessionFeatures

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


def store_result(connection: Connection, result: SessionFeatures, attempt: Attempt) -> Outcome:
    """Store a result, unless the row that is there is better, or was written meanwhile and nobody asked to replace it.

    Other code does not know our locks: it may have stored features since we looked. Those stay, as they would have
    if it had been a moment earlier.
    """
    session = result.session
    failed = [r for r in result.receivers if r.failure is not None]
    usable = usable_of(result)
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


def store_failure(
    connection: Connection, session: Session, attempt: Attempt, error: HeimdallError, seconds: float
) -> Outcome:
    """Store why there are no features, unless there are some already: those stay."""
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


def give_up(
    connection: Connection, session_id: UUID, error: HeimdallError, *, run_id: str | None, rule: states.RetryRule
) -> Outcome:
    """Store that a session cannot be read or stored: in its state and attempts, since its row may be what is wrong."""
    with connection.begin():
        number = attempts.begin_attempt(connection, session_id, run_id=run_id, feature_version=FEATURE_VERSION)
        states.set_failed(connection, session_id, error, rule)
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


def usable_of(computed: SessionFeatures | HeimdallError) -> set[str]:
    """Names of the receivers that have features."""
    receivers = () if isinstance(computed, HeimdallError) else computed.receivers
    return {receiver.station.name for receiver in receivers if receiver.features is not None}
