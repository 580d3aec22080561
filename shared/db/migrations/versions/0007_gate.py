"""The gate: holds placed while Redis was away, the mark of a Redis that is known, and where all weigh now.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE holds (
        account_id text COLLATE "C" NOT NULL,
        hold_id text COLLATE "C" NOT NULL,
        api_key_id text COLLATE "C",
        list_nanos bigint NOT NULL CONSTRAINT holds_not_negative CHECK (list_nanos >= 0),
        expires_at timestamptz NOT NULL,
        CONSTRAINT holds_pkey PRIMARY KEY (account_id, hold_id)
    )
    """,
    """
    CREATE TABLE gate_marker (
        only_row boolean DEFAULT true CONSTRAINT gate_marker_pkey PRIMARY KEY
            CONSTRAINT gate_marker_one_row CHECK (only_row),
        marker text NOT NULL,
        emptied_at timestamptz
    )
    """,
    """
    CREATE TABLE gate_mode (
        only_row boolean DEFAULT true CONSTRAINT gate_mode_pkey PRIMARY KEY
            CONSTRAINT gate_mode_one_row CHECK (only_row),
        turn bigint DEFAULT 0 NOT NULL,
        away_since timestamptz,
        away_until timestamptz
    )
    """,
    "INSERT INTO gate_mode DEFAULT VALUES",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
