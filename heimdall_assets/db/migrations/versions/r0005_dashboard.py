"""The index behind every list of sessions by state, the latest first."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the index."""
    op.execute(
        "CREATE INDEX feature_states_recent ON heimdall.feature_states (state, completed_at DESC, recording_session_id)"
    )
