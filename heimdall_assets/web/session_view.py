"""A session as its page shows it: state, receivers with their figures, attempts; whoever wrote the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heimdall_assets.db import coverage, features, sessions, states
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import counted_state
from heimdall_assets.extraction.stored import front_end_of, inputs_of, number_of, receivers_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.extraction.stored import StoredReceiver
    from heimdall_assets.records import Measurement, Session


@dataclass(frozen=True, slots=True)
class ReceiverView:
    """One receiver's part of a session.

    Attributes
    ----------
    measurement_id : UUID or None
        Of the recording that its figures are of, or the first one; None where it is not known any more.
    means : mapping
        Mean of every feature; None where it is undefined.
    input : mapping
        What was read: format, sample_rate_hz, num_samples, ...
    assumed : str
        Passband and response that its figures are based on; empty where that is not known.
    error : str or None
        Why it has no features.
    """

    name: str
    measurement_id: UUID | None
    location: str | None
    means: Mapping[str, float | None]
    input: Mapping[str, Any]
    assumed: str
    error: str | None

    @property
    def has_features(self) -> bool:
        """True if any feature is defined."""
        return any(mean is not None for mean in self.means.values())


@dataclass(frozen=True, slots=True)
class SessionView:
    """Everything on a session's page."""

    session: Session
    state: str
    row: Any
    figures: Mapping[str, float | None]
    feature_version: int | None
    has_features: bool
    receivers: Sequence[ReceiverView]
    attempts: Sequence[Any]

    @property
    def drawable(self) -> list[ReceiverView]:
        """Receivers whose recording can be drawn, as far as is known: what could not be read is not offered."""
        if self.state in {"failed", "quarantined"}:
            return []
        return [receiver for receiver in self.receivers if receiver.measurement_id and receiver.error is None]

    @property
    def features(self) -> list[tuple[str, str, str]]:
        """Name, unit and meaning of every feature, in order."""
        return [(feature.name, feature.unit or "", feature.description) for feature in FEATURES]


def read_session(connection: Connection, session_id: UUID, *, source_tolerance_hz: float) -> SessionView:
    """Read a session.

    Raises
    ------
    UnknownSession
        There is no such session.
    """
    session = sessions.load_session(connection, session_id, source_tolerance_hz=source_tolerance_hz)
    state = states.state_of(connection, session_id)
    stored = features.stored_features(connection, session_id)
    has_features = stored is not None and not stored.failed
    row: Mapping[str, Any] = stored.row if stored is not None else {}
    names = ("num_receivers_detected", "mean_snr_db", "gdop", "overall_confidence")
    return SessionView(
        session=session,
        state=counted_state(session, state, stored) or "not completed",
        row=state,
        figures={name: number_of(row.get(name)) for name in names} if has_features else {},
        feature_version=stored.feature_version if stored is not None and has_features else None,
        has_features=has_features,
        receivers=_receivers(session, row),
        attempts=coverage.attempts_of(connection, session_id),
    )


def _receivers(session: Session, row: Mapping[str, Any]) -> list[ReceiverView]:
    stored = {receiver.name or "?": receiver for receiver in receivers_of(row)} if row else {}
    inputs = inputs_of(row) if row else {}
    by_station: dict[str, list[Measurement]] = {}
    for measurement in session.measurements:
        by_station.setdefault(measurement.station.name, []).append(measurement)
    return [
        _receiver(name, by_station.get(name, []), stored.get(name), inputs.get(name, {}))
        for name in sorted({*by_station, *stored})
    ]


def _receiver(
    name: str, measurements: Sequence[Measurement], stored: StoredReceiver | None, read: Mapping[str, Any]
) -> ReceiverView:
    used = [m for m in measurements if str(m.id) == str(read.get("measurement_id"))] or list(measurements)
    error = None if stored is None else stored.error
    figures = stored if error is None else None
    return ReceiverView(
        name=name,
        measurement_id=used[0].id if used else None,
        location=used[0].iq_data_location if used else None,
        means={feature.name: figures.mean_of(feature.name) if figures else None for feature in FEATURES},
        input={**read, "sample_rate_hz": number_of(read.get("sample_rate_hz"))},
        assumed="" if stored is None else front_end_of(stored.content.get("notes")),
        error=None if error is None else _error(error),
    )


def _error(error: Any) -> str:
    if isinstance(error, dict):
        return f"{error.get('reason', 'unknown')}: {error.get('message', '')}".rstrip(": ")
    return str(error)
