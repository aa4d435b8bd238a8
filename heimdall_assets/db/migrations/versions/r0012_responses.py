"""The response of a receiver's front end, where it is known: pairs of an offset in Hz and a response in dB."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column; NULL: it is not known."""
    op.execute("""
        ALTER TABLE heimdall.receiver_settings ADD COLUMN response jsonb CHECK (
            jsonb_typeof(response) = 'array' AND jsonb_array_length(response) >= 2
            AND NOT jsonb_path_exists(response, 'strict $[*] ? (
                @.type() != "array" || @.size() != 2 || @[0].type() != "number" || @[1].type() != "number")'))""")
