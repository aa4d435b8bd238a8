"""A session computed anew beside the row that it has: for comparing and verifying. Nothing is stored.

No lock is taken and no state or attempt is written: whoever works on the session meanwhile is not in anybody's way.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from heimdall_assets.db import features, states
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import (
    HeimdallError,
    NoFeatures,
    NoRecordings,
    UnexpectedError,
    UnknownSession,
)
from heimdall_assets.extraction.comparison import compare_session
from heimdall_assets.extraction.compute import compute_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.db.features import StoredFeatures
    from heimdall_assets.extraction.comparison import SessionComparison
    from heimdall_assets.records import Session, SessionFeatures
    from heimdall_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A session's stored row, and what the estimators say now.

    Attributes
    ----------
    session : Session
        With its measurements as they are now.
    stored : StoredFeatures
        The row, which has features.
    measurements_then : int or None
        Measurements that the session had when we stored the row; None where that is not known.
    result : SessionFeatures or None
        None where nothing can be computed.
    failure : HeimdallError or None
        Why.
    """

    session: Session
    stored: StoredFeatures
    measurements_then: int | None
    result: SessionFeatures | None
    failure: HeimdallError | None


def recompute(engine: Engine, session_id: UUID, settings: Settings) -> Recomputed:
    """Read a session and its row in one short transaction, and compute it.

    Raises
    ------
    UnknownSession
        There is no such session.
    NoFeatures
        It has no row, or one that says that extraction failed.
    DatabaseError
        The database is not available.
    """
    with transaction(engine) as connection:
        session = load_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
        stored = features.stored_features(connection, session_id)
        state = states.state_of(connection, session_id)
    if stored is None:
        waiting = session.status if session.status != "completed" else "pending" if state is None else state.state
        raise NoFeatures(f"session {session_id} has no features: it is {waiting}")
    if stored.failed:
        raise NoFeatures(f"session {session_id} has no features: {stored.row['error_message'] or 'extraction failed'}")
    version = stored.feature_version
    is_of_row = state is not None and version is not None and state.feature_version == version
    measurements_then = int(state.measurements_total) if state is not None and is_of_row else None
    result, failure = None, None
    try:
        result = _compute(session, settings)
    except HeimdallError as error:
        failure = error
    except Exception as error:  # noqa: BLE001  # a defect that one session meets is counted, not fatal to the others
        failure = UnexpectedError.of(error)
    return Recomputed(session, stored, measurements_then, result, failure)


def _compute(session: Session, settings: Settings) -> SessionFeatures:
    if not session.measurements:
        raise NoRecordings(f"no measurement of session {session.id} has IQ data")
    return compute_session(session, settings)


def compare_sessions(
    engine: Engine, session_ids: Sequence[UUID], settings: Settings
) -> Iterator[SessionComparison | HeimdallError]:
    """Compare sessions' rows, as other code wrote them, with what is computed now; ``settings.workers`` at a time.

    Yields
    ------
    SessionComparison or HeimdallError
        A session each, in the order of ``session_ids``: its receivers, or why it cannot be compared.

    Raises
    ------
    DatabaseError
        The database is not available.
    """
    compare_one = partial(_compare, engine, settings)
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="compare") as pool:
        yield from pool.map(compare_one, session_ids)


def _compare(engine: Engine, settings: Settings, session_id: UUID) -> SessionComparison | HeimdallError:
    try:
        recomputed = recompute(engine, session_id, settings)
    except (UnknownSession, NoFeatures) as error:  # gone since the sessions were chosen
        return error
    if recomputed.stored.feature_version is not None:
        return NoFeatures(f"session {session_id} has no features of other code any more")
    if recomputed.result is None:
        return recomputed.failure or NoFeatures(f"session {session_id} cannot be computed")
    return compare_session(recomputed.stored.row, recomputed.result)
