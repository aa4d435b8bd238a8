"""Indexes on Heimdall's tables, made without blocking their writers."""

from alembic import context, op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"

# name, table, columns and condition. The window of a session starts at session_start or created_at (CONTRACT).
INDEXES = (
    ("feature_sessions_completed", "recording_sessions", "(updated_at) WHERE status = 'completed'"),
    ("feature_sessions_completed_new", "recording_sessions", "(created_at) WHERE status = 'completed'"),
    ("feature_sessions_window", "recording_sessions", "((coalesce(session_start, created_at)))"),
    ("feature_measurements_iq_created", "measurements", "(created_at) WHERE iq_data_location IS NOT NULL"),
)
SESSION_LINK = ("feature_measurements_session", "measurements", "(recording_session_id)")


def upgrade() -> None:
    """Create each index where it is missing; concurrently except on a hypertable, which refuses that."""
    offline = context.is_offline_mode()
    indexes = [*INDEXES, SESSION_LINK] if offline or _has_session_link() else list(INDEXES)
    with op.get_context().autocommit_block():
        for name, table, definition in indexes:
            how = "" if not offline and _is_hypertable(table) else "CONCURRENTLY "
            if not offline and _is_broken(name):
                op.execute(f"DROP INDEX {how}heimdall.{name}")
            op.execute(f"CREATE INDEX {how}IF NOT EXISTS {name} ON heimdall.{table} {definition}")


def _has_session_link() -> bool:
    query = text(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'heimdall' "
        "AND table_name = 'measurements' AND column_name = 'recording_session_id'"
    )
    return bool(op.get_bind().scalar(query))


def _is_broken(index: str) -> bool:
    """True of what an interrupted CREATE INDEX CONCURRENTLY leaves: it is never used, yet it has the name."""
    query = text("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
    return bool(op.get_bind().scalar(query, {"name": f"heimdall.{index}"}))


def _is_hypertable(table: str) -> bool:
    bind = op.get_bind()
    if bind.scalar(text("SELECT to_regclass('_timescaledb_catalog.hypertable')")) is None:
        return False
    query = text(
        "SELECT count(*) FROM _timescaledb_catalog.hypertable WHERE schema_name = 'heimdall' AND table_name = :table"
    )
    return bool(bind.scalar(query, {"table": table}))
