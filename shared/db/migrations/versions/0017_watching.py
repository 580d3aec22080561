"""How long queues keep what waits in them, and when the books were audited.

Revision ID: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATEMENTS = [
    "ALTER TABLE processes ADD COLUMN taken_until jsonb NOT NULL DEFAULT '{}'",
    # What the clock saw last. Worthless after a crash, so it costs no log writes.
    """
    CREATE UNLOGGED TABLE queue_looks (
        queue text COLLATE "C" CONSTRAINT queue_looks_pkey PRIMARY KEY,
        ready bigint NOT NULL,
        consumers integer NOT NULL,
        dead bigint NOT NULL,
        oldest_at timestamptz,
        looked_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE audits (
        audit_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audits_pkey PRIMARY KEY,
        finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        accounts bigint NOT NULL,
        transfers bigint NOT NULL,
        usage_records bigint NOT NULL,
        fault text
    )
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
