"""Who left a sign of life: host, process, since when, and which code it runs."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE heimdall.feature_heartbeats ADD COLUMN process jsonb")
