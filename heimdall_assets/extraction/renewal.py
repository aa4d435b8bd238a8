"""Ground truth that changed, put into a stored row: what follows from it is computed from the row, without any IQ."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from heimdall_assets.db import attempts, features, receivers, states, work
from heimdall_assets.db.engine import each_alone
from heimdall_assets.db.locks import keep_settings
from heimdall_assets.db.sessions import load_session
from heimdall_assets.dsp import FEATURES, summarize
from heimdall_assets.extraction.outcome import featured_state
from heimdall_assets.extraction.stored import AGGREGATES, receivers_of
from heimdall_assets.records import InputIdentity, ReceiverFailure, ReceiverFeatures, Station

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from heimdall_assets.db.features import StoredFeatures
    from heimdall_assets.extraction.stored import StoredReceiver
    from heimdall_assets.records import Session, SessionFigures
    from heimdall_assets.settings import Settings

_NOT_READ = InputIdentity(UUID(int=0), "")


def renew(connection: Connection, session_id: UUID, settings: Settings, *, run_id: str | None) -> StoredFeatures | None:
    """Store a session's ground truth of now in its row, if the row is ours and says otherwise.

    Under the session's lock, on a connection that has no transaction open. It is an attempt of its own, of the row's
    version. The mark of the session follows: where the row is stale for another reason, that one is left.

    Returns
    -------
    StoredFeatures or None
        The row as it is now; None where it was left as it is.

    Raises
    ------
    UnknownSession
        There is no such session.
    """
    started = time.perf_counter()
    with each_alone(connection):
        session = load_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
        before = states.state_of(connection, session_id)
        if before is None or before.state == "ignored" or session.status != "completed":
            return None
        if not _is_outdated(features.stored_features(connection, session_id), session):
            return None
    with connection.begin():
        keep_settings(connection)
        stored = features.stored_features(connection, session_id, for_update=True)
        if stored is None or not _is_outdated(stored, session):  # other code was faster
            return None
        version = stored.feature_version or 0
        number = attempts.begin_attempt(connection, session_id, run_id=run_id, feature_version=version)
        features.renew_truth(connection, session, stored, _figures(connection, stored, session), attempt=number)
        outcome = featured_state(stored)
        states.restore(connection, session_id, before, state=outcome)
        work.refresh(connection, [session_id])
        seconds = time.perf_counter() - started
        attempts.finish_attempt(connection, session_id, number, outcome=outcome, seconds=seconds)
        return features.stored_features(connection, session_id)


def _is_outdated(stored: StoredFeatures | None, session: Session) -> bool:
    is_ours = stored is not None and stored.feature_version is not None and not stored.failed
    return is_ours and stored is not None and not features.has_same_truth(stored, session)


def _figures(connection: Connection, stored: StoredFeatures, session: Session) -> SessionFigures:
    source = session.known_source
    found = receivers_of(stored.row)
    # heights are not stored, and places are as they were then
    altitudes_m = receivers.altitudes_m(connection, [receiver.name for receiver in found if receiver.name])
    computed = [_receiver(receiver, altitudes_m.get(receiver.name or "")) for receiver in found]
    return summarize(computed, (source.latitude, source.longitude) if source else None)


def _receiver(stored: StoredReceiver, altitude_m: float | None) -> ReceiverFeatures:
    """A receiver as it was when the row was computed."""
    station = Station(stored.name or "", stored.latitude, stored.longitude, altitude_m)
    if stored.error is not None:
        failure = ReceiverFailure("stored", str(stored.error), transient=False)
        return ReceiverFeatures(station, _NOT_READ, failure=failure)
    means = {feature.name: {key: stored.aggregate_of(feature.name, key) for key in AGGREGATES} for feature in FEATURES}
    return ReceiverFeatures(station, _NOT_READ, means)
