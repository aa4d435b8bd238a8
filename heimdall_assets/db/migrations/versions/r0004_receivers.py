"""Settings of receivers, and why stored features may be out of date although their version is current."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # A row holds from its moment until the station's next one. NULL: the default; see records.ReceiverSettings.
    """
    CREATE TABLE heimdall.receiver_settings (
        station varchar(255) NOT NULL,
        valid_from timestamptz NOT NULL CHECK (isfinite(valid_from)),
        calibration_db double precision CHECK (calibration_db > '-Infinity' AND calibration_db < 'Infinity'),
        passband_low_hz double precision CHECK (passband_low_hz > '-Infinity' AND passband_low_hz < 'Infinity'),
        passband_high_hz double precision CHECK (passband_high_hz > '-Infinity' AND passband_high_hz < 'Infinity'),
        remove_dc boolean NOT NULL DEFAULT false,
        PRIMARY KEY (station, valid_from),
        CHECK (passband_low_hz < passband_high_hz),
        CHECK ((passband_low_hz IS NULL) = (passband_high_hz IS NULL))
    )""",
    # Not of the state but of the features: it stays while the session is worked on, and until better ones are stored.
    "ALTER TABLE heimdall.feature_states ADD COLUMN stale_reason text",
)


def upgrade() -> None:
    """Create the table, add the column to our own table of states."""
    for statement in STATEMENTS:
        op.execute(statement)
