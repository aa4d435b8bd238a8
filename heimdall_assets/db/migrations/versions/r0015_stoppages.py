"""What keeps sensor, schedule or their reports from their work, and since when; and times that no page can show."""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = (
    """
    CREATE TABLE heimdall.feature_stoppages (
        task text PRIMARY KEY,
        since timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        failures integer NOT NULL DEFAULT 1,
        reason text NOT NULL,
        message text NOT NULL
    )""",
    """
    UPDATE heimdall.feature_states SET completed_at = first_seen_completed_at
    WHERE NOT completed_at BETWEEN '0001-01-02T00:00:00+00:00' AND '9999-12-30T00:00:00+00:00'""",
)


def upgrade() -> None:
    """Create the table, and replace the times."""
    for statement in STATEMENTS:
        op.execute(statement)
