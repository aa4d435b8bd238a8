"""How a session left the extraction, and what its row says to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.extraction.stored import StoredReceiver, number_of, receivers_of

if TYPE_CHECKING:
    from typing import Any
    from uuid import UUID

    from heimdall_assets.db.features import StoredFeatures
    from heimdall_assets.records import Session


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


def featured_state(stored: StoredFeatures) -> str:
    """The state, done or partial, of a session that has this row; one that other code wrote is done."""
    ours = stored.feature_version is not None
    return "partial" if ours and stored.num_usable < stored.num_receivers else "done"


def counted_state(session: Session, known: Any, stored: StoredFeatures | None) -> str | None:
    """The state that ``stats`` counts a session in: by the tables where they say more than feature_states.

    Parameters
    ----------
    session : Session
        With its measurements.
    known : row or None
        Of feature_states.
    stored : StoredFeatures or None
        Its row of features.

    Returns
    -------
    str or None
        None where the session is not completed, and counts nowhere.
    """
    if session.status != "completed":
        return None
    state = None if known is None else str(known.state)
    if known is not None and known.new_inputs is not None:
        return state
    if state in {None, "pending", "failed", "quarantined", "empty"} and stored is not None and not stored.failed:
        return featured_state(stored)
    return state or ("pending" if session.measurements else "empty")


MOST_VERSIONS = 10**9
"""Versions have nine digits at most: what other code put there may be any number."""

RECEIVER_FIGURES = ("signal_present", "snr_db", "rssi_dbm", "frequency_offset_hz", "bandwidth_hz")
"""Of each receiver: the means over its chunks."""


def summary_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's figures for people; names carry units. ``by_receiver`` is a list with an entry a receiver."""
    receivers = row["receiver_features"]
    reasons = sorted({str(r["error"].get("reason")) for r in receivers if isinstance(r.get("error"), dict)})
    metadata = row["extraction_metadata"]
    version = metadata.get("feature_version")
    usable = sum("error" not in r for r in receivers)
    return {
        "receivers": f"{usable} of {len(receivers)}",
        "receivers_detected": row["num_receivers_detected"],
        "mean_snr_db": row["mean_snr_db"],
        "gdop": row["gdop"],
        "overall_confidence": row["overall_confidence"],
        "seconds": number_of(metadata.get("seconds")),
        "feature_version": version if type(version) is int and abs(version) < MOST_VERSIONS else None,
        "reasons": ", ".join(reasons) or None,
        "by_receiver": [_receiver_figures(receiver) for receiver in receivers_of(row)],
    }


def _receiver_figures(receiver: StoredReceiver) -> dict[str, str | float | None]:
    error = receiver.error.get("reason") if isinstance(receiver.error, Mapping) else receiver.error
    return {
        "receiver": receiver.name,
        **{name: receiver.mean_of(name) for name in RECEIVER_FIGURES},
        "error": None if error is None else str(error),
    }
