"""What a reader of the figures must know: how they were made, what is missing and why.

Keys
----
num_chunks, chunk_length, chunk_duration_ms
    Chunks that were measured, their samples and duration.
shorter_than_a_chunk
    True where the recording was not long enough for one full chunk.
zero_chunks
    Chunks that hold nothing but zeros; they are left out of everything.
gap_share
    Share of the time of the other chunks that was lost: runs of 64 exact zeros or more. Such chunks are measured on
    their longest stretch between gaps.
false_alarm_probability, dc_removed
    As asked for.
calibrated, calibration_db
    The offset from dB of |x|^2 = 1 to dBm; false where it is the general one.
passband_hz, passband_origin
    Limits that the analysis kept within; "given", "estimated" from the samples, or null and "none".
response_db, response_origin
    Pairs of offset in Hz and gain in dB of the receiver's response that noise and signals were compared with; "given",
    "estimated" from the samples, or null and "none" where the noise passes for white.
noise_bandwidth_hz
    Bandwidth over which noise_floor_dbm and snr_db count the noise.
noise_floor_is_upper_bound
    True where the skirt of a signal probably covers the noise in most chunks: the noise is weaker and the SNR higher.
clipped, clipped_fraction
    Whether a converter was overdriven, and the share of I and Q values at its rails.
dc_share
    Share of the power that is constant: a carrier at the centre frequency, or an offset of the receiver's own.
frequency_offset_is
    "carrier" or "centroid"; null where no signal is present.
null
    Feature -> why it is undefined in every chunk.
defined_chunks
    Feature -> number of chunks that define it, for those that some chunks leave undefined.
remarks
    Sentences for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heimdall_assets.dsp.features import FEATURES, has_carrier, why_null
from heimdall_assets.dsp.rows import Unresolved, median
from heimdall_assets.records import UNCALIBRATED_DB

if TYPE_CHECKING:
    from heimdall_assets.dsp.chunks import ChunkReader
    from heimdall_assets.dsp.front_end import FrontEnd
    from heimdall_assets.dsp.request import Request
    from heimdall_assets.dsp.response import Response
    from heimdall_assets.dsp.rows import Rows

NOTABLE_DC_SHARE = 1e-3
"""Above this share of the power the constant part is worth a remark."""

STORED_STEP = 4
"""Every fourth point of an estimated response is noted: 17 of them."""

TRUSTED_FLOOR = 0.9
"""A floor that is noise with less than this probability is called an upper bound of it."""


def describe(
    rows: Rows, request: Request, reader: ChunkReader, front: FrontEnd, defined: dict[str, int]
) -> dict[str, Any]:
    """Compose the notes of a recording; keys as in the module's docstring.

    Parameters
    ----------
    rows : Rows
        Quantities of the chunks.
    request : Request
        What was asked for.
    reader : ChunkReader
        What was read.
    front : FrontEnd
        Passband and response that the analysis used.
    defined : dict
        Feature name -> number of chunks that define it.
    """
    grid = reader.grid
    passband, response = front.passband, front.response
    present = rows.is_present > 0
    measured = present & (rows.unresolved == Unresolved.NOT)
    clipped = reader.rails.clipped_fraction
    carrier = present.any() and has_carrier(rows)
    notes: dict[str, Any] = {
        "num_chunks": int(rows.power.size),
        "chunk_length": grid.chunk_length,
        "chunk_duration_ms": 1000 * grid.chunk_length / grid.sample_rate_hz,
        "shorter_than_a_chunk": reader.is_short,
        "zero_chunks": reader.num_zero_chunks,
        "gap_share": float(rows.gap_share.mean()),
        "false_alarm_probability": request.false_alarm_probability,
        "dc_removed": request.remove_dc,
        "calibrated": request.calibration_db != UNCALIBRATED_DB,
        "calibration_db": request.calibration_db,
        "passband_hz": None if passband is None else [passband.low_hz, passband.high_hz],
        "passband_origin": "none" if passband is None else "estimated" if passband.is_estimated else "given",
        "response_db": None if response is None else _points(response),
        "response_origin": "none" if response is None else "estimated" if response.is_estimated else "given",
        "noise_bandwidth_hz": median(rows.noise_power / rows.noise_per_hz),
        "noise_floor_is_upper_bound": bool(measured.any() and median(rows.floor_trust[measured]) < TRUSTED_FLOOR),
        "clipped": clipped > 0,
        "clipped_fraction": clipped,
        "dc_share": median(rows.dc_share),
        "frequency_offset_is": None if not present.any() else "carrier" if carrier else "centroid",
        "null": {feature.name: why_null(feature, rows) for feature in FEATURES if not defined[feature.name]},
        "defined_chunks": {name: count for name, count in defined.items() if 0 < count < rows.power.size},
    }
    return {**notes, "remarks": _remarks(notes)}


def _points(response: Response) -> list[list[float]]:
    """Return the response, rounded to what a reader can use."""
    step = STORED_STEP if response.is_estimated else 1
    points = list(zip(response.offsets_hz, response.gains_db, strict=True))[::step]
    return [[round(offset_hz, 1), round(gain_db, 2)] for offset_hz, gain_db in points]


def _depth_db(notes: dict[str, Any]) -> float:
    gains_db: list[float] = [gain_db for _, gain_db in notes["response_db"] or [[0.0, 0.0]]]
    return max(gains_db) - min(gains_db)


def _remarks(notes: dict[str, Any]) -> list[str]:
    remarks = {
        "The receiver's power is not calibrated: dBm are dB of full scale plus 30.": not notes["calibrated"],
        "The recording is shorter than a chunk.": notes["shorter_than_a_chunk"],
        f"{notes['zero_chunks']} chunks hold nothing but zeros.": notes["zero_chunks"] > 0,
        f"{notes['gap_share']:.1%} of the time is gaps of zeros; what lies between them was measured.": notes[
            "gap_share"
        ]
        > 0,
        f"{notes['clipped_fraction']:.2%} of the values are clipped: levels are too low, and products of the clipping "
        "show as signals.": notes["clipped"],
        "The receiver's filter was estimated; noise floor and SNR are those inside of it.": notes["passband_origin"]
        == "estimated",
        f"The receiver's response was estimated: it falls by {_depth_db(notes):.1f} dB within the band.": notes[
            "response_origin"
        ]
        == "estimated",
        "The skirt of a signal covers the noise: the noise floor is an upper bound, the SNR a lower one.": notes[
            "noise_floor_is_upper_bound"
        ],
        f"{notes['dc_share']:.1%} of the power is constant: a carrier at the centre frequency, or an offset of the "
        "receiver's own (remove_dc).": notes["dc_share"] > NOTABLE_DC_SHARE,
    }
    return [remark for remark, applies in remarks.items() if applies]
