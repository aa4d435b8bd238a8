"""Rows of measurement_features: reading the current one, replacing it, and keeping what was replaced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from heimdall_assets.db.columns import range_of
from heimdall_assets.db.tables import measurement_features as features
from heimdall_assets.db.values import from_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.errors import HeimdallError
    from heimdall_assets.records import (
        InputIdentity,
        ReceiverFeatures,
        ReceiverSettings,
        Session,
        SessionFeatures,
        SessionFigures,
    )


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """What matters of a row that is there: whose it is, and how good.

    Attributes
    ----------
    failed : bool
        True for a row that says that extraction failed.
    feature_version : int or None
        None: other code wrote it.
    num_usable : int
        Receivers with features.
    num_receivers : int
        All receivers in it.
    row : mapping
        The whole row. Other code's may hold anything that is JSON: receivers that are no objects are left out, and
        metadata that are none are empty. Numbers that are not finite are None.
    """

    failed: bool
    feature_version: int | None
    num_usable: int
    num_receivers: int
    row: Mapping[str, Any]


_ROW = sa.select(features).where(features.c.recording_session_id == sa.bindparam("id"))
_ROW_FOR_UPDATE = _ROW.with_for_update()


def stored_features(connection: Connection, session_id: UUID, *, for_update: bool = False) -> StoredFeatures | None:
    """The session's row, whoever wrote it; locked against other writers where it is about to be replaced."""
    row = connection.execute(_ROW_FOR_UPDATE if for_update else _ROW, {"id": session_id}).one_or_none()
    if row is None:
        return None
    receivers = [item for item in map(_object, row.receiver_features or ()) if item is not None]
    metadata = row.extraction_metadata if isinstance(row.extraction_metadata, dict) else {}
    number = metadata.get("feature_version")
    values = {name: _finite(value) for name, value in row._asdict().items()}
    return StoredFeatures(
        failed=bool(row.extraction_failed),
        feature_version=number if type(number) is int else None,
        num_usable=sum("error" not in receiver for receiver in receivers),
        num_receivers=len(receivers),
        row={**values, "receiver_features": receivers, "extraction_metadata": metadata},
    )


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _object(item: object) -> dict[str, Any] | None:
    """A receiver's object, also where it was encoded twice; None for anything else."""
    if isinstance(item, str):
        try:
            item = from_json(item)
        except ValueError:
            return None
    return item if isinstance(item, dict) else None


def has_same_inputs(stored: StoredFeatures, result: SessionFeatures) -> bool:
    """True if a result is of the very objects that a row is of, receivers that failed included."""
    used = (stored.row["extraction_metadata"] or {}).get("receivers") or {}
    names = ("measurement_id", "measurement_ids", "iq_data_location", "size", "etag")
    return set(used) == {receiver.station.name for receiver in result.receivers} and all(
        {name: used.get(receiver.station.name, {}).get(name) for name in names}
        == {name: _identity(receiver.identity)[name] for name in names}
        for receiver in result.receivers
        if receiver.features is not None
    )


def truth_of(session: Session) -> dict[str, Any]:
    """A session's ground truth as the columns of its row."""
    source = session.known_source
    return {
        "tx_latitude": source.latitude if source else None,
        "tx_longitude": source.longitude if source else None,
        "tx_altitude_m": None,
        "tx_power_dbm": source.power_dbm if source else None,
        "tx_known": source is not None,
    }


def has_same_truth(stored: StoredFeatures, session: Session) -> bool:
    """True if a row of ours has the ground truth that the session has now."""
    truth = {**truth_of(session), "tx_altitude_m": stored.row["tx_altitude_m"]}
    found = stored.row["extraction_metadata"].get("ground_truth")
    return found == session.ground_truth and all(stored.row[name] == value for name, value in truth.items())


def row_of(result: SessionFeatures) -> dict[str, Any]:
    """A result as the columns of its row, without the session's id and the time."""
    session = result.session
    return {
        "timestamp": session.started_at,
        "receiver_features": [_receiver_object(receiver) for receiver in result.receivers],
        **truth_of(session),
        "extraction_metadata": _metadata(result),
        "overall_confidence": result.figures.overall_confidence,
        "mean_snr_db": result.figures.mean_snr_db,
        "num_receivers_detected": result.figures.num_receivers_detected,
        "gdop": result.figures.gdop,
        "extraction_failed": False,
        "error_message": None,
    }


