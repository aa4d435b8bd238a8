"""One session: fetch, compute, store. The only place where dsp, iq and db meet.

The order is what makes it safe to run twice at once and to kill at any point:

1. take the session's lock, waiting for whoever holds it;
2. look again whether it is done: then report what is stored;
3. write down that an attempt begins;
4. **fetch** and **compute** receiver by receiver, no transaction open; a receiver's failure is its own;
5. **store** in one short transaction: the row, the state, the end of the attempt;
6. free the lock.
"""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.db import features, states
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.sessions import load_session
from heimdall_assets.dsp import analyze, summarize
from heimdall_assets.errors import (
    BadParameter,
    ExtractionFailed,
    HeimdallError,
    NoRecordings,
    SessionIgnored,
    SessionNotCompleted,
    UnexpectedError,
    UnknownSession,
)
from heimdall_assets.iq import open_location
from heimdall_assets.records import (
    FEATURE_VERSION,
    InputIdentity,
    Measurement,
    ReceiverFailure,
    ReceiverFeatures,
    Session,
    SessionFeatures,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

MAX_SAMPLES = 50_000_000
"""Of one receiver, 400 MB: more is asked for by a sample rate that is wrong, and would only exhaust the memory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session left the extraction.

    Attributes
    ----------
    session_id : UUID
        The session.
    has_features : bool
        True if its row holds features now, whoever computed them.
    computed : bool
        True if this call computed and stored them; False where they were there already.
    summary : mapping
        Figures for people: receivers n of m, mean SNR, GDOP, confidence, seconds, feature version, reasons.
    reason, message : str or None
        Why there are no features.
    """

    session_id: UUID
    has_features: bool
    computed: bool
    summary: Mapping[str, Any]
    reason: str | None = None
    message: str | None = None


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
        Compute where the features are of an older version or of other code; without it they are left alone.

    Returns
    -------
    Outcome
        Failures of the session's inputs are outcomes; they are stored before this returns.

    Raises
    ------
    DatabaseError
        The database went away or refuses; the attempt is found lost by the planner.
    """
    with session_lock(engine, session_id, timeout_seconds=settings.lock_timeout_seconds) as connection:
        try:
            with connection.begin():
                states.discover(connection, session_ids=[session_id])
                session = load_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
                try:
                    _require_workable(connection, session)
                except HeimdallError as error:
                    return _leave_alone(connection, session, error)
                stored = features.stored_features(connection, session_id)
                if stored and not stored.failed and not recompute and not (stale and _is_stale(stored)):
                    return Outcome(session_id, True, False, summary_of(stored.row))
                number = states.begin_attempt(connection, session_id, run_id=run_id, feature_version=FEATURE_VERSION)
        except UnknownSession:
            with connection.begin():
                states.forget(connection, session_id)
            raise
        started = time.perf_counter()
        try:
            result = compute_session(session, settings, run_id=run_id)
        except Exception as error:  # noqa: BLE001  # a defect in one session is that session's failure
            failure = error if isinstance(error, HeimdallError) else UnexpectedError.of(error)
            return _store_failure(connection, session, number, failure, settings, run_id, time.perf_counter() - started)
        return _store_result(connection, result, number)


def compute_session(session: Session, settings: Settings, *, run_id: str | None = None) -> SessionFeatures:
    """Fetch and compute a session's features; touches no database.

    Raises
    ------
    ExtractionFailed
        No receiver has features.
    UnexpectedError
        Something that the project does not know went wrong; the traceback is kept.
    """
    started = time.perf_counter()
    by_station: dict[str, list[Measurement]] = {}
    for measurement in session.measurements:
        by_station.setdefault(measurement.station.name, []).append(measurement)
    failures: list[HeimdallError] = []
    receivers = [_best_of(measurements, settings, failures) for measurements in by_station.values()]
    if all(receiver.features is None for receiver in receivers):
        raise ExtractionFailed(failures)
    source = session.known_source
    return SessionFeatures(
        session=session,
        receivers=tuple(receivers),
        figures=summarize(receivers, (source.latitude, source.longitude) if source else None),
        feature_version=FEATURE_VERSION,
        seconds=time.perf_counter() - started,
        run_id=run_id,
    )


def _require_workable(connection: Connection, session: Session) -> None:
    if session.status != "completed":
        raise SessionNotCompleted(f"session {session.id} is {session.status}, not completed")
    state = states.state_of(connection, session.id)
    if state is not None and state.state == "ignored":
        raise SessionIgnored(f"session {session.id} is ignored: `heimdall ignore --undo {session.id}` brings it back")
    if not session.measurements:
        raise NoRecordings(f"no measurement of session {session.id} has IQ data")


def _leave_alone(connection: Connection, session: Session, error: HeimdallError) -> Outcome:
    """Report a session that is not worked on; one whose measurements are gone keeps its features, or is empty."""
    if isinstance(error, SessionNotCompleted):
        states.forget(connection, session.id)
    if isinstance(error, NoRecordings):
        stored = features.stored_features(connection, session.id)
        if stored is not None and not stored.failed:
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
    return Outcome(session.id, False, False, {"reasons": error.reason}, error.reason, error.message)


def _best_of(measurements: list[Measurement], settings: Settings, failures: list[HeimdallError]) -> ReceiverFeatures:
    """One receiver's features; where it left several measurements, of the first that can be used.

    A receiver that failed adds one error to ``failures``.
    """
    errors: list[tuple[Measurement, HeimdallError]] = []
    for measurement in measurements:
        try:
            return _measure(measurement, settings)
        except HeimdallError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # the one place that turns a failure into a stored error
            failure = UnexpectedError.of(error)
        errors.append((measurement, failure))
        logger.info("measurement %s of %s: %s", measurement.id, measurement.station.name, failure.message)
    # Where a file may still come, that is the error that counts: another attempt is worth it.
    measurement, failure = next((pair for pair in errors if pair[1].transient), errors[-1])
    failures.append(failure)
    return ReceiverFeatures(
        station=measurement.station,
        identity=InputIdentity(measurement.id, measurement.iq_data_location or ""),
        failure=ReceiverFailure(failure.reason, failure.message, failure.transient, _traceback_of(failure)),
    )


def _measure(measurement: Measurement, settings: Settings) -> ReceiverFeatures:
    location = measurement.iq_data_location or ""
    opened = open_location(
        location,
        settings,
        format=measurement.iq_data_format,
        sample_rate_hz=measurement.iq_sample_rate_hz,
        center_frequency_hz=measurement.frequency_hz,
    )
    with opened as recording:
        sample_rate_hz = recording.sample_rate_hz or settings.default_sample_rate_hz
        chunk_length = int(sample_rate_hz * settings.chunk_ms / 1000)
        if chunk_length * settings.num_chunks > MAX_SAMPLES:
            raise BadParameter(
                f"{settings.num_chunks} chunks of {settings.chunk_ms:g} ms at {sample_rate_hz:g} Hz are "
                f"{chunk_length * settings.num_chunks} samples; at most {MAX_SAMPLES} are read"
            )
        samples = recording.read(0, chunk_length * settings.num_chunks)
        identity = InputIdentity(
            measurement_id=measurement.id,
            iq_data_location=location,
            size_bytes=recording.size_bytes,
            etag=recording.etag,
            format=recording.format,
            sample_rate_hz=sample_rate_hz,
            center_frequency_hz=recording.center_frequency_hz,
            start_time=recording.start_time,
            num_samples=recording.num_samples,
            num_chunks=max(1, min(settings.num_chunks, len(samples) // max(1, chunk_length))),
            chunk_duration_ms=settings.chunk_ms,
        )
    figures = analyze(
        samples,
        sample_rate_hz,
        chunk_duration_ms=settings.chunk_ms,
        num_chunks=settings.num_chunks,
        false_alarm_probability=settings.false_alarm_probability,
    )
    return ReceiverFeatures(measurement.station, identity, figures.features, figures.notes)


def _store_result(connection: Connection, result: SessionFeatures, number: int) -> Outcome:
    session = result.session
    failed = [r for r in result.receivers if r.failure is not None]
    usable = {r.station.name for r in result.receivers if r.features is not None}
    with connection.begin():
        stored = features.stored_features(connection, session.id, for_update=True)
        kept = stored is not None and not stored.failed and stored.num_usable > result.num_usable
        if kept and stored is not None:
            states.set_back(connection, session.id, state=featured_state(stored))
        else:
            features.replace_features(connection, result, attempt=number)
            states.set_featured(
                connection,
                session.id,
                state="partial" if failed else "done",
                feature_version=result.feature_version,
                measurements_total=len(session.measurements),
                measurements_with_features=sum(m.station.name in usable for m in session.measurements),
                reason=failed[0].failure.reason if failed and failed[0].failure else None,
                message=_missing(failed),
            )
        states.finish_attempt(
            connection,
            session.id,
            number,
            outcome="kept" if kept else "partial" if failed else "done",
            seconds=result.seconds,
            traceback=next((r.failure.traceback for r in failed if r.failure and r.failure.traceback), None),
        )
        current = features.stored_features(connection, session.id)
    return Outcome(session.id, True, not kept, summary_of(current.row) if current else {})


def _store_failure(
    connection: Connection,
    session: Session,
    number: int,
    error: HeimdallError,
    settings: Settings,
    run_id: str | None,
    seconds: float,
) -> Outcome:
    causes = error.failures if isinstance(error, ExtractionFailed) else [error]
    trace = next(filter(None, map(_traceback_of, causes)), None)
    with connection.begin():
        stored = features.stored_features(connection, session.id, for_update=True)
        kept = stored is not None and not stored.failed
        if kept and stored is not None:
            states.set_back(connection, session.id, state=featured_state(stored))
        else:
            metadata = features.failure_metadata(run_id=run_id, feature_version=FEATURE_VERSION, seconds=seconds)
            features.replace_with_failure(connection, session, error, attempt=number, metadata=metadata)
            states.set_failed(connection, session.id, error, retry_rule(settings))
        states.finish_attempt(
            connection, session.id, number, outcome="failed", seconds=seconds, error=error, traceback=trace
        )
    if kept and stored is not None:
        logger.warning("session %s: recomputing failed, its features stay as they are: %s", session.id, error.message)
        return Outcome(session.id, True, False, {**summary_of(stored.row), "recompute_failed": error.message})
    summary = {"reasons": error.reason, "seconds": round(seconds, 4), "feature_version": FEATURE_VERSION}
    return Outcome(session.id, False, False, summary, error.reason, error.message)


def _is_stale(stored: features.StoredFeatures) -> bool:
    return stored.feature_version is None or stored.feature_version < FEATURE_VERSION


def featured_state(stored: features.StoredFeatures) -> str:
    """The state, done or partial, of a session that has this row; one that other code wrote is done."""
    ours = stored.feature_version is not None
    return "partial" if ours and stored.num_usable < stored.num_receivers else "done"


def _traceback_of(error: HeimdallError) -> str | None:
    return "".join(traceback.format_exception(error)) if isinstance(error, UnexpectedError) else None


def _missing(failed: list[ReceiverFeatures]) -> str | None:
    parts = [f"{r.station.name}: {r.failure.message}" for r in failed if r.failure]
    return "; ".join(parts) or None


def summary_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's figures for people; names carry units."""
    receivers = row["receiver_features"]
    reasons = sorted({r["error"]["reason"] for r in receivers if isinstance(r.get("error"), dict)})
    metadata = row["extraction_metadata"]
    usable = sum("error" not in r for r in receivers)
    return {
        "receivers": f"{usable} of {len(receivers)}",
        "receivers_detected": row["num_receivers_detected"],
        "mean_snr_db": row["mean_snr_db"],
        "gdop": row["gdop"],
        "overall_confidence": row["overall_confidence"],
        "seconds": metadata.get("seconds"),
        "feature_version": metadata.get("feature_version"),
        "reasons": ", ".join(reasons) or None,
    }
