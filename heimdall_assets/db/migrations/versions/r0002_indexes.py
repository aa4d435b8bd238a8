"""Indexes on Heimdall's tables, made without blocking their writers."""

from alembic import context, op
from sqlalchemy import text

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


def upgrade() -> None:
    """Create each index where it is missing."""
    has_link = context.is_offline_mode() or _has_session_link()
    create_indexes([*INDEXES, SESSION_LINK] if has_link else INDEXES)


def _has_session_link() -> bool:
    query = text(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'heimdall' "
        "AND table_name = 'measurements' AND column_name = 'recording_session_id'"
    )
    return bool(op.get_bind().scalar(query))
