"""Payments: Checkout, caps in money, refunds, disputes, Stripe's events, invoices, differences.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = [
    # A top-up by Checkout has no card of ours, and gets its intent when its owner pays. What refunds reserved
    # and disputes took of a charge is never more than the charge. Until waits_until no step is taken, however
    # often one is asked for; at action_url its owner authenticates.
    """
    ALTER TABLE topups
        ALTER COLUMN payment_method_id DROP NOT NULL,
        ADD COLUMN channel text NOT NULL DEFAULT 'card'
            CONSTRAINT topups_channel_known CHECK (channel IN ('card', 'checkout')),
        ADD COLUMN saves_card boolean NOT NULL DEFAULT false,
        ADD COLUMN checkout_session_id text,
        ADD COLUMN checkout_url text,
        ADD COLUMN create_attempt integer NOT NULL DEFAULT 1,
        ADD COLUMN declined_charge_id text,
        ADD COLUMN waits_until timestamptz,
        ADD COLUMN action_url text,
        ADD COLUMN idempotency_key text COLLATE "C",
        ADD COLUMN refunded_nanos bigint NOT NULL DEFAULT 0,
        ADD COLUMN disputed_nanos bigint NOT NULL DEFAULT 0,
        ADD COLUMN invoice_due_at timestamptz,
        ADD CONSTRAINT topups_not_taken_twice
            CHECK (refunded_nanos >= 0 AND disputed_nanos >= 0
                   AND refunded_nanos + disputed_nanos <= amount_nanos)
    """,
    # What was paid before there were invoices gets one too.
    "UPDATE topups SET invoice_due_at = now() WHERE state = 'succeeded'",
    # Steps name a top-up, a refund or a dispute by its id alone.
    "CREATE INDEX topups_of_id ON topups (topup_id)",
    "CREATE INDEX topups_of_intent ON topups (payment_intent_id) WHERE payment_intent_id IS NOT NULL",
    "CREATE INDEX topups_of_session ON topups (checkout_session_id) WHERE checkout_session_id IS NOT NULL",
    "CREATE INDEX topups_invoice_due ON topups (invoice_due_at) WHERE invoice_due_at IS NOT NULL",
    """
    CREATE UNIQUE INDEX topups_asked_once ON topups (account_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """,
    """
    ALTER TABLE auto_topups
        ADD COLUMN max_per_day_nanos bigint
            CONSTRAINT auto_topups_day_positive CHECK (max_per_day_nanos > 0),
        ADD COLUMN max_per_month_nanos bigint
            CONSTRAINT auto_topups_month_positive CHECK (max_per_month_nanos > 0)
    """,
    # Who an invoice is made out to.
    "ALTER TABLE accounts ADD COLUMN billing jsonb",
    # A correction names the transfer it reverses, which is older; and a taking is given back at most once.
    """
    ALTER TABLE transfers
        ADD COLUMN reverses_seq bigint CONSTRAINT transfers_reverses_older CHECK (reverses_seq < seq)
    """,
    """
    CREATE UNIQUE INDEX transfers_given_back_once ON transfers (account_id, reverses_seq)
        WHERE kind IN ('refund_returned', 'dispute_reinstated')
    """,
    # What reversed a transfer is found without a walk through all transfers of its account.
    "CREATE INDEX transfers_reversed ON transfers (account_id, reverses_seq) WHERE reverses_seq IS NOT NULL",
    # Reserved in the books before Stripe is asked; a refund that fails later is given back by a transfer.
    """
    CREATE TABLE refunds (
        account_id text COLLATE "C" NOT NULL,
        refund_id text COLLATE "C" NOT NULL,
        topup_id text COLLATE "C" NOT NULL,
        state text NOT NULL CONSTRAINT refunds_state_known
            CHECK (state IN ('reserved', 'pending', 'succeeded', 'failed', 'quarantined')),
        amount_nanos bigint NOT NULL CONSTRAINT refunds_positive CHECK (amount_nanos > 0),
        reason text NOT NULL,
        detail text,
        attempt integer NOT NULL DEFAULT 1,
        stripe_refund_id text,
        transfer_seq bigint NOT NULL,
        returned_seq bigint,
        idempotency_key text COLLATE "C",
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        next_step_at timestamptz,
        CONSTRAINT refunds_pkey PRIMARY KEY (account_id, refund_id),
        CONSTRAINT refunds_of_topup FOREIGN KEY (account_id, topup_id) REFERENCES topups,
        CONSTRAINT refunds_asked_once UNIQUE (account_id, idempotency_key)
    )
    """,
    "CREATE INDEX refunds_of_id ON refunds (refund_id)",
    "CREATE INDEX refunds_next_step ON refunds (next_step_at) WHERE next_step_at IS NOT NULL",
    "CREATE INDEX refunds_of_stripe ON refunds (stripe_refund_id) WHERE stripe_refund_id IS NOT NULL",
    """
    CREATE TABLE disputes (
        account_id text COLLATE "C" NOT NULL,
        dispute_id text COLLATE "C" NOT NULL,
        topup_id text COLLATE "C" NOT NULL,
        status text NOT NULL,
        reason text NOT NULL,
        amount_nanos bigint NOT NULL,
        taken_nanos bigint NOT NULL DEFAULT 0
            CONSTRAINT disputes_take_at_most_all CHECK (taken_nanos BETWEEN 0 AND amount_nanos),
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT disputes_pkey PRIMARY KEY (account_id, dispute_id),
        CONSTRAINT disputes_of_topup FOREIGN KEY (account_id, topup_id) REFERENCES topups
    )
    """,
    "CREATE INDEX disputes_of_id ON disputes (dispute_id)",
    # Stored once by Stripe's id, answered at once, processed by a worker.
    """
    CREATE TABLE stripe_events (
        event_id text COLLATE "C" CONSTRAINT stripe_events_pkey PRIMARY KEY,
        type text NOT NULL,
        object_id text NOT NULL,
        created_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        processed_at timestamptz,
        detail text,
        next_step_at timestamptz
    )
    """,
    "CREATE INDEX stripe_events_next_step ON stripe_events (next_step_at) WHERE next_step_at IS NOT NULL",
    # Numbered without gaps: the number is taken, and the invoice written, in one transaction.
    """
    CREATE TABLE invoice_numbers (
        only_row boolean DEFAULT true CONSTRAINT invoice_numbers_pkey PRIMARY KEY
            CONSTRAINT invoice_numbers_one_row CHECK (only_row),
        last_number bigint NOT NULL
    )
    """,
    "INSERT INTO invoice_numbers (last_number) VALUES (0)",
    """
    CREATE TABLE invoices (
        account_id text COLLATE "C" NOT NULL,
        number bigint NOT NULL,
        topup_id text COLLATE "C" NOT NULL,
        issued_at timestamptz NOT NULL,
        document jsonb NOT NULL,
        CONSTRAINT invoices_pkey PRIMARY KEY (account_id, number),
        CONSTRAINT invoices_one_a_topup UNIQUE (account_id, topup_id),
        CONSTRAINT invoices_of_topup FOREIGN KEY (account_id, topup_id) REFERENCES topups
    )
    """,
    "CREATE INDEX invoices_of_number ON invoices (number)",
    """
    CREATE TABLE payment_differences (
        difference_id text COLLATE "C" CONSTRAINT payment_differences_pkey PRIMARY KEY,
        kind text NOT NULL,
        stripe_id text NOT NULL,
        account_id text COLLATE "C",
        topup_id text COLLATE "C",
        detail text NOT NULL,
        state text NOT NULL CONSTRAINT payment_differences_state_known
            CHECK (state IN ('open', 'mended', 'dismissed')),
        first_seen_at timestamptz NOT NULL DEFAULT now(),
        last_seen_at timestamptz NOT NULL DEFAULT now(),
        dismissed_because text,
        CONSTRAINT payment_differences_once UNIQUE (kind, stripe_id)
    )
    """,
    # Comparing with Stripe asks for what is credited lately and for what is open, every two minutes.
    "CREATE INDEX transfers_of_topups ON transfers (occurred_at) WHERE kind = 'topup'",
    """
    CREATE INDEX topups_open ON topups (updated_at)
        WHERE state IN ('pending', 'created', 'confirming', 'processing', 'retry_wait', 'action_required')
    """,
    # How far Stripe was compared with the books, and its events were listed.
    """
    CREATE TABLE stripe_progress (
        task text CONSTRAINT stripe_progress_pkey PRIMARY KEY
            CONSTRAINT stripe_progress_task_known CHECK (task IN ('reconciliation', 'events')),
        done_until timestamptz NOT NULL,
        finished_at timestamptz NOT NULL
    )
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
