"""What a reader of the figures must know: how they were made, what is missing and why.

Keys
----
num_chunks, chunk_length, chunk_duration_ms
    Chunks that were measured, their samples and duration. ``shorter_than_a_chunk`` is true where the recording was
    not long enough for one full chunk. ``zero_chunks`` counts chunks that hold nothing but zeros and were left out.
false_alarm_probability, dc_removed
    As asked for.
calibrated, calibration_db
    The offset from dB of |x|^2 = 1 to dBm; false where it is the general one.
passband_hz, passband_origin
    Limits that the analysis kept within; "given", "estimated" from the samples, or null and "none".
noise_bandwidth_hz
    Bandwidth over which noise_floor_dbm and snr_db count the noise.
clipped, clipped_fraction
    Whether a converter was overdriven, and the share of I and Q values at its rails.
frequency_offset_is
    "carrier" or "centroid"; null where no signal is present.
null
    Feature -> why it is undefined, in every chunk or in some.
remarks
    Sentences for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heimdall_assets.dsp.features import FEATURES, has_carrier
from heimdall_assets.dsp.request import UNCALIBRATED_DB

if TYPE_CHECKING:
    from heimdall_assets.dsp.chunks import ChunkReader
    from heimdall_assets.dsp.kernel import Rows
    from heimdall_assets.dsp.passband import Passband
    from heimdall_assets.dsp.request import Request
    from heimdall_assets.records import Aggregate


def describe(
    rows: Rows, request: Request, reader: ChunkReader, passband: Passband | None, features: dict[str, Aggregate]
) -> dict[str, Any]:
    """Compose the notes of a recording; keys as in the module's docstring."""
    grid = reader.grid
    present = bool((rows.is_present > 0).any())
    clipped = reader.rails.clipped_fraction
    return {
        "num_chunks": int(rows.power.size),
        "chunk_length": grid.chunk_length,
        "chunk_duration_ms": 1000 * grid.chunk_length / grid.sample_rate_hz,
        "shorter_than_a_chunk": reader.is_short,
        "zero_chunks": reader.num_zero_chunks,
        "false_alarm_probability": request.false_alarm_probability,
        "dc_removed": request.remove_dc,
        "calibrated": request.calibration_db != UNCALIBRATED_DB,
        "calibration_db": request.calibration_db,
        "passband_hz": None if passband is None else [passband.low_hz, passband.high_hz],
        "passband_origin": "none" if passband is None else "estimated" if passband.is_estimated else "given",
        "noise_bandwidth_hz": float(np.median(rows.noise_power / rows.noise_per_hz)),
        "clipped": clipped > 0,
        "clipped_fraction": clipped,
        "frequency_offset_is": None if not present else "carrier" if has_carrier(rows) else "centroid",
        "null": {feature.name: feature.null_when for feature in FEATURES if features[feature.name]["mean"] is None},
        "remarks": [],
    }
