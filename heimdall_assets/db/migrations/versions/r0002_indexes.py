"""Indexes on Heimdall's tables, made without blocking their writers."""

from alembic import context, op

from heimdall_assets.db.migrations.concurrently import create_indexes

revision = "0002"
down_revision = "0001"

# The window of a session starts at session_start or created_at (CONTRACT).
INDEXES = (
    ("feature_sessions_completed", "recording_sessions", "(updated_at) WHERE status = 'completed'"),
    ("feature_sessions_completed_new", "recording_sessions", "(created_at) WHERE status = 'completed'"),
    ("feature_sessions_window", "recording_sessions", "((coalesce(session_start, created_at)))"),
    ("feature_measurements_iq_created", "measurements", "(created_at) WHERE iq_data_location IS NOT NULL"),
)
SESSION_LINK = ("feature_measurements_session", "measurements", "(recording_session_id)")


UNKNOWN = """-- This was printed without a look at the database.
-- Where a table is a TimescaleDB hypertable, which refuses CONCURRENTLY, leave that word out.
-- Where heimdall.measurements has no recording_session_id, leave out feature_measurements_session."""


def upgrade() -> None:
    """Create each index where it is missing; that of the link where the table has it."""
    catalog = context.config.attributes.get("catalog")
    if catalog is None and context.is_offline_mode():
        op.get_context().impl.static_output(UNKNOWN)
    create_indexes([*INDEXES, SESSION_LINK] if catalog is None or catalog.has_session_link else INDEXES)
