"""Fetch and compute: from a session's measurements to its features; touches no database and stores nothing."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING

from heimdall_assets.dsp import analyze, summarize
from heimdall_assets.errors import ExtractionFailed, HeimdallError, UnexpectedError, UnknownReceiver, storable
from heimdall_assets.extraction.recordings import Recordings
from heimdall_assets.extraction.series import Series, require_sound
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
    from heimdall_assets.extraction.places import Places
    from heimdall_assets.extraction.recordings import Noted
    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)


def compute_session(
    session: Session,
    settings: Settings,
    *,
    run_id: str | None = None,
    noted: Noted | None = None,
    places: Places | None = None,
) -> SessionFeatures:
    """Fetch and compute a session's features; touches no database.

    Parameters
    ----------
    session : Session
        With its measurements.
    settings : Settings
        Chunks and roots.
    run_id : str, optional
        Noted in the result.
    noted : dict, optional
        Size and etag of every object that was opened are put down here, by location, also where it failed then.
    places : Places, optional
        Of which one is held; it is left to others while a store is waited for.

    Raises
    ------
    BadRow
        The session's row, or its known source's, holds a value that cannot be worked with.
    ExtractionFailed
        No receiver has features.
    UnexpectedError
        Something that the project does not know went wrong; the traceback is kept.
    """
    started = time.perf_counter()
    require_sound(session)
    by_station: dict[str, list[Measurement]] = {}
    for measurement in session.measurements:
        by_station.setdefault(measurement.station.name, []).append(measurement)
    failures: list[HeimdallError] = []
    order = (measurements[0] for measurements in by_station.values() if measurements[0].station.is_known)
    with Recordings(order, settings, noted, places) as recordings:
        receivers = [_receiver(measurements, settings, failures, recordings) for measurements in by_station.values()]
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


def _receiver(
    measurements: list[Measurement], settings: Settings, failures: list[HeimdallError], recordings: Recordings
) -> ReceiverFeatures:
    """One receiver's features; a receiver that failed adds its error to ``failures``."""
    series = Series(measurements, settings, recordings)
    try:
        return _measure(series, settings)
    except HeimdallError as error:
        failure = error
    except Exception as error:  # noqa: BLE001  # the one place that turns a failure into a stored error
        failure = UnexpectedError.of(error)
    measurement = series.at
    logger.info("measurement %s of %s: %s", measurement.id, measurement.station.name, failure.message)
    failures.append(failure)
    return ReceiverFeatures(
        station=measurement.station,
        identity=InputIdentity(measurement.id, measurement.iq_data_location or ""),
        failure=ReceiverFailure(failure.reason, failure.message, failure.transient, traceback_of(failure)),
        settings=measurement.settings,
    )


def _measure(series: Series, settings: Settings) -> ReceiverFeatures:
    measurement = series.at
    if not measurement.station.is_known:
        raise UnknownReceiver(_whose(measurement))
    samples, identity, sample_rate_hz, remarks = series.read()
    figures = analyze(
        samples,
        sample_rate_hz,
        chunk_duration_ms=settings.chunk_ms,
        num_chunks=settings.num_chunks,
        false_alarm_probability=settings.false_alarm_probability,
        calibration_db=measurement.settings.calibration_db,
        passband_hz=measurement.settings.passband_hz,
        remove_dc=measurement.settings.remove_dc,
        response=measurement.settings.response,
    )
    notes = {**figures.notes, "remarks": [*remarks, *figures.notes["remarks"], *series.remarks]}
    return ReceiverFeatures(measurement.station, identity, figures.features, notes, settings=measurement.settings)


def _whose(measurement: Measurement) -> str:
    if measurement.station.id is None:
        return f"measurement {measurement.id} names no receiver"
    return f"measurement {measurement.id} is of receiver {measurement.station.id}, which websdr_stations does not have"


def traceback_of(error: HeimdallError) -> str | None:
    """The text of an error's traceback where nobody foresaw it; None for the others, whose message says it all."""
    return storable("".join(traceback.format_exception(error))) if isinstance(error, UnexpectedError) else None