_IS_OURS = sa.func.set_config("heimdall.writer", "heimdall_assets", True)
"""What we store needs not be noticed: its state is written in the same transaction. Triggers look at it after the
statement that returns it."""


_TAKEN_APART = sa.text("""
    ARRAY(SELECT r.receiver
          FROM jsonb_array_elements(:receivers) WITH ORDINALITY r (receiver, place) ORDER BY r.place)""").bindparams(
    sa.bindparam("receivers", type_=JSONB)
)
"""The receivers go as one JSON document and are taken apart by the server: as an array of documents every one of their
hundreds of quotation marks would be escaped, a millisecond a receiver."""
_COMPUTED = {"receiver_features": _TAKEN_APART, "created_at": sa.func.now()}
_COUNT = "num_receivers_in_sample"
"""Of receivers without an error; a column that newer databases have."""


@cache
def _statements(*, has_count: bool) -> tuple[sa.Executable, sa.Executable]:
    """INSERT and UPDATE of a row; their parameters are what :func:`_bound` makes of it."""
    table = features
    if has_count:
        table = features.to_metadata(sa.MetaData())
        table.append_column(sa.Column(_COUNT, sa.Integer))
    return (
        insert(table).values(_COMPUTED).on_conflict_do_nothing().returning(_IS_OURS),
        sa.update(table)
        .where(table.c.recording_session_id == sa.bindparam("id"))
        .values(_COMPUTED)
        .returning(_IS_OURS),
    )


def _bound(row: Mapping[str, Any], counts: tuple[float, float] | None) -> dict[str, Any]:
    bound = {"receivers" if name == "receiver_features" else name: value for name, value in row.items()}
    if counts is not None:
        count = sum("error" not in receiver for receiver in row["receiver_features"])
        bound[_COUNT] = count if counts[0] <= count <= counts[1] else None
    return bound


def insert_features(connection: Connection, session_id: UUID, row: Mapping[str, Any]) -> bool:
    """Store a session's first row, in the caller's transaction; False where one is there, whoever wrote it."""
    counts = range_of(connection, features.name, _COUNT)
    statement, _ = _statements(has_count=counts is not None)
    return connection.scalar(statement, {"recording_session_id": session_id, **_bound(row, counts)}) is not None


def replace_features(connection: Connection, result: SessionFeatures, *, attempt: int, only_failed: bool) -> bool:
    """Make a result the session's current row; what was there is copied to the history first.

    In the caller's transaction. Columns that other services added keep their values.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    result : SessionFeatures
        What was computed.
    attempt : int
        Noted in the history.
    only_failed : bool
        Replace only a row that says that extraction failed.

    Returns
    -------
    bool
        False where a row with features is there that may not be replaced: it stays.
    """
    return _replace(connection, result.session, row_of(result), attempt, only_failed=only_failed)


def replace_with_failure(
    connection: Connection, session: Session, error: HeimdallError, *, attempt: int, metadata: Mapping[str, Any]
) -> bool:
    """Store that extraction failed; False where the session has features by now: then they stay."""
    values = {
        "timestamp": session.started_at,
        "receiver_features": [],
        "extraction_metadata": dict(metadata),
        "overall_confidence": 0.0,
        "tx_known": session.known_source is not None,
        "extraction_failed": True,
        "error_message": f"{error.reason}: {error.message}",
    }
    return _replace(connection, session, values, attempt, only_failed=True)


def failure_metadata(*, run_id: str | None, feature_version: int, seconds: float) -> dict[str, Any]:
    """extraction_metadata of a row that says that extraction failed."""
    return {
        "extraction_method": "recorded",
        "feature_version": feature_version,
        "package_version": _package_version(),
        "run_id": run_id,
        "seconds": round(seconds, 4),
        **dict.fromkeys(_COMMON),
        "receivers": {},
    }


@cache
def _package_version() -> str:
    """Looked up once: it is read from a file."""
    return metadata.version("heimdall-assets")


def _replace(
    connection: Connection, session: Session, values: Mapping[str, Any], attempt: int, *, only_failed: bool
) -> bool:
    """Insert the row, or replace the one that is there and is locked; False where it may not be replaced.

    Other code may insert a row at any moment: then it is looked at again, so that none is replaced without a copy.
    """
    is_this = features.c.recording_session_id == session.id
    while True:
        if insert_features(connection, session.id, values):
            return True
        there = connection.execute(
            sa.select(features.c.extraction_failed).where(is_this).with_for_update()
        ).one_or_none()
        if there is not None:
            break
    if only_failed and not there.extraction_failed:
        return False
    _keep_history(connection, session.id, attempt)
    counts = range_of(connection, features.name, _COUNT)
    _, statement = _statements(has_count=counts is not None)
    connection.execute(statement, {"id": session.id, **_bound(values, counts)})
    return True


