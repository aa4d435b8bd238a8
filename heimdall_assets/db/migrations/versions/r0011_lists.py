"""The indexes behind the lists of stale sessions, and of those that failed for a reason, the latest first."""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = (
    """
    CREATE INDEX feature_states_versions
    ON heimdall.feature_states (feature_version, completed_at DESC, recording_session_id)
    WHERE state IN ('done', 'partial')""",
    """
    CREATE INDEX feature_states_marked ON heimdall.feature_states (completed_at DESC, recording_session_id)
    WHERE state IN ('done', 'partial') AND stale_reason IS NOT NULL""",
    "DROP INDEX heimdall.feature_states_trouble",
    """
    CREATE INDEX feature_states_trouble
    ON heimdall.feature_states (reason, completed_at DESC, recording_session_id)
    WHERE state IN ('failed', 'quarantined')""",
)


def upgrade() -> None:
    """Create the indexes."""
    for statement in STATEMENTS:
        op.execute(statement)
