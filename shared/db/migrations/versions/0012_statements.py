"""Statements: what a month came to, frozen when it was closed, and the sums that they are made of.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE statements (
        account_id text COLLATE "C" NOT NULL,
        period_start timestamptz NOT NULL,
        document jsonb NOT NULL,
        last_seq bigint NOT NULL,
        head_hash bytea NOT NULL,
        closed_at timestamptz NOT NULL,
        key_id text,
        signature bytea,
        CONSTRAINT statements_pkey PRIMARY KEY (account_id, period_start)
    )
    """,
    # Those that were closed while there was no key are signed once there is one.
    "CREATE INDEX statements_unsigned ON statements (account_id, period_start) WHERE signature IS NULL",
    # How far the closing of each month has come, in order of the accounts' ids.
    """
    CREATE TABLE statement_closings (
        period_start timestamptz CONSTRAINT statement_closings_pkey PRIMARY KEY,
        through_account_id text COLLATE "C" NOT NULL DEFAULT '',
        finished_at timestamptz
    )
    """,
    # How far the transfers of an account are summed up, and the earliest month that takes the next one.
    """
    CREATE TABLE statement_rollups (
        account_id text COLLATE "C" CONSTRAINT statement_rollups_pkey PRIMARY KEY,
        rolled_seq bigint NOT NULL DEFAULT 0,
        open_period timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE statement_movements (
        account_id text COLLATE "C" NOT NULL,
        period_start timestamptz NOT NULL,
        day date NOT NULL,
        kind text NOT NULL,
        transfers bigint NOT NULL,
        amount_nanos bigint NOT NULL,
        quota_amount_nanos bigint NOT NULL,
        last_seq bigint NOT NULL,
        CONSTRAINT statement_movements_pkey PRIMARY KEY (account_id, period_start, day, kind)
    )
    """,
    # The provider is empty where a record names none: a key of a table has no nulls.
    """
    CREATE TABLE statement_usage (
        account_id text COLLATE "C" NOT NULL,
        period_start timestamptz NOT NULL,
        provider text NOT NULL,
        model text NOT NULL,
        records bigint NOT NULL,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        list_nanos bigint NOT NULL,
        charge_nanos bigint NOT NULL,
        quota_nanos bigint NOT NULL,
        balance_nanos bigint NOT NULL,
        uncollected_nanos bigint NOT NULL,
        CONSTRAINT statement_usage_pkey PRIMARY KEY (account_id, period_start, provider, model)
    )
    """,
    # The public keys of all signatures there are, so that old ones can be checked after a rotation.
    """
    CREATE TABLE signing_keys (
        key_id text COLLATE "C" CONSTRAINT signing_keys_pkey PRIMARY KEY,
        public_key bytea NOT NULL,
        first_used_at timestamptz NOT NULL,
        last_used_at timestamptz NOT NULL
    )
    """,
    # A month may hold a million transfers of usage; the few others are listed one by one.
    "CREATE INDEX transfers_not_usage ON transfers (account_id, seq) WHERE kind <> 'usage'",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
