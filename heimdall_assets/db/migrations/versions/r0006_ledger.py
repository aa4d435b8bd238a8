"""The ledger at a million sessions: sums that are kept, changes of others that are noted, inputs that are known."""

from alembic import op

from heimdall_assets.db.migrations.concurrently import create_indexes

revision = "0006"
down_revision = "0005"

INDEXES = (
    # Which sessions have features, without reading a row of them; and the key where an old table has none.
    (
        "feature_rows_present",
        "measurement_features",
        "(recording_session_id) WHERE NOT coalesce(extraction_failed, false)",
    ),
    ("feature_sessions_reopened", "recording_sessions", "(updated_at) WHERE status <> 'completed'"),
)

TABLES = (
    # What other code did to measurement_features, until the planner has looked at it. Appended to only: whoever
    # writes features waits for nobody here, and what is committed while the planner looks is there the next time.
    """
    CREATE TABLE heimdall.feature_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        recording_session_id uuid NOT NULL,
        noticed_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    # How many sessions are in which state: differences that add up, again appended to only, so that workers who end
    # sessions at the same time do not wait for one another. The planner replaces them by their sums.
    """
    CREATE TABLE heimdall.feature_totals (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        state text NOT NULL,
        feature_version integer,
        is_marked_stale boolean NOT NULL,
        sessions bigint NOT NULL,
        measurements bigint NOT NULL,
        with_features bigint NOT NULL
    )""",
    # new_inputs: why it waits again although it has features of ours; they stay until others are stored.
    # inputs_tried: what the last attempt found at the measurements' locations.
    """
    ALTER TABLE heimdall.feature_states
        ADD COLUMN new_inputs text CHECK (new_inputs IN ('late_iq', 'replaced_iq')),
        ADD COLUMN inputs_tried text""",
    # How far a look that goes round all sessions, some at a time, has come.
    "ALTER TABLE heimdall.feature_heartbeats ADD COLUMN position uuid",
    (
        "CREATE INDEX feature_states_waiting ON heimdall.feature_states (first_seen_completed_at) "
        "WHERE state = 'pending'"
    ),
    "CREATE INDEX feature_states_apart ON heimdall.feature_states (state) WHERE state IN ('running', 'ignored')",
    # Sessions that have features of some receivers are tried again too.
    "DROP INDEX heimdall.feature_states_retry",
    (
        "CREATE INDEX feature_states_retry ON heimdall.feature_states (next_attempt_at) "
        "WHERE next_attempt_at IS NOT NULL AND reserved_by IS NULL"
    ),
)

_DIFFERENCE = """
        INSERT INTO heimdall.feature_totals (state, feature_version, is_marked_stale, sessions, measurements,
                                             with_features)
        SELECT d.state, d.feature_version, d.stale_reason IS NOT NULL, sum(d.n), sum(d.n * d.measurements_total),
               sum(d.n * d.measurements_with_features)
        FROM ({rows}) d
        GROUP BY 1, 2, 3
        HAVING sum(d.n) <> 0 OR sum(d.n * d.measurements_total) <> 0
            OR sum(d.n * d.measurements_with_features) <> 0;""".rstrip()
_COLUMNS = "state, feature_version, stale_reason, measurements_total, measurements_with_features"
_CAME = f"SELECT 1 AS n, {_COLUMNS} FROM rows_after"
_WENT = f"SELECT -1 AS n, {_COLUMNS} FROM rows_before"

TOTALS = (
    f"""
    CREATE FUNCTION heimdall.feature_totals_follow() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            {_DIFFERENCE.format(rows=_CAME)}
        ELSIF TG_OP = 'DELETE' THEN
            {_DIFFERENCE.format(rows=_WENT)}
        ELSIF TG_OP = 'UPDATE' THEN
            {_DIFFERENCE.format(rows=f"{_CAME} UNION ALL {_WENT}")}
        ELSE
            DELETE FROM heimdall.feature_totals;
        END IF;
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER feature_totals_insert AFTER INSERT ON heimdall.feature_states
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION heimdall.feature_totals_follow()""",
    """
    CREATE TRIGGER feature_totals_update AFTER UPDATE ON heimdall.feature_states
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION heimdall.feature_totals_follow()""",
    """
    CREATE TRIGGER feature_totals_delete AFTER DELETE ON heimdall.feature_states
    REFERENCING OLD TABLE AS rows_before
    FOR EACH STATEMENT EXECUTE FUNCTION heimdall.feature_totals_follow()""",
    """
    CREATE TRIGGER feature_totals_truncate AFTER TRUNCATE ON heimdall.feature_states
    FOR EACH STATEMENT EXECUTE FUNCTION heimdall.feature_totals_follow()""",
    """
    INSERT INTO heimdall.feature_totals (state, feature_version, is_marked_stale, sessions, measurements,
                                         with_features)
    SELECT state, feature_version, stale_reason IS NOT NULL, count(*), sum(measurements_total),
           sum(measurements_with_features)
    FROM heimdall.feature_states GROUP BY 1, 2, 3""",
)

# A trigger a row, since tables of TimescaleDB know no others that see rows. Whoever writes features must never fail
# by it, nor need a right of ours: errors become warnings, and a channel to which nobody listens any more is left alone
# before it is full, which would be an error at the writer's commit.
CHANGES = (
    """
    CREATE FUNCTION heimdall.feature_changes_note() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        is_ours boolean := coalesce(current_setting('heimdall.writer', true), '') = 'heimdall_assets';
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            DELETE FROM heimdall.feature_heartbeats WHERE name = 'discovery';
            RETURN NULL;
        END IF;
        IF NOT is_ours AND TG_OP <> 'INSERT' THEN
            INSERT INTO heimdall.feature_changes (recording_session_id) VALUES (OLD.recording_session_id);
        END IF;
        IF TG_OP = 'DELETE' THEN
            RETURN NULL;
        END IF;
        IF NOT is_ours AND (TG_OP = 'INSERT' OR NEW.recording_session_id <> OLD.recording_session_id) THEN
            INSERT INTO heimdall.feature_changes (recording_session_id) VALUES (NEW.recording_session_id);
        END IF;
        IF NOT coalesce(NEW.extraction_failed, false) AND pg_notification_queue_usage() < 0.5 THEN
            PERFORM pg_notify('heimdall_features', NEW.recording_session_id::text);
        END IF;
        RETURN NULL;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'heimdall: a change of measurement_features was not noted: %', SQLERRM;
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER feature_changes_note AFTER INSERT OR UPDATE OR DELETE ON heimdall.measurement_features
    FOR EACH ROW EXECUTE FUNCTION heimdall.feature_changes_note()""",
    """
    CREATE TRIGGER feature_changes_note_all AFTER TRUNCATE ON heimdall.measurement_features
    FOR EACH STATEMENT EXECUTE FUNCTION heimdall.feature_changes_note()""",
)


def upgrade() -> None:
    """Create the indexes, the tables of the ledger, and what fills them."""
    create_indexes(INDEXES)
    for statement in (*TABLES, *TOTALS, *CHANGES):
        op.execute(statement)
