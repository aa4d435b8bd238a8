"""Ground truth that changes: a copy of the known sources, and which sessions have to be looked at again."""

from alembic import op

revision = "0013"
down_revision = "0012"

STATEMENTS = (
    # What the planner compares known_sources with.
    """
    CREATE TABLE heimdall.feature_sources (
        id uuid PRIMARY KEY,
        frequency_hz bigint,
        latitude double precision,
        longitude double precision,
        power_dbm double precision
    )""",
    """
    INSERT INTO heimdall.feature_sources (id, frequency_hz, latitude, longitude, power_dbm)
    SELECT id, frequency_hz, latitude, longitude, power_dbm FROM heimdall.known_sources""",
    # The source that a session named, and its frequency: a source that changes finds its sessions by them.
    """
    ALTER TABLE heimdall.feature_states
        ADD COLUMN known_source_id uuid,
        ADD COLUMN frequency_hz bigint""",
    (
        "CREATE INDEX feature_states_source ON heimdall.feature_states (known_source_id) "
        "WHERE known_source_id IS NOT NULL"
    ),
    "CREATE INDEX feature_states_frequency ON heimdall.feature_states (frequency_hz) WHERE known_source_id IS NULL",
    # Sessions whose state, inputs or truth may be others than their row says; the planner takes some at a time.
    "CREATE TABLE heimdall.feature_rechecks (recording_session_id uuid PRIMARY KEY)",
    # Once all that have features: the rules for measurements and ground truth were others before.
    """
    INSERT INTO heimdall.feature_rechecks (recording_session_id)
    SELECT recording_session_id FROM heimdall.feature_states WHERE state IN ('done', 'partial')""",
)


def upgrade() -> None:
    """Create the tables and the columns, and have every session with features looked at once."""
    for statement in STATEMENTS:
        op.execute(statement)
