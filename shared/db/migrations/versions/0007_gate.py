"""The gate: holds that were placed while Redis was away, and the mark by which an emptied Redis is known.

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
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
