"""`heimdall show`: everything that is known of a session."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting, session_id_of
from heimdall_assets.cli.database import connected
from heimdall_assets.db import coverage, features, sessions, staleness, states
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import BadParameter
from heimdall_assets.extraction import counted_state
from heimdall_assets.extraction.recordings import remarks_on
from heimdall_assets.extraction.stored import front_end_of, inputs_of, mean_of, receivers_of
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from heimdall_assets.records import Session
    from heimdall_assets.settings import Settings

WHY_STALE = {
    "other_code": "other code computed the features",
    "older_version": "an older version computed the features",
    "receiver_settings": "settings of a receiver have changed since",
    "other_inputs": "other measurements belong to the session than the features were computed from",
    "station_place": "the place of a receiver has changed since",
    "corrected": "the recording's rate, frequency, format or time was corrected since",
    "other_truth": "the ground truth has changed since",
}
SHOWN_FEATURES = ("rssi_dbm", "snr_db", "frequency_offset_hz", "bandwidth_hz", "signal_present")


def show(
    session_id: Annotated[str, typer.Argument(help="UUID of a recording session.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a session: state, receivers, features, attempts, errors.

    Example: heimdall show 6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11
    """
    with reporting(as_json=as_json, debug=debug):
        key = session_id_of(session_id)
        settings = load_settings()
        with connected(settings) as engine, transaction(engine) as connection:
            document = session_document(connection, key, settings.source_tolerance_hz)
            session = sessions.load_session(connection, key, source_tolerance_hz=settings.source_tolerance_hz)
        _add_remarks(document, session, settings)
        if as_json:
            print_json(document)
        else:
            _print_session(document)


def session_document(connection: Connection, session_id: UUID, source_tolerance_hz: float) -> dict[str, Any]:
    """Everything known of a session.

    Raises
    ------
    UnknownSession
        There is no such session.
    """
    session = sessions.load_session(connection, session_id, source_tolerance_hz=source_tolerance_hz)
    state = states.state_of(connection, session_id)
    stored = features.stored_features(connection, session_id)
    stale_reason = staleness.stale_reason_of(connection, session_id, feature_version=FEATURE_VERSION)
    row = dict(stored.row) if stored else None
    objects = receivers_of(row) if row else []
    by_name = {receiver.name or "?": receiver for receiver in objects}
    inputs = inputs_of(row) if row else {}
    names = list(dict.fromkeys([*(m.station.name for m in session.measurements), *by_name]))
    places = {m.station.name: m.station for m in session.measurements}
    receivers = [
        {
            "rx_id": name,
            "rx_lat": places[name].latitude if name in places else None,
            "rx_lon": places[name].longitude if name in places else None,
            **inputs.get(name, {}),
            **(by_name[name].content if name in by_name else {}),
        }
        for name in names
    ]
    return {
        "session_id": session.id,
        "session_name": session.name,
        "session_start": session.started_at,
        "status": session.status,
        "state": counted_state(session, state, stored),
        "stale": stale_reason is not None,
        "stale_reason": stale_reason,
        "state_row": None if state is None else state._asdict(),
        "known_source": None
        if session.known_source is None
        else {
            "name": session.known_source.name,
            "latitude": session.known_source.latitude,
            "longitude": session.known_source.longitude,
            "frequency_hz": session.known_source.frequency_hz,
            "found_by": session.ground_truth,
        },
        "num_measurements": len(session.measurements),
        "receivers": receivers,
        "features": row,
        "attempts": [attempt._asdict() for attempt in coverage.attempts_of(connection, session_id)],
        "errors": [{"rx_id": r.name, **_error_of(r.error)} for r in objects if r.error is not None]
        + _session_errors(state),
    }


def _add_remarks(document: dict[str, Any], session: Session, settings: Settings) -> None:
    """What will be assumed of recordings that are not computed yet."""
    measurements = {measurement.station.name: measurement for measurement in reversed(session.measurements)}
    for receiver in document["receivers"]:
        name = str(receiver["rx_id"])  # in rows of other code it may be anything
        if "notes" not in receiver and "error" not in receiver and name in measurements:
            with suppress(BadParameter):  # a value that is refused: computing says so
                receiver["notes"] = {"remarks": list(remarks_on(measurements[name], settings))}


def _session_errors(state: Any) -> list[dict[str, Any]]:
    if state is None or state.state not in {"failed", "quarantined"}:
        return []
    return [{"rx_id": None, "reason": state.reason, "message": state.message}]


def _error_of(error: Any) -> dict[str, Any]:
    known = error if isinstance(error, dict) else {"message": str(error)}
    return {"reason": "unknown", "message": "unknown", **known}


def _print_session(document: dict[str, Any]) -> None:
    out.print(f"session {document['session_id']}  {document['session_name'] or ''}", markup=False)
    state = document["state"] or f"not completed ({document['status']})"
    out.print(f"state   {state}, started {document['session_start']:%Y-%m-%d %H:%M:%S %Z}", markup=False)
    if reason := document["stale_reason"]:
        out.print(f"stale   {reason}: {WHY_STALE.get(reason, 'see `heimdall backfill --stale`')}", markup=False)
    if source := document["known_source"]:
        out.print(f"source  {source['name']} at {source['latitude']} N {source['longitude']} E", markup=False)
    row = document["features"]
    if row is not None and not row["extraction_failed"]:
        figures = ("num_receivers_detected", "mean_snr_db", "gdop", "overall_confidence")
        out.print("figures " + ", ".join(f"{name} {_figure(row[name])}" for name in figures), markup=False)
    table = Table(box=None)
    for heading in ("receiver", *SHOWN_FEATURES, "error"):
        table.add_column(heading, justify="left" if heading in {"receiver", "error"} else "right")
    for receiver in document["receivers"]:
        is_failed = "error" in receiver
        means = [_figure(None if is_failed else mean_of(receiver.get(name))) for name in SHOWN_FEATURES]
        error = _error_of(receiver["error"])["message"] if "error" in receiver else ""
        table.add_row(str(receiver["rx_id"]), *means, str(error))
    out.print(table)
    for attempt in document["attempts"]:
        outcome = attempt["outcome"] or "under way"
        out.print(
            f"attempt {attempt['number']}: {outcome}, {attempt['started_at']:%Y-%m-%d %H:%M:%S}, "
            f"run {attempt['run_id']}" + (f", {attempt['reason']}: {attempt['message']}" if attempt["reason"] else ""),
            markup=False,
        )
    for text, names in _front_ends(document["receivers"]).items():
        out.print(f"assumed {', '.join(names)}: {text}", markup=False)
    for remark, names in _remarks(document["receivers"]).items():
        out.print(f"remark  {', '.join(names)}: {remark}", markup=False)


def _front_ends(receivers: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Which passband and response the figures of the receivers are based on, each once."""
    found: dict[str, list[str]] = {}
    for receiver in receivers:
        if text := front_end_of(receiver.get("notes")):
            found.setdefault(text, []).append(str(receiver["rx_id"]))
    return found


def _remarks(receivers: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The remarks on receivers, each once, with the receivers that it is about."""
    found: dict[str, list[str]] = {}
    for receiver in receivers:
        notes = receiver.get("notes")
        remarks = notes.get("remarks") if isinstance(notes, dict) else None
        for remark in remarks if isinstance(remarks, list) else ():
            found.setdefault(str(remark), []).append(str(receiver["rx_id"]))
    return found


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
