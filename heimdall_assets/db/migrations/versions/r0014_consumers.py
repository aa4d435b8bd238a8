"""What others read: measurements whose samples are used, sessions that left completed, receivers by their ids."""

import re

from alembic import op

from heimdall_assets.db.migrations.versions import r0006_ledger, r0009_training_samples
from heimdall_assets.db.values import json_number

revision = "0014"
down_revision = "0013"

_DIFFERENCE = """
        INSERT INTO heimdall.feature_totals (state, feature_version, is_marked_stale, sessions, measurements,
                                             with_features, used)
        SELECT d.state, d.feature_version, d.stale_reason IS NOT NULL, sum(d.n), sum(d.n * d.measurements_total),
               sum(d.n * d.measurements_with_features), sum(d.n * d.measurements_used)
        FROM ({rows}) d
        GROUP BY 1, 2, 3
        HAVING sum(d.n) <> 0 OR sum(d.n * d.measurements_total) <> 0
            OR sum(d.n * d.measurements_with_features) <> 0 OR sum(d.n * d.measurements_used) <> 0;""".rstrip()
_COLUMNS = "state, feature_version, stale_reason, measurements_total, measurements_with_features, measurements_used"
_CAME = f"SELECT 1 AS n, {_COLUMNS} FROM rows_after"
_WENT = f"SELECT -1 AS n, {_COLUMNS} FROM rows_before"

MEASUREMENTS_USED = (
    "ALTER TABLE heimdall.feature_states ADD COLUMN measurements_used integer NOT NULL DEFAULT 0",
    "ALTER TABLE heimdall.feature_totals ADD COLUMN used bigint NOT NULL DEFAULT 0",
    f"""
    CREATE OR REPLACE FUNCTION heimdall.feature_totals_follow() RETURNS trigger
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
    # Right where every receiver left one measurement; the others are looked at again, as all sessions with features.
    """
    UPDATE heimdall.feature_states SET measurements_used = measurements_with_features
    WHERE measurements_with_features > 0""",
)

# Rows without a recording session are synthetic: whoever listens for features is not woken by thousands of them.
_ANY_ROW = "IF NOT coalesce(NEW.extraction_failed, false) AND pg_notification_queue_usage() < 0.5 THEN"
_FOR_SESSIONS = """
        IF NOT coalesce(NEW.extraction_failed, false) AND pg_notification_queue_usage() < 0.5
           AND EXISTS (SELECT 1 FROM heimdall.recording_sessions s WHERE s.id = NEW.recording_session_id)
        THEN""".strip()
NOTIFICATIONS = (
    r0006_ledger.CHANGES[0].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(_ANY_ROW, _FOR_SESSIONS)
)

# Numbers in JSON that are too large for a column are null, so that one of them does not fail every query.
_UNGUARDED = r"CASE WHEN jsonb_typeof\((.+?)\) = 'number' THEN \(\1\)::double precision END"
_VIEW = re.sub(_UNGUARDED, lambda found: json_number(found[1]), r0009_training_samples._view())  # noqa: SLF001

# approval_status: only newer databases have it. Of a row as JSON it is null where there is no such column; and columns
# that are read so, others may go on changing.
TRAINING_SAMPLES = (
    _VIEW.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    .replace(
        "FROM heimdall.measurement_features mf",
        """,
               to_jsonb(s) ->> 'approval_status' AS approval_status
        FROM heimdall.measurement_features mf""".lstrip("\n"),
        1,
    )
    .replace(
        "ON st.name = r ->> 'rx_id'",
        """
            ON st.id::text = coalesce(
                used ->> 'station_id', (SELECT n.id::text FROM heimdall.websdr_stations n WHERE n.name = r ->> 'rx_id'))
        """.strip(),
    )
    .replace("WHERE NOT coalesce", "WHERE to_jsonb(s) ->> 'status' = 'completed' AND NOT coalesce"),
    """
    COMMENT ON COLUMN heimdall.training_samples.approval_status
    IS 'of the session, as people decided; null where the database has no such column'""",
)

# Names change, keys do not. The name stays for receivers that are gone.
RECEIVERS = (
    "ALTER TABLE heimdall.receiver_settings ADD COLUMN station_id uuid",
    """
    UPDATE heimdall.receiver_settings rs SET station_id = st.id
    FROM heimdall.websdr_stations st WHERE st.name = rs.station""",
    "CREATE INDEX receiver_settings_station ON heimdall.receiver_settings (station_id, valid_from)",
)


def upgrade() -> None:
    """Add the columns, and replace the functions and the view by wider ones."""
    for statement in (*MEASUREMENTS_USED, NOTIFICATIONS, *TRAINING_SAMPLES, *RECEIVERS):
        op.execute(statement)
