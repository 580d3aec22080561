"""When money runs low: evaluations, alerts, top-ups.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = [
    # How far the fold over an account's transfers has come, and what it remembers.
    """
    CREATE TABLE evaluations (
        account_id text COLLATE "C" CONSTRAINT evaluations_pkey PRIMARY KEY,
        evaluated_seq bigint NOT NULL DEFAULT 0,
        told_level text NOT NULL DEFAULT 'normal',
        told_quota boolean NOT NULL DEFAULT false,
        told_spending_limit boolean NOT NULL DEFAULT false
    ) WITH (fillfactor = 70)
    """,
    # Accounts with something to evaluate, from due_at on. The mark moves with each new reason, so that an
    # evaluation takes away only what it has seen.
    """
    CREATE TABLE due_evaluations (
        account_id text COLLATE "C" CONSTRAINT due_evaluations_pkey PRIMARY KEY,
        due_at timestamptz NOT NULL,
        mark bigint NOT NULL
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX due_evaluations_due ON due_evaluations (due_at)",
    """
    CREATE TABLE key_spend (
        account_id text COLLATE "C" NOT NULL,
        api_key_id text COLLATE "C" NOT NULL,
        period_start timestamptz NOT NULL,
        spent_nanos bigint NOT NULL,
        CONSTRAINT key_spend_pkey PRIMARY KEY (account_id, api_key_id, period_start)
    )
    """,
    # An alert belongs to an account, or to nobody (''). It is undelivered until the broker has confirmed it.
    """
    CREATE TABLE alerts (
        account_id text COLLATE "C" NOT NULL,
        sequence bigint GENERATED ALWAYS AS IDENTITY,
        type text NOT NULL,
        data jsonb NOT NULL,
        occurred_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        delivered_at timestamptz,
        CONSTRAINT alerts_pkey PRIMARY KEY (account_id, sequence)
    )
    """,
    "CREATE INDEX alerts_undelivered ON alerts (sequence) WHERE delivered_at IS NULL",
    """
    CREATE TABLE auto_topups (
        account_id text COLLATE "C" CONSTRAINT auto_topups_pkey PRIMARY KEY
            CONSTRAINT auto_topups_account_fkey REFERENCES accounts,
        enabled boolean NOT NULL,
        threshold_nanos bigint NOT NULL
            CONSTRAINT auto_topups_threshold_not_negative CHECK (threshold_nanos >= 0),
        amount_nanos bigint NOT NULL CONSTRAINT auto_topups_minimum CHECK (amount_nanos >= 5000000000),
        max_per_day integer NOT NULL,
        max_per_month integer NOT NULL,
        soft_declines integer NOT NULL DEFAULT 0,
        disabled_because text
    )
    """,
    """
    CREATE TABLE payment_customers (
        account_id text COLLATE "C" CONSTRAINT payment_customers_pkey PRIMARY KEY
            CONSTRAINT payment_customers_account_fkey REFERENCES accounts,
        customer_id text NOT NULL,
        payment_method_id text
    )
    """,
    """
    CREATE TABLE topups (
        account_id text COLLATE "C" NOT NULL,
        topup_id text COLLATE "C" NOT NULL,
        automatic boolean NOT NULL,
        state text NOT NULL,
        amount_nanos bigint NOT NULL CONSTRAINT topups_minimum CHECK (amount_nanos >= 5000000000),
        payment_method_id text NOT NULL,
        payment_intent_id text,
        attempt integer NOT NULL DEFAULT 1,
        detail text,
        transfer_seq bigint,
        balance_after_nanos bigint,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        next_step_at timestamptz,
        CONSTRAINT topups_pkey PRIMARY KEY (account_id, topup_id),
        CONSTRAINT topups_credited_once UNIQUE (account_id, transfer_seq)
    )
    """,
    # Fifty workers that see the same low balance make one top-up.
    """
    CREATE UNIQUE INDEX topups_one_open_automatic ON topups (account_id)
        WHERE automatic
        AND state IN ('pending', 'created', 'confirming', 'processing', 'retry_wait', 'action_required')
    """,
    "CREATE INDEX topups_next_step ON topups (next_step_at) WHERE next_step_at IS NOT NULL",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
