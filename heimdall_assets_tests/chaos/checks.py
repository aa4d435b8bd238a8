"""What must be true once everything has come to rest, read from PostgreSQL and compared with what Dagster shows.

Three kinds of violation, and nothing may be any: a session that was *lost*, a result that was *computed twice*, and a
*wrong state*, in the ledger or in Dagster.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.reconciliation import disagreements
from heimdall_assets_tests.chaos.arrivals import expected_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets_tests.chaos.arrivals import Arrival

LOST, TWICE, WRONG = "lost", "computed_twice", "wrong_state"
FEATURED = ("done", "partial")
FINAL = (*FEATURED, "empty", "quarantined", "ignored")


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that is not as it must be.

    Attributes
    ----------
    kind : str
        LOST, TWICE or WRONG.
    session_id : UUID or None
        None where it is of no session.
    what : str
        For people.
    """

    kind: str
    session_id: UUID | None
    what: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of feature_attempts."""

    number: int
    started_at: Any
    finished_at: Any
    outcome: str | None

    @property
    def is_stored(self) -> bool:
        """True if its result was stored."""
        return self.outcome in FEATURED


@dataclass(frozen=True, slots=True)
class Found:
    """What the database holds of one session."""

    state: str | None
    reason: str | None
    has_row: bool
    is_failed_row: bool
    results: tuple[str, ...]
    attempts: tuple[Attempt, ...] = field(default=())


_SESSIONS = """
    SELECT s.id, fs.state, fs.reason, mf.recording_session_id IS NOT NULL AS has_row,
           coalesce(mf.extraction_failed, false) AS is_failed_row
    FROM heimdall.recording_sessions s
    LEFT JOIN heimdall.feature_states fs ON fs.recording_session_id = s.id
    LEFT JOIN heimdall.measurement_features mf ON mf.recording_session_id = s.id
    WHERE s.status = 'completed'"""

# Every result that was ever stored: the current one, and those that were replaced.
_RESULTS = """
    SELECT recording_session_id AS id, extraction_metadata AS metadata FROM heimdall.measurement_features
    WHERE NOT coalesce(extraction_failed, false)
    UNION ALL
    SELECT recording_session_id, feature_row -> 'extraction_metadata' FROM heimdall.measurement_features_history
    WHERE NOT coalesce((feature_row ->> 'extraction_failed')::boolean, false)"""

_ATTEMPTS = """
    SELECT recording_session_id AS id, number, started_at, finished_at, outcome FROM heimdall.feature_attempts
    ORDER BY recording_session_id, number"""


def look(connection: Connection) -> dict[UUID, Found]:
    """Everything that the database holds of the completed sessions."""
    results: dict[UUID, list[str]] = {}
    for row in connection.execute(sa.text(_RESULTS)):
        results.setdefault(row.id, []).append(_inputs(row.metadata))
    attempts: dict[UUID, list[Attempt]] = {}
    for row in connection.execute(sa.text(_ATTEMPTS)):
        attempts.setdefault(row.id, []).append(Attempt(row.number, row.started_at, row.finished_at, row.outcome))
    return {
        row.id: Found(
            row.state,
            row.reason,
            row.has_row,
            row.is_failed_row,
            tuple(results.get(row.id, ())),
            tuple(attempts.get(row.id, ())),
        )
        for row in connection.execute(sa.text(_SESSIONS))
    }


def _inputs(metadata: Mapping[str, Any]) -> str:
    """What a result was computed from, and by which version: two with the same are one too many."""
    names = ("measurement_id", "iq_data_location", "size", "etag")
    receivers = {name: [receiver.get(key) for key in names] for name, receiver in sorted(metadata["receivers"].items())}
    return json.dumps([metadata.get("feature_version"), receivers])


def violations(connection: Connection, arrivals: Sequence[Arrival], colours: Mapping[str, set[str]]) -> list[Violation]:
    """Everything that is not as it must be.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    arrivals : sequence of Arrival
        Every session that was written, and what is known of it.
    colours : mapping of str to set of str
        Keys by what Dagster shows: ``materialized``, ``failed``, ``materializing``.
    """
    found = look(connection)
    result: list[Violation] = []
    for arrival in arrivals:
        session = found.get(arrival.session_id)
        if session is None:
            result.append(Violation(LOST, arrival.session_id, f"{arrival.sort}: not in the database, or not completed"))
            continue
        about = [*_lost(session), *_twice(session), *_wrong(session, arrival)]
        about += _wrong_colour(session, str(arrival.session_id), colours)
        result += [Violation(kind, arrival.session_id, f"{arrival.sort}: {what}") for kind, what in about]
    strangers = found.keys() - {arrival.session_id for arrival in arrivals}
    result += [Violation(WRONG, key, "nobody wrote this session") for key in strangers]
    result += [
        Violation(WRONG, item.session_id, f"the ledger says {item.stored}, not {item.should_be}: {item.why}")
        for item in disagreements(connection)
    ]
    return result


def _lost(session: Found) -> Iterator[tuple[str, str]]:
    if session.state not in FINAL:
        yield LOST, f"in no final state, but {session.state or 'unknown to the ledger'} ({session.reason})"
    elif session.state in FEATURED and (not session.has_row or session.is_failed_row):
        yield LOST, f"{session.state}, and has no features"


def _twice(session: Found) -> Iterator[tuple[str, str]]:
    for inputs, count in Counter(session.results).items():
        if count > 1:
            yield TWICE, f"the same was stored {count} times: {inputs}"
    stored = sum(attempt.is_stored for attempt in session.attempts)
    if stored != len(session.results):
        yield TWICE, f"{stored} attempts stored a result, and {len(session.results)} results are there"
    for before, after in zip(session.attempts, session.attempts[1:], strict=False):
        if before.finished_at is None or after.started_at < before.finished_at:
            yield TWICE, f"attempt {after.number} began before attempt {before.number} ended"


def _wrong(session: Found, arrival: Arrival) -> Iterator[tuple[str, str]]:
    expected = expected_of(arrival)
    if session.state not in FINAL:
        return  # said already
    if session.state not in expected.states:
        yield WRONG, f"{session.state} ({session.reason}), not {' or '.join(sorted(expected.states))}"
    elif session.state == "quarantined" and session.reason not in expected.reasons:
        yield WRONG, f"quarantined as {session.reason}, not {' or '.join(sorted(expected.reasons))}"
    if session.state == "quarantined" and not session.is_failed_row:
        yield WRONG, "quarantined, and its row does not say that extraction failed"
    late = [a for a in session.attempts if a.is_stored and _is_after_damage(a, arrival)]
    if late:
        yield WRONG, f"attempt {late[0].number} stored features of files that were {arrival.damage} before it began"


def _is_after_damage(attempt: Attempt, arrival: Arrival) -> bool:
    return arrival.damaged_until is not None and attempt.started_at > arrival.damaged_until


def _wrong_colour(session: Found, key: str, colours: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    shown = [name for name in ("materialized", "failed", "materializing") if key in colours[name]]
    if session.state in FEATURED and shown != ["materialized"]:
        yield WRONG, f"{session.state}, and Dagster shows it as {' and '.join(shown) or 'missing'}"
    elif session.state in FINAL and session.state not in FEATURED and set(shown) & {"materialized", "materializing"}:
        yield WRONG, f"{session.state}, and Dagster shows it as {' and '.join(shown)}"
