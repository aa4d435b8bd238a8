"""What Dagster shows of a session: told of its features or not, retired or not; and requests to set that right."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    # reported_at: when Dagster was told of the features that are stored; NULL again as soon as others are.
    # retired_at: when the partition key was taken from Dagster, because newer ones filled the window.
    """
    ALTER TABLE heimdall.feature_states
        ADD COLUMN reported_at timestamptz,
        ADD COLUMN retired_at timestamptz""",
    # What a run stored, it reported, but for the few that died in between: reconciliation asks Dagster for those.
    """
    UPDATE heimdall.feature_states SET reported_at = updated_at
    WHERE state IN ('done', 'partial') AND registered_at IS NOT NULL AND run_id IS NOT NULL""",
    """
    CREATE INDEX feature_states_unreported ON heimdall.feature_states (completed_at, recording_session_id)
    WHERE state IN ('done', 'partial') AND reported_at IS NULL AND retired_at IS NULL""",
    """
    CREATE INDEX feature_states_window ON heimdall.feature_states (completed_at, recording_session_id)
    WHERE state IN ('done', 'partial') AND retired_at IS NULL""",
    # Keys that Dagster still has of sessions whose state was forgotten.
    """
    CREATE TABLE heimdall.feature_vanished_partitions (
        recording_session_id uuid PRIMARY KEY,
        vanished_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    """
    ALTER TABLE heimdall.feature_requests
        ADD COLUMN kind text NOT NULL DEFAULT 'extract' CHECK (kind IN ('extract', 'reconcile'))""",
)


def upgrade() -> None:
    """Add the columns, their indexes, and the table."""
    for statement in STATEMENTS:
        op.execute(statement)
