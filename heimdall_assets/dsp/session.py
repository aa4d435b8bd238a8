"""Figures of a session, over its receivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.geometry import centroid_latlon, gdop
from heimdall_assets.errors import BadParameter
from heimdall_assets.records import SessionFigures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heimdall_assets.records import Aggregate, ReceiverFeatures

DETECTED_SHARE = 0.5
"""A receiver has detected the signal if it is present in more than this share of its chunks."""

FULL_SNR_DB = 20.0
"""SNR from which more of it adds no confidence."""


def summarize(receivers: Sequence[ReceiverFeatures], emitter: tuple[float, float] | None) -> SessionFigures:
    """Summarise a session.

    Parameters
    ----------
    receivers : sequence of ReceiverFeatures
        The receivers, with features or with a failure.
    emitter : (float, float) or None
        Degrees north and east of the known source; None: the centroid of the receivers with a signal stands for it.

    Returns
    -------
    SessionFigures
        ``gdop`` is over the receivers with a signal whose place is known. ``overall_confidence`` is

            (receivers with a signal / receivers) x (0.5 + 0.25 snr + 0.25 clarity),

        where snr is the mean SNR over 20 dB, clipped to [0, 1]; clarity is the mean confidence_score of the
        receivers with a signal: the probability that their spectra were read rightly. It is 0 where no receiver has
        a signal or none is usable.
    """
    usable = [(receiver, receiver.features) for receiver in receivers if receiver.features is not None]
    detected = [
        (receiver, features) for receiver, features in usable if _mean(features, "signal_present") > DETECTED_SHARE
    ]
    snrs_db = [snr_db for _, features in detected if (snr_db := features["snr_db"]["mean"]) is not None]
    mean_snr_db = float(np.mean(snrs_db)) if snrs_db else None
    confidence = 0.0
    if detected:
        clarity = float(np.mean([_mean(features, "confidence_score") for _, features in detected]))
        snr = 0.0 if mean_snr_db is None else float(np.clip(mean_snr_db / FULL_SNR_DB, 0, 1))
        confidence = len(detected) / len(receivers) * (0.5 + 0.25 * snr + 0.25 * clarity)
    return SessionFigures(
        num_receivers_detected=len(detected),
        mean_snr_db=mean_snr_db,
        overall_confidence=float(np.clip(confidence, 0, 1)),
        gdop=_gdop([receiver for receiver, _ in detected], emitter),
    )


def _mean(features: Mapping[str, Aggregate], name: str) -> float:
    mean = features[name]["mean"]
    return 0.0 if mean is None else mean


def _gdop(receivers: Sequence[ReceiverFeatures], emitter: tuple[float, float] | None) -> float | None:
    places = [
        (station.latitude, station.longitude, float(station.altitude_m or 0.0))
        for station in (receiver.station for receiver in receivers)
        if station.latitude is not None and station.longitude is not None
    ]
    place = emitter if emitter is not None else centroid_latlon(places)
    if place is None:
        return None
    try:
        return gdop(places, place)
    except BadParameter:  # a place in the database that is none: the geometry is unknown, the session is not lost
        return None
