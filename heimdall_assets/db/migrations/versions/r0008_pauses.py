"""The switch that holds planning: who paused it, when and why; one row of them is open at most."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    CREATE TABLE heimdall.feature_pauses (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        paused_by text NOT NULL,
        reason text,
        resumed_at timestamptz,
        resumed_by text
    )""",
    "CREATE UNIQUE INDEX feature_pauses_open ON heimdall.feature_pauses ((true)) WHERE resumed_at IS NULL",
)


def upgrade() -> None:
    """Create the table."""
    for statement in STATEMENTS:
        op.execute(statement)
