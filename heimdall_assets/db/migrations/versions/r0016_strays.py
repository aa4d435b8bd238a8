"""Sessions that have measurements far outside their window: where these lie."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the table; the schedule fills it."""
    op.execute("""
    CREATE TABLE heimdall.feature_strays (
        recording_session_id uuid PRIMARY KEY,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL
    )""")
