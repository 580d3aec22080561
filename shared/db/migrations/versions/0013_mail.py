"""Who gets mail about an account, and what a stream of alerts needs to leave none out.

Revision ID: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE mail_recipients (
        account_id text COLLATE "C" NOT NULL CONSTRAINT mail_recipients_account_fkey REFERENCES accounts,
        recipient_id text COLLATE "C" NOT NULL,
        address text NOT NULL,
        event_types text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        refusals integer NOT NULL DEFAULT 0,
        refused_because text,
        CONSTRAINT mail_recipients_pkey PRIMARY KEY (account_id, recipient_id),
        CONSTRAINT mail_recipients_once UNIQUE (account_id, address)
    )
    """,
    # The transaction that wrote an alert, and the oldest that was under way then: numbers are given out in
    # another order than transactions commit, so a number alone does not tell what a reader has not seen.
    """
    ALTER TABLE alerts ADD COLUMN written_by bigint, ADD COLUMN written_after bigint
    """,
    """
    ALTER TABLE alerts
        ALTER COLUMN written_by SET DEFAULT pg_current_xact_id()::text::bigint,
        ALTER COLUMN written_after SET DEFAULT pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    """,
    "CREATE INDEX alerts_written_by ON alerts (written_by)",
    "CREATE INDEX alerts_by_time ON alerts (account_id, occurred_at)",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
