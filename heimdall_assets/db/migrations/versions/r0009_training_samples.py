"""The features as a flat table for machine learning: one row a session and receiver, one column a figure."""

from alembic import op

revision = "0009"
down_revision = "0008"

# As the registry of features was when this was written; a feature that comes later needs a migration of its own.
FEATURES = (
    ("rssi_dbm", "dBm"),
    ("snr_db", "dB"),
    ("noise_floor_dbm", "dBm"),
    ("frequency_offset_hz", "Hz"),
    ("bandwidth_hz", "Hz"),
    ("psd_dbm_per_hz", "dBm/Hz"),
    ("spectral_centroid_hz", "Hz"),
    ("spectral_rolloff_hz", "Hz"),
    ("envelope_mean", ""),
    ("envelope_std", ""),
    ("envelope_max", ""),
    ("peak_to_avg_ratio_db", "dB"),
    ("zero_crossing_rate", ""),
    ("multipath_delay_spread_us", "us"),
    ("coherence_bandwidth_khz", "kHz"),
    ("delay_spread_confidence", ""),
    ("signal_present", ""),
    ("confidence_score", ""),
)
STATISTICS = (
    ("mean", "mean over the chunks of the recording"),
    ("std", "standard deviation over the chunks"),
    ("min", "least of the chunks"),
    ("max", "largest of the chunks"),
)

VERSION = """
        CASE WHEN jsonb_typeof(mf.extraction_metadata -> 'feature_version') = 'number'
                  AND mf.extraction_metadata ->> 'feature_version' ~ '^[0-9]{1,9}$'
             THEN (mf.extraction_metadata ->> 'feature_version')::int END""".strip()


def _number(value: str) -> str:
    return f"CASE WHEN jsonb_typeof({value}) = 'number' THEN ({value})::double precision END"


_CHUNKS = "used -> 'num_chunks'"

# Name, SQL, unit, meaning.
COLUMNS = (
    ("recording_session_id", "mf.recording_session_id", "", "the session"),
    ("session_start", 'mf."timestamp"', "", "when the session began"),
    ("station_name", "r ->> 'rx_id'", "", "the receiver"),
    ("station_id", "st.id", "", "its key in websdr_stations; null if it is there no more"),
    ("rx_latitude", _number("r -> 'rx_lat'"), "degrees north", "place of the receiver when the features were computed"),
    ("rx_longitude", _number("r -> 'rx_lon'"), "degrees east", "as rx_latitude"),
    ("rx_altitude_m", "st.altitude_asl::double precision", "m", "height of the receiver above sea level, as known now"),
    ("measurement_id", "used ->> 'measurement_id'", "", "UUID of the measurement that was read"),
    ("frequency_hz", _number("used -> 'center_frequency_hz'"), "Hz", "centre frequency of the recording"),
    ("sample_rate_hz", _number("used -> 'sample_rate_hz'"), "Hz", "complex samples a second"),
    ("num_chunks", f"({_number(_CHUNKS)})::integer", "", "chunks that the statistics are over"),
    ("chunk_duration_ms", _number("used -> 'chunk_duration_ms'"), "ms", "duration of a chunk"),
    ("calibration_db", _number("used -> 'calibration_db'"), "dB", "from dB of full scale to dBm, as it was applied"),
    ("tx_known", "coalesce(mf.tx_known, false)", "", "the transmitter is known; else the ground truth is null"),
    ("tx_latitude", "mf.tx_latitude", "degrees north", "ground truth: place of the transmitter"),
    ("tx_longitude", "mf.tx_longitude", "degrees east", "ground truth: place of the transmitter"),
    ("tx_altitude_m", "mf.tx_altitude_m", "m", "ground truth: height of the transmitter above sea level"),
    ("tx_power_dbm", "mf.tx_power_dbm", "dBm", "ground truth: power of the transmitter"),
    (
        "ground_truth",
        "mf.extraction_metadata ->> 'ground_truth'",
        "",
        "how the transmitter was found: session (named by it) or frequency (the only known one near it)",
    ),
    ("num_receivers_detected", "mf.num_receivers_detected", "", "receivers of the session with a signal"),
    ("gdop", "mf.gdop", "", "of the session: geometric dilution of precision"),
    ("overall_confidence", "mf.overall_confidence", "", "of the session, in 0 to 1"),
    ("computed_at", "mf.created_at", "", "when the features were stored"),
    ("feature_version", VERSION, "", "version of the estimators; take one only"),
    (
        "stale_reason",
        f"CASE WHEN fs.feature_version = {VERSION} THEN fs.stale_reason END",
        "",
        "why the features are out of date whatever their version; null if they are not",
    ),
)


def _view() -> str:
    plain = [f"{sql} AS {name}" for name, sql, _, _ in COLUMNS]
    figures = [f"{_number(f'f.{name} -> {stat!r}')} AS {name}_{stat}" for name, _ in FEATURES for stat, _ in STATISTICS]
    selected = ",\n               ".join([*plain, *figures])
    declared = ", ".join(f"{name} jsonb" for name, _ in FEATURES)
    return f"""
        CREATE VIEW heimdall.training_samples AS
        SELECT {selected}
        FROM heimdall.measurement_features mf
        JOIN heimdall.recording_sessions s ON s.id = mf.recording_session_id
        CROSS JOIN LATERAL unnest(mf.receiver_features) r
        -- other code's receivers may be anything, and this must not be asked of what is no object
        CROSS JOIN LATERAL jsonb_to_record(CASE jsonb_typeof(r) WHEN 'object' THEN r ELSE '{{}}' END) AS f ({declared})
        CROSS JOIN LATERAL (SELECT mf.extraction_metadata -> 'receivers' -> (r ->> 'rx_id') AS used) input
        LEFT JOIN heimdall.websdr_stations st ON st.name = r ->> 'rx_id'
        LEFT JOIN heimdall.feature_states fs ON fs.recording_session_id = mf.recording_session_id
        WHERE NOT coalesce(mf.extraction_failed, false) AND {VERSION} IS NOT NULL
          AND jsonb_typeof(r) = 'object' AND NOT r ? 'error'"""


def _comments() -> list[str]:
    figures = [
        (f"{name}_{stat}", unit, f"{name}, {meaning}") for name, unit in FEATURES for stat, meaning in STATISTICS
    ]
    described = [(name, unit, meaning) for name, _, unit, meaning in COLUMNS] + figures
    return [
        "COMMENT ON VIEW heimdall.training_samples IS 'A row a session and receiver with features of this pipeline'",
        *(
            f"COMMENT ON COLUMN heimdall.training_samples.{name} IS '{f'[{unit}] ' if unit else ''}{meaning}'"
            for name, unit, meaning in described
        ),
    ]


def upgrade() -> None:
    """Create the view, and say what its columns are."""
    for statement in (_view(), *_comments()):
        op.execute(statement)
