"""A session as its page shows it: state, receivers with their figures, attempts; whoever wrote the row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heimdall_assets.db import coverage, features, sessions, states
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import counted_state
from heimdall_assets.extraction.stored import front_end_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection

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
        figures={name: _number(row.get(name)) for name in names} if has_features else {},
        feature_version=stored.feature_version if stored is not None and has_features else None,
        has_features=has_features,
        receivers=_receivers(session, row),
        attempts=coverage.attempts_of(connection, session_id),
    )


def _receivers(session: Session, row: Mapping[str, Any]) -> list[ReceiverView]:
    objects = {str(item.get("rx_id")): item for item in row.get("receiver_features") or [] if isinstance(item, dict)}
    metadata = row.get("extraction_metadata")
    inputs = metadata.get("receivers") if isinstance(metadata, dict) else None
    by_station: dict[str, list[Measurement]] = {}
    for measurement in session.measurements:
        by_station.setdefault(measurement.station.name, []).append(measurement)
    return [
        _receiver(name, by_station.get(name, []), objects.get(name, {}), (inputs or {}).get(name) or {})
        for name in sorted({*by_station, *objects})
    ]


def _receiver(
    name: str, measurements: Sequence[Measurement], content: Mapping[str, Any], read: Mapping[str, Any]
) -> ReceiverView:
    used = [m for m in measurements if str(m.id) == str(read.get("measurement_id"))] or list(measurements)
    return ReceiverView(
        name=name,
        measurement_id=used[0].id if used else None,
        location=used[0].iq_data_location if used else None,
        means={feature.name: _mean(content.get(feature.name)) for feature in FEATURES},
        input=read,
        assumed=front_end_of(content.get("notes")),
        error=_error(content["error"]) if "error" in content else None,
    )


def _mean(aggregate: Any) -> float | None:
    return _number(aggregate.get("mean")) if isinstance(aggregate, dict) else None


def _number(value: Any) -> float | None:
    """A finite number; rows that other code wrote may hold anything."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def _error(error: Any) -> str:
    if isinstance(error, dict):
        return f"{error.get('reason', 'unknown')}: {error.get('message', '')}".rstrip(": ")
    return str(error)
