"""Usage by day, for people to look at: rolled up from the books when somebody asks.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = [
    # Provider and key are empty where a record names none: a key of a table has no nulls.
    """
    CREATE TABLE usage_days (
        account_id text COLLATE "C" NOT NULL,
        day timestamptz NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        api_key_id text COLLATE "C" NOT NULL,
        records bigint NOT NULL,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        list_nanos bigint NOT NULL,
        charge_nanos bigint NOT NULL,
        quota_nanos bigint NOT NULL,
        balance_nanos bigint NOT NULL,
        uncollected_nanos bigint NOT NULL,
        CONSTRAINT usage_days_pkey PRIMARY KEY (account_id, day, provider, model, api_key_id)
    )
    """,
    # How far the transfers of an account are in there.
    """
    CREATE TABLE usage_rollups (
        account_id text COLLATE "C" CONSTRAINT usage_rollups_pkey PRIMARY KEY,
        rolled_seq bigint NOT NULL DEFAULT 0
    )
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
