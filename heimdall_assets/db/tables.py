"""The tables as SQLAlchemy sees them; the migrations create them, a test compares the two.

Heimdall's own tables are declared with the columns that matter here; they may have more.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

SCHEMA = "heimdall"
metadata = sa.MetaData(schema=SCHEMA)

_timestamp = sa.DateTime(timezone=True)
_float: sa.Double[float] = sa.Double()

websdr_stations = sa.Table(
    "websdr_stations",
    metadata,
    sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("url", sa.Text),
    sa.Column("latitude", _float),
    sa.Column("longitude", _float),
    sa.Column("altitude_asl", sa.Integer),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
)

known_sources = sa.Table(
    "known_sources",
    metadata,
    sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("frequency_hz", sa.BigInteger),
    sa.Column("latitude", _float),
    sa.Column("longitude", _float),
    sa.Column("power_dbm", _float),
    sa.Column("source_type", sa.String(100)),
    sa.Column("is_validated", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("error_margin_meters", _float),
)

recording_sessions = sa.Table(
    "recording_sessions",
    metadata,
    sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("known_source_id", UUID),
    sa.Column("session_name", sa.String(255)),
    sa.Column("session_start", _timestamp),
    sa.Column("session_end", _timestamp),
    sa.Column("duration_seconds", _float),
    sa.Column("status", sa.String(50), nullable=False, server_default="pending"),
    sa.Column("created_at", _timestamp, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", _timestamp, nullable=False, server_default=sa.func.now()),
)

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("timestamp", _timestamp, primary_key=True),
    sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("websdr_station_id", UUID, nullable=False),
    sa.Column("recording_session_id", UUID),
    sa.Column("frequency_hz", sa.BigInteger),
    sa.Column("signal_strength_db", _float),
    sa.Column("iq_data_location", sa.String(512)),
    sa.Column("iq_data_format", sa.String(50)),
    sa.Column("iq_sample_rate", sa.Integer),
    sa.Column("iq_samples_count", sa.BigInteger),
    sa.Column("duration_seconds", _float),
    sa.Column("created_at", _timestamp, nullable=False, server_default=sa.func.now()),
)

measurement_features = sa.Table(
    "measurement_features",
    metadata,
    sa.Column("recording_session_id", UUID, primary_key=True),
    sa.Column("timestamp", _timestamp, nullable=False),
    sa.Column("receiver_features", ARRAY(JSONB), nullable=False),
    sa.Column("tx_latitude", _float),
    sa.Column("tx_longitude", _float),
    sa.Column("tx_altitude_m", _float),
    sa.Column("tx_power_dbm", _float),
    sa.Column("tx_known", sa.Boolean, server_default=sa.false()),
    sa.Column("extraction_metadata", JSONB, nullable=False),
    sa.Column("overall_confidence", _float, nullable=False),
    sa.Column("mean_snr_db", _float),
    sa.Column("num_receivers_detected", sa.Integer),
    sa.Column("gdop", _float),
    sa.Column("extraction_failed", sa.Boolean, server_default=sa.false()),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", _timestamp, server_default=sa.func.now()),
)

measurement_features_history = sa.Table(
    "measurement_features_history",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("recording_session_id", UUID, nullable=False),
    sa.Column("replaced_at", _timestamp, nullable=False, server_default=sa.func.now()),
    sa.Column("replaced_by_attempt", sa.Integer),
    sa.Column("feature_row", JSONB, nullable=False),  # the whole row as it was
)

feature_states = sa.Table(
    "feature_states",
    metadata,
    sa.Column("recording_session_id", UUID, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("completed_at", _timestamp, nullable=False),  # when Heimdall last touched the session
    # since when it is known, or waits again
    sa.Column("first_seen_completed_at", _timestamp, nullable=False, server_default=sa.func.now()),
    sa.Column("measurements_total", sa.Integer, nullable=False),  # with an iq_data_location
    sa.Column("measurements_with_features", sa.Integer, nullable=False, server_default="0"),
    sa.Column("feature_version", sa.Integer),  # of the row in measurement_features; null: by other code
    sa.Column("stale_reason", sa.Text),  # why that row is out of date whatever its version
    sa.Column("new_inputs", sa.Text),  # why it waits although it has features: late_iq, replaced_iq
    sa.Column("inputs_tried", sa.Text),  # digest of what the last attempt found at the locations
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),  # since the last success
    sa.Column("next_attempt_at", _timestamp),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("run_id", sa.Text),  # the last run that worked on it
    sa.Column("running_since", _timestamp),
    sa.Column("reserved_by", sa.Text),  # the batch that it is planned in
    sa.Column("reserved_at", _timestamp),
    sa.Column("registered_at", _timestamp),  # when its partition key was given to Dagster
    sa.Column("reported_at", _timestamp),  # when Dagster was told of the features that are stored; null: not yet
    sa.Column("retired_at", _timestamp),  # when its key was taken from Dagster, since newer ones fill the window
    sa.Column("updated_at", _timestamp, nullable=False, server_default=sa.func.now()),
    sa.Column("known_source_id", UUID),  # the source that the session named when it was looked at last
    sa.Column("frequency_hz", sa.BigInteger),  # that all its measurements had then; null: several, or none
    sa.Column("measurements_used", sa.Integer, nullable=False, server_default="0"),  # whose samples are in the row
)

feature_sources = sa.Table(  # known_sources as they were when the planner looked last
    "feature_sources",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("frequency_hz", sa.BigInteger),
    sa.Column("latitude", _float),
    sa.Column("longitude", _float),
    sa.Column("power_dbm", _float),
)

feature_rechecks = sa.Table(
    "feature_rechecks",
    metadata,
    sa.Column("recording_session_id", UUID, primary_key=True),  # its inputs or its truth may have changed
)

feature_totals = sa.Table(
    "feature_totals",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("feature_version", sa.Integer),
    sa.Column("is_marked_stale", sa.Boolean, nullable=False),
    sa.Column("sessions", sa.BigInteger, nullable=False),  # differences; their sums are what feature_states holds
    sa.Column("measurements", sa.BigInteger, nullable=False),
    sa.Column("with_features", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False, server_default="0"),
)

feature_changes = sa.Table(
    "feature_changes",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("recording_session_id", UUID, nullable=False),  # whose row of measurement_features other code touched
    sa.Column("noticed_at", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
)

feature_vanished_partitions = sa.Table(
    "feature_vanished_partitions",
    metadata,
    sa.Column("recording_session_id", UUID, primary_key=True),
    sa.Column("vanished_at", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
)

feature_strays = sa.Table(
    "feature_strays",
    metadata,
    sa.Column("recording_session_id", UUID, primary_key=True),
    # "timestamp" of measurements that name the session and lie far outside its window
    sa.Column("first_at", _timestamp, nullable=False),
    sa.Column("last_at", _timestamp, nullable=False),
)

receiver_settings = sa.Table(
    "receiver_settings",
    metadata,
    sa.Column("station", sa.String(255), primary_key=True),  # websdr_stations.name
    sa.Column("valid_from", _timestamp, primary_key=True),
    sa.Column("calibration_db", _float),
    sa.Column("passband_low_hz", _float),
    sa.Column("passband_high_hz", _float),
    sa.Column("remove_dc", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("response", JSONB(none_as_null=True)),  # [[offset_hz, response_db], ...]
    sa.Column("station_id", UUID),  # websdr_stations.id; null: not known when it was set
)

feature_attempts = sa.Table(
    "feature_attempts",
    metadata,
    sa.Column("recording_session_id", UUID, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.Text),
    sa.Column("started_at", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("finished_at", _timestamp),
    sa.Column("outcome", sa.Text),  # done, partial, kept, failed, lost; null while it runs
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("traceback", sa.Text),
    sa.Column("feature_version", sa.Integer, nullable=False),
    sa.Column("seconds", _float),
)

feature_coverage_reports = sa.Table(
    "feature_coverage_reports",
    metadata,
    sa.Column("reported_at", _timestamp, primary_key=True, server_default=sa.func.clock_timestamp()),
    sa.Column("figures", JSONB, nullable=False),  # the keys of `heimdall stats`
)

feature_heartbeats = sa.Table(
    "feature_heartbeats",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("beat_at", _timestamp, nullable=False),
    sa.Column("position", UUID),  # the session at which a look that goes round all of them stopped
    sa.Column("process", JSONB(none_as_null=True)),  # who left it: host, pid, started_at, release
)

feature_stoppages = sa.Table(
    "feature_stoppages",
    metadata,
    sa.Column("task", sa.Text, primary_key=True),  # sensor, schedule, reports
    sa.Column("since", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("last_at", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("failures", sa.Integer, nullable=False, server_default="1"),  # one after the other
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

feature_pauses = sa.Table(
    "feature_pauses",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("paused_at", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("paused_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("resumed_at", _timestamp),  # null in the one row that holds now
    sa.Column("resumed_by", sa.Text),
)

feature_requests = sa.Table(
    "feature_requests",
    metadata,
    sa.Column("id", UUID, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("kind", sa.Text, nullable=False, server_default="extract"),  # extract, reconcile
    sa.Column("selection", JSONB, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="queued"),  # queued, running, done, cancelled
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("total_found", sa.Integer),
    sa.Column("num_batches", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", _timestamp, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("started_at", _timestamp),
    sa.Column("finished_at", _timestamp),
)

feature_request_sessions = sa.Table(
    "feature_request_sessions",
    metadata,
    sa.Column("request_id", UUID, primary_key=True),
    sa.Column("recording_session_id", UUID, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("queued_at", _timestamp),
    sa.Column("outcome", sa.Text),  # done, failed; null while it is open
)
