"""The job that was replaced, stated anew: what it computed of a recording, and how it wrote a session's row.

Its estimators are those of ``dsp/plain.py``: noise from the weakest bins, the strongest bin, the bins within 3 dB of
it. What it called a delay spread is the width of the autocorrelation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.sessions import load_session
from heimdall_assets_tests.dsp.plain import plain_figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from numpy.typing import NDArray
    from sqlalchemy.engine import Engine

    from heimdall_assets.records import Session

CHUNK_S, NUM_CHUNKS = 0.2, 5
WATTS_TO_DBM = 30.0

UPSERT = """
    INSERT INTO heimdall.measurement_features
        (recording_session_id, timestamp, receiver_features, tx_known, extraction_metadata, overall_confidence,
         mean_snr_db, num_receivers_detected, extraction_failed)
    VALUES (:id, :start, CAST(:receivers AS jsonb[]), false,
            '{"extraction_method": "recorded", "iq_sample_rate": 200000}', 0.8, :snr_db, :detected, false)
    ON CONFLICT (recording_session_id) DO UPDATE
    SET receiver_features = excluded.receiver_features, extraction_metadata = excluded.extraction_metadata,
        overall_confidence = excluded.overall_confidence, mean_snr_db = excluded.mean_snr_db,
        num_receivers_detected = excluded.num_receivers_detected, extraction_failed = excluded.extraction_failed"""


def old_features(samples: NDArray[np.complex64], rate_hz: float) -> dict[str, dict[str, float]]:
    """The 18 features of a recording, shape (n,), aggregated over its chunks."""
    length = int(CHUNK_S * rate_hz)
    chunks = [_chunk(samples[at * length :][:length].astype(np.complex128), rate_hz) for at in range(NUM_CHUNKS)]
    table = {name: np.array([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return {
        name: {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "min": float(values.min()),
            "max": float(values.max()),
        }
        for name, values in table.items()
    }


def _chunk(samples: NDArray[np.complex128], rate_hz: float) -> dict[str, float]:
    plain = plain_figures(samples, rate_hz)
    power = np.abs(np.fft.fftshift(np.fft.fft(samples))) ** 2
    frequency_hz = np.fft.fftshift(np.fft.fftfreq(samples.size, 1 / rate_hz))
    share = power / power.sum()
    envelope = np.abs(samples) / np.sqrt(np.mean(np.abs(samples) ** 2))
    rssi_db = 10 * np.log10(np.mean(np.abs(samples) ** 2))
    spread_s = delay_spread_s(samples, rate_hz)
    return {
        "rssi_dbm": rssi_db + WATTS_TO_DBM,
        "snr_db": plain.snr_db,
        "noise_floor_dbm": plain.noise_db + WATTS_TO_DBM,
        "frequency_offset_hz": plain.frequency_hz,
        "bandwidth_hz": plain.bandwidth_hz,
        "psd_dbm_per_hz": rssi_db + WATTS_TO_DBM - 10 * np.log10(rate_hz),
        "spectral_centroid_hz": float(share @ frequency_hz),
        "spectral_rolloff_hz": float(frequency_hz[np.searchsorted(np.cumsum(share), 0.85)]),
        "envelope_mean": float(envelope.mean()),
        "envelope_std": float(envelope.std()),
        "envelope_max": float(envelope.max()),
        "peak_to_avg_ratio_db": float(20 * np.log10(envelope.max())),
        "zero_crossing_rate": float(np.mean(np.diff(np.signbit(samples.real)))),
        "multipath_delay_spread_us": spread_s * 1e6,
        "coherence_bandwidth_khz": 1e-3 / (5 * spread_s),
        "delay_spread_confidence": min(1.0, max(0.0, plain.snr_db / 30)),
        "signal_present": float(plain.is_present),
        "confidence_score": min(1.0, max(0.0, plain.snr_db / 30)),
    }


def delay_spread_s(samples: NDArray[np.complex128], rate_hz: float) -> float:
    """The RMS width of the squared autocorrelation over the first half of its lags, taken for a power delay profile.

    A pure tone, which correlates with itself for ever, has the longest.
    """
    size = samples.size
    correlation = np.fft.ifft(np.abs(np.fft.fft(samples, 2 * size)) ** 2)[: size // 2]
    profile = np.abs(correlation) ** 2
    lag_s = np.arange(profile.size) / rate_hz
    mean_s = profile @ lag_s / profile.sum()
    return float(np.sqrt(profile @ (lag_s - mean_s) ** 2 / profile.sum()))


def write_old_row(engine: Engine, session_id: UUID, root: Path, rate_hz: float) -> None:
    """Do for a session with npy recordings below ``root`` what the job did: measure it, and upsert its row."""
    with transaction(engine) as connection:
        session = load_session(connection, session_id, source_tolerance_hz=0.0)
    receivers = [
        {"rx_id": name, "rx_lat": latitude, "rx_lon": longitude, **old_features(np.load(path), rate_hz)}
        for name, latitude, longitude, path in _recordings(session, root)
    ]
    upsert(engine, session_id, session.started_at, receivers)


def upsert(engine: Engine, session_id: UUID, start: object, receivers: Sequence[Mapping[str, Any]]) -> None:
    """Write a row as the job did."""
    snrs_db = [receiver["snr_db"]["mean"] for receiver in receivers]
    parameters = {
        "id": session_id,
        "start": start,
        "receivers": [json.dumps(receiver) for receiver in receivers],
        "snr_db": float(np.mean(snrs_db)),
        "detected": sum(receiver["signal_present"]["mean"] > 0.5 for receiver in receivers),
    }
    with transaction(engine) as connection:
        connection.execute(sa.text(UPSERT), parameters)


def _recordings(session: Session, root: Path) -> list[tuple[str, float | None, float | None, Path]]:
    return [
        (m.station.name, m.station.latitude, m.station.longitude, root / str(m.iq_data_location))
        for m in session.measurements
    ]