def _keep_history(connection: Connection, session_id: UUID, attempt: int) -> None:
    history = """
        INSERT INTO heimdall.measurement_features_history (recording_session_id, replaced_by_attempt, feature_row)
        SELECT mf.recording_session_id, :attempt, to_jsonb(mf)
        FROM heimdall.measurement_features mf WHERE mf.recording_session_id = :id"""
    connection.execute(sa.text(history), {"attempt": attempt, "id": session_id})


def renew_truth(
    connection: Connection, session: Session, stored: StoredFeatures, figures: SessionFigures, *, attempt: int
) -> None:
    """Give a row of ours, which is locked, the ground truth that the session has now, and the figures that follow.

    What was there is copied to the history first; receivers, version and time of the computation stay.
    """
    _keep_history(connection, session.id, attempt)
    values = {
        **truth_of(session),
        "gdop": figures.gdop,
        "extraction_metadata": {**stored.row["extraction_metadata"], "ground_truth": session.ground_truth},
    }
    connection.execute(
        sa.update(features).where(features.c.recording_session_id == session.id).values(values).returning(_IS_OURS)
    )


def _receiver_object(receiver: ReceiverFeatures) -> dict[str, Any]:
    station = receiver.station
    place = {"rx_id": station.name, "rx_lat": station.latitude, "rx_lon": station.longitude}
    if receiver.failure is not None:
        # Heimdall's training code takes a receiver that does not say signal_present as one with a signal
        error = {"reason": receiver.failure.reason, "message": receiver.failure.message}
        return {**place, "error": error, "signal_present": False}
    return {**place, **(receiver.features or {}), "notes": dict(receiver.notes)}


def _metadata(result: SessionFeatures) -> dict[str, Any]:
    common = failure_metadata(run_id=result.run_id, feature_version=result.feature_version, seconds=result.seconds)
    return {
        **common,
        **_common_values([r.identity for r in result.receivers if r.features is not None]),
        "ground_truth": result.session.ground_truth,
        "receivers": {
            r.station.name: {
                **_identity(r.identity),
                **_settings(r.settings),
                "station_id": None if r.station.id is None else str(r.station.id),
            }
            for r in result.receivers
        },
    }


def _duration_ms(identity: InputIdentity) -> float | None:
    if not identity.num_samples or not identity.sample_rate_hz:
        return None
    return 1000 * identity.num_samples / identity.sample_rate_hz


_COMMON = ("iq_duration_ms", "sample_rate_hz", "num_chunks", "chunk_duration_ms", "frequency_hz")
"""What Heimdall's migrations say of extraction_metadata."""


def _common_values(identities: Collection[InputIdentity]) -> dict[str, float | None]:
    """What the receivers that have features have in common; None where they differ."""
    rows = {
        (
            _duration_ms(identity),
            identity.sample_rate_hz,
            identity.num_chunks,
            identity.chunk_duration_ms,
            identity.center_frequency_hz,
        )
        for identity in identities
    }
    columns = [set(column) for column in zip(*rows, strict=True)] or [set()] * len(_COMMON)
    return {name: column.pop() if len(column) == 1 else None for name, column in zip(_COMMON, columns, strict=True)}


def _identity(identity: InputIdentity) -> dict[str, Any]:
    return {
        "measurement_id": str(identity.measurement_id),
        "measurement_ids": [str(key) for key in identity.measurement_ids],
        "iq_data_location": identity.iq_data_location,
        "format": identity.format,
        "sample_rate_hz": identity.sample_rate_hz,
        "center_frequency_hz": identity.center_frequency_hz,
        "start_time": identity.start_time.isoformat() if identity.start_time else None,
        "num_samples": identity.num_samples,
        "num_chunks": identity.num_chunks,
        "chunk_duration_ms": identity.chunk_duration_ms,
        "size": identity.size_bytes,
        "etag": identity.etag,
    }


def _settings(settings: ReceiverSettings) -> dict[str, Any]:
    return {
        "calibration_db": settings.calibration_db,
        "passband_hz": None if settings.passband_hz is None else list(settings.passband_hz),
        "remove_dc": settings.remove_dc,
        "response": None if settings.response is None else [list(pair) for pair in settings.response],
    }
