"""What people ask for: requests and the sessions that each found; and room for more than seven receivers."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    """
    CREATE TABLE heimdall.feature_requests (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        selection jsonb NOT NULL,
        status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'cancelled')),
        requested_by text NOT NULL,
        total_found integer,
        num_batches integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        started_at timestamptz,
        finished_at timestamptz
    )""",
    "CREATE INDEX feature_requests_open ON heimdall.feature_requests (created_at) WHERE finished_at IS NULL",
    # A row a session that a request found: it is asked for once, however long the request takes.
    """
    CREATE TABLE heimdall.feature_request_sessions (
        request_id uuid NOT NULL REFERENCES heimdall.feature_requests (id) ON DELETE CASCADE,
        recording_session_id uuid NOT NULL,
        position integer NOT NULL,
        queued_at timestamptz,
        outcome text CHECK (outcome IN ('done', 'failed')),
        PRIMARY KEY (request_id, recording_session_id)
    )""",
    """
    CREATE INDEX feature_request_sessions_open ON heimdall.feature_request_sessions (request_id, position)
    WHERE outcome IS NULL""",
    # The one change to a table of others that is not an addition: networks have outgrown seven receivers.
    """
    DO $$
    DECLARE name text;
    BEGIN
        FOR name IN
            SELECT conname FROM pg_constraint
            WHERE conrelid = 'heimdall.measurement_features'::regclass AND contype = 'c'
              AND pg_get_constraintdef(oid) ~ 'num_receivers_detected[^a-z_]+<=?[^0-9]*[0-9]+'
        LOOP
            EXECUTE format('ALTER TABLE heimdall.measurement_features DROP CONSTRAINT %I', name);
        END LOOP;
    END $$""",
)


def upgrade() -> None:
    """Create the tables, drop the old limit."""
    for statement in STATEMENTS:
        op.execute(statement)
