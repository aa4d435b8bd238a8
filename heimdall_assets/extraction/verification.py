"""Is a stored row what its recordings say? Its figures and its inputs, held against a computation of now."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction.stored import AGGREGATES, inputs_of, number_of, receivers_of
from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from heimdall_assets.extraction.recompute import Recomputed
    from heimdall_assets.extraction.stored import StoredReceiver
    from heimdall_assets.records import Aggregate, InputIdentity, ReceiverFeatures, SessionFeatures

NOISE_RELATIVE = 1e-5
"""What single precision and another machine's FFT may change; of a deviation, relative to the mean too."""
CHANGED = {
    "iq_data_location": "location",
    "size": "size in bytes",
    "etag": "etag",
    "format": "format",
    "sample_rate_hz": "sample rate in Hz",
    "num_samples": "samples",
    "num_chunks": "chunks",
    "chunk_duration_ms": "chunk duration in ms",
}
"""What is compared of a receiver's input, besides its measurement: key in the row's metadata -> how it is called."""
FIGURES = ("num_receivers_detected", "mean_snr_db", "overall_confidence", "gdop")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the row says.

    Attributes
    ----------
    kind : str
        version, missing, additional, replaced, failed, figure.
    receiver : str or None
        Whose it is; None where it is the session's.
    feature : str or None
        Which feature or session figure differs.
    message : str
        One line.
    stored, computed : mapping
        Of a figure that differs: aggregate -> value; a session figure's is ``value``.
    """

    kind: str
    receiver: str | None
    feature: str | None
    message: str
    stored: Mapping[str, float | None] = field(default_factory=dict)
    computed: Mapping[str, float | None] = field(default_factory=dict)


def verify(recomputed: Recomputed) -> tuple[Finding, ...]:
    """Compare a stored row with a computation of now.

    Parameters
    ----------
    recomputed : Recomputed
        Both.

    Returns
    -------
    tuple of Finding
        Empty where the row verifies: every aggregate of every feature of every receiver is the same up to the noise
        of single precision, and so are the session's figures and the identities of what was read.
    """
    return tuple(_findings(recomputed))


def _findings(recomputed: Recomputed) -> Iterator[Finding]:
    stored, result = recomputed.stored, recomputed.result
    version = stored.feature_version
    if version != FEATURE_VERSION:
        wrote = "other code wrote the row" if version is None else f"the row is of version {version}"
        yield Finding("version", None, None, f"{wrote}, this is version {FEATURE_VERSION}: figures may differ")
    now = len(recomputed.session.measurements)
    if recomputed.measurements_then is not None and recomputed.measurements_then != now:
        kind = "additional" if now > recomputed.measurements_then else "missing"
        yield Finding(kind, None, None, f"{recomputed.measurements_then} measurements had IQ data then, {now} have now")
    if result is None:
        reason = "unknown" if recomputed.failure is None else recomputed.failure.message
        yield Finding("failed", None, None, f"nothing can be computed now: {reason}")
        return
    yield from _receiver_findings(stored.row, result)
    yield from _session_findings(stored.row, result)


def _receiver_findings(row: Mapping[str, Any], result: SessionFeatures) -> Iterator[Finding]:
    inputs = inputs_of(row)
    then = {str(receiver.name): receiver for receiver in receivers_of(row)}
    now = {receiver.station.name: receiver for receiver in result.receivers}
    for name, receiver in now.items():
        if name not in then:
            yield Finding("additional", name, None, f"{name}: has a measurement that the row does not know")
            continue
        yield from _input_findings(name, inputs.get(name), receiver.identity, can_be_read=receiver.failure is None)
        yield from _result_findings(name, then[name], receiver)
    for name in then:
        if name not in now:
            yield Finding("missing", name, None, f"{name}: has no measurement with IQ data any more")


def _input_findings(
    name: str, then: Mapping[str, Any] | None, identity: InputIdentity, *, can_be_read: bool
) -> Iterator[Finding]:
    """What is known of an input only where the row says it: other code noted nothing."""
    if then is None:
        return
    if "measurement_id" in then and str(then["measurement_id"]) != str(identity.measurement_id):
        yield Finding(
            "replaced", name, None, f"{name}: measurement {then['measurement_id']} then, {identity.measurement_id} now"
        )
    now = {
        "iq_data_location": identity.iq_data_location,
        "size": identity.size_bytes,
        "etag": identity.etag,
        "format": identity.format,
        "sample_rate_hz": identity.sample_rate_hz,
        "num_samples": identity.num_samples,
        "num_chunks": identity.num_chunks,
        "chunk_duration_ms": identity.chunk_duration_ms,
    }
    changed = [
        f"{called} {then[key]} then, {now[key]} now"
        for key, called in CHANGED.items()
        # Of what cannot be read, or could not, nothing but its location is known.
        if (key == "iq_data_location" or can_be_read) and then.get(key) is not None and then[key] != now[key]
    ]
    if changed:
        yield Finding("replaced", name, None, f"{name}: {'; '.join(changed)}")


def _result_findings(name: str, then: StoredReceiver, now: ReceiverFeatures) -> Iterator[Finding]:
    if now.failure is not None:
        if then.error is None:
            yield Finding("missing", name, None, f"{name}: cannot be read any more: {now.failure.message}")
        return
    if then.error is not None:
        reason = then.error.get("reason") if isinstance(then.error, dict) else then.error
        yield Finding("failed", name, None, f"{name}: failed then ({reason}), and can be computed now")
        return
    for feature in FEATURES:
        new = (now.features or {})[feature.name]
        old = {key: _old(then, feature.name, key) for key in AGGREGATES}
        differing = [key for key in AGGREGATES if not _is_same(old[key], new, key)]
        if differing:
            yield _figure_finding(
                name, feature.name, {key: old[key] for key in differing}, {key: new[key] for key in differing}
            )


def _figure_finding(
    receiver: str | None, feature: str, stored: Mapping[str, float | None], computed: Mapping[str, float | None]
) -> Finding:
    whose = f"{receiver}: " if receiver else ""
    said = ", ".join(
        f"{'' if key == 'value' else f'{key} '}{_figure(stored[key])} stored and {_figure(computed[key])} computed"
        for key in stored
    )
    return Finding("figure", receiver, feature, f"{whose}{feature}: {said}", stored, computed)


def _old(then: StoredReceiver, feature: str, key: str) -> float | None:
    """An aggregate as stored; of other code's bare numbers the mean."""
    found = then.aggregate_of(feature, key)
    return then.mean_of(feature) if found is None and key == "mean" else found


def _is_same(old: float | None, new: Aggregate, key: str) -> bool:
    scale = max(1.0, abs(new["mean"] or 0.0)) if key == "std" else 1.0
    return is_near(old, number_of(new[key]), scale=scale)


def is_near(old: float | None, new: float | None, *, scale: float = 1.0) -> bool:
    """Whether two figures are the same up to the noise of single precision; null is the same as null alone."""
    if old is None or new is None:
        return old is new
    return math.isclose(old, new, rel_tol=NOISE_RELATIVE, abs_tol=NOISE_RELATIVE * scale)


def _session_findings(row: Mapping[str, Any], result: SessionFeatures) -> Iterator[Finding]:
    source = result.session.known_source
    now: dict[str, float | None] = {name: number_of(getattr(result.figures, name)) for name in FIGURES}
    now |= {
        "tx_latitude": source.latitude if source else None,
        "tx_longitude": source.longitude if source else None,
        "tx_power_dbm": source.power_dbm if source else None,
    }
    for name, new in now.items():
        old = number_of(row[name])
        if not is_near(old, new):
            yield _figure_finding(None, name, {"value": old}, {"value": new})


def _figure(value: float | None) -> str:
    return "null" if value is None else f"{value:.7g}"
