"""Heimdall's tables where they are missing, and ours.

Plain SQL with IF NOT EXISTS: the same statements serve an empty database and one that other services made, and can
be printed for a DBA. Nothing here touches a row, nor a column of a table that exists.
"""

from alembic import op

revision = "0001"
down_revision = None

HEIMDALL_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS heimdall.websdr_stations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(255) NOT NULL UNIQUE,
        url text,
        latitude double precision,
        longitude double precision,
        altitude_asl integer,
        is_active boolean NOT NULL DEFAULT true
    )""",
    """
    CREATE TABLE IF NOT EXISTS heimdall.known_sources (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(255) NOT NULL,
        frequency_hz bigint,
        latitude double precision,
        longitude double precision,
        power_dbm double precision,
        source_type varchar(100),
        is_validated boolean NOT NULL DEFAULT false,
        error_margin_meters double precision
    )""",
    """
    CREATE TABLE IF NOT EXISTS heimdall.recording_sessions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        known_source_id uuid REFERENCES heimdall.known_sources (id) ON DELETE SET NULL,
        session_name varchar(255),
        session_start timestamptz,
        session_end timestamptz,
        duration_seconds double precision,
        status varchar(50) NOT NULL DEFAULT 'pending',
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE IF NOT EXISTS heimdall.measurements (
        "timestamp" timestamptz NOT NULL,
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        websdr_station_id uuid NOT NULL REFERENCES heimdall.websdr_stations (id),
        recording_session_id uuid REFERENCES heimdall.recording_sessions (id) ON DELETE CASCADE,
        frequency_hz bigint,
        signal_strength_db double precision,
        iq_data_location varchar(512),
        iq_data_format varchar(50),
        iq_sample_rate integer,
        iq_samples_count bigint,
        duration_seconds double precision,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY ("timestamp", id)
    )""",
    """
    CREATE TABLE IF NOT EXISTS heimdall.measurement_features (
        recording_session_id uuid PRIMARY KEY REFERENCES heimdall.recording_sessions (id) ON DELETE CASCADE,
        "timestamp" timestamptz NOT NULL,
        receiver_features jsonb[] NOT NULL,
        tx_latitude double precision,
        tx_longitude double precision,
        tx_altitude_m double precision,
        tx_power_dbm double precision,
        tx_known boolean DEFAULT false,
        extraction_metadata jsonb NOT NULL,
        overall_confidence double precision NOT NULL CHECK (overall_confidence BETWEEN 0 AND 1),
        mean_snr_db double precision,
        num_receivers_detected integer CHECK (num_receivers_detected >= 0),
        gdop double precision,
        extraction_failed boolean DEFAULT false,
        error_message text,
        created_at timestamptz DEFAULT now()
    )""",
)

OUR_TABLES = (
    # No foreign keys to Heimdall's tables: each would hang a trigger on them.
    """
    CREATE TABLE heimdall.feature_states (
        recording_session_id uuid PRIMARY KEY,
        state text NOT NULL CHECK (state IN ('pending', 'running', 'done', 'partial', 'empty', 'failed',
                                             'quarantined', 'ignored')),
        completed_at timestamptz NOT NULL,
        first_seen_completed_at timestamptz NOT NULL DEFAULT now(),
        measurements_total integer NOT NULL CHECK (measurements_total >= 0),
        measurements_with_features integer NOT NULL DEFAULT 0,
        feature_version integer,
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        reason text,
        message text,
        run_id text,
        running_since timestamptz,
        reserved_by text,
        reserved_at timestamptz,
        registered_at timestamptz,
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    # The planner's work lists: small whatever the number of sessions that are done.
    (
        "CREATE INDEX feature_states_pending ON heimdall.feature_states (completed_at, recording_session_id) "
        "WHERE state = 'pending' AND reserved_by IS NULL"
    ),
    (
        "CREATE INDEX feature_states_retry ON heimdall.feature_states (next_attempt_at) "
        "WHERE state = 'failed' AND reserved_by IS NULL"
    ),
    "CREATE INDEX feature_states_reserved ON heimdall.feature_states (reserved_by) WHERE reserved_by IS NOT NULL",
    "CREATE INDEX feature_states_running ON heimdall.feature_states (run_id) WHERE state = 'running'",
    (
        "CREATE INDEX feature_states_trouble ON heimdall.feature_states (reason) "
        "WHERE state IN ('failed', 'quarantined')"
    ),
    """
    CREATE TABLE heimdall.feature_attempts (
        recording_session_id uuid NOT NULL,
        number integer NOT NULL,
        run_id text,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        outcome text CHECK (outcome IN ('done', 'partial', 'kept', 'failed', 'lost')),
        reason text,
        message text,
        traceback text,
        feature_version integer NOT NULL,
        seconds double precision,
        PRIMARY KEY (recording_session_id, number)
    )""",
    "CREATE INDEX feature_attempts_open ON heimdall.feature_attempts (run_id) WHERE finished_at IS NULL",
    "CREATE INDEX feature_attempts_finished ON heimdall.feature_attempts (finished_at)",
    """
    CREATE TABLE heimdall.feature_heartbeats (
        name text PRIMARY KEY,
        beat_at timestamptz NOT NULL
    )""",
    """
    CREATE TABLE heimdall.feature_coverage_reports (
        reported_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
        figures jsonb NOT NULL
    )""",
    """
    CREATE TABLE heimdall.measurement_features_history (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        recording_session_id uuid NOT NULL,
        replaced_at timestamptz NOT NULL DEFAULT now(),
        replaced_by_attempt integer,
        feature_row jsonb NOT NULL
    )""",
    (
        "CREATE INDEX measurement_features_history_session "
        "ON heimdall.measurement_features_history (recording_session_id)"
    ),
)


def upgrade() -> None:
    """Create what is missing."""
    for statement in (*HEIMDALL_TABLES, *OUR_TABLES):
        op.execute(statement)
