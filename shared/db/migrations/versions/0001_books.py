"""The books: plans, accounts, cycles, transfers, usage; prices; quarantine.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Ids compare by byte (COLLATE "C"): the order in which rows are locked and digested is the same everywhere.
# Tables that grow lead their primary key with account_id, so that they can be partitioned and distributed.
STATEMENTS = [
    """
    CREATE TABLE plans (
        plan_id text COLLATE "C" CONSTRAINT plans_pkey PRIMARY KEY,
        name text NOT NULL,
        quota_nanos bigint NOT NULL CONSTRAINT plans_quota_not_negative CHECK (quota_nanos >= 0),
        price_nanos bigint NOT NULL CONSTRAINT plans_price_not_negative CHECK (price_nanos >= 0),
        discount_ppm integer NOT NULL CONSTRAINT plans_discount_range
            CHECK (discount_ppm BETWEEN 0 AND 1000000),
        time_zone text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # Each change of an account moves its version. Room in each page keeps those updates off the index.
    """
    CREATE TABLE accounts (
        account_id text COLLATE "C" CONSTRAINT accounts_pkey PRIMARY KEY,
        name text,
        created_at timestamptz NOT NULL DEFAULT now(),
        version bigint NOT NULL DEFAULT 0,
        seq bigint NOT NULL DEFAULT 0,
        head_hash bytea NOT NULL,
        balance_nanos bigint NOT NULL DEFAULT 0,
        plan_id text COLLATE "C" CONSTRAINT accounts_plan_fkey REFERENCES plans,
        anchor timestamptz,
        cycle_start timestamptz,
        fallback boolean NOT NULL DEFAULT false,
        spending_limit_nanos bigint CONSTRAINT accounts_limit_not_negative CHECK (spending_limit_nanos >= 0),
        frozen boolean NOT NULL DEFAULT false
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE api_keys (
        api_key_id text COLLATE "C" CONSTRAINT api_keys_pkey PRIMARY KEY,
        account_id text COLLATE "C" NOT NULL CONSTRAINT api_keys_account_fkey REFERENCES accounts,
        name text,
        secret_hash bytea NOT NULL CONSTRAINT api_keys_secret_unique UNIQUE,
        limit_nanos bigint CONSTRAINT api_keys_limit_not_negative CHECK (limit_nanos >= 0),
        limit_period text CONSTRAINT api_keys_period_known CHECK (limit_period IN ('total', 'day', 'month')),
        created_at timestamptz NOT NULL DEFAULT now(),
        revoked_at timestamptz,
        CONSTRAINT api_keys_limit_has_period CHECK ((limit_nanos IS NULL) = (limit_period IS NULL))
    )
    """,
    "CREATE INDEX api_keys_account ON api_keys (account_id)",
    """
    CREATE TABLE cycles (
        account_id text COLLATE "C" NOT NULL,
        cycle_start timestamptz NOT NULL,
        cycle_end timestamptz NOT NULL,
        plan_id text COLLATE "C" NOT NULL,
        quota_nanos bigint NOT NULL,
        discount_ppm integer NOT NULL,
        quota_remaining_nanos bigint NOT NULL CONSTRAINT cycles_quota_covers
            CHECK (quota_remaining_nanos >= 0),
        spent_nanos bigint NOT NULL,
        CONSTRAINT cycles_pkey PRIMARY KEY (account_id, cycle_start)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE transfers (
        account_id text COLLATE "C" NOT NULL,
        seq bigint NOT NULL,
        kind text NOT NULL,
        amount_nanos bigint NOT NULL,
        balance_after_nanos bigint NOT NULL,
        quota_amount_nanos bigint NOT NULL,
        quota_after_nanos bigint NOT NULL,
        cycle_spent_after_nanos bigint NOT NULL,
        cause text NOT NULL,
        occurred_at timestamptz NOT NULL,
        rows_digest bytea,
        hash bytea NOT NULL,
        idempotency_key text COLLATE "C",
        reverses_event_id text COLLATE "C",
        CONSTRAINT transfers_pkey PRIMARY KEY (account_id, seq)
    )
    """,
    """
    CREATE UNIQUE INDEX transfers_idempotency_unique ON transfers (account_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """,
    """
    CREATE UNIQUE INDEX transfers_void_once ON transfers (account_id, reverses_event_id)
        WHERE reverses_event_id IS NOT NULL
    """,
    # Ids outlive usage_records: those can be partitioned by time and detached without an id becoming free.
    """
    CREATE TABLE usage_ids (
        account_id text COLLATE "C" NOT NULL,
        event_id text COLLATE "C" NOT NULL,
        transfer_seq bigint NOT NULL,
        fingerprint bytea NOT NULL,
        CONSTRAINT usage_ids_pkey PRIMARY KEY (account_id, event_id)
    )
    """,
    """
    CREATE TABLE usage_records (
        account_id text COLLATE "C" NOT NULL,
        transfer_seq bigint NOT NULL,
        event_id text COLLATE "C" NOT NULL,
        source text NOT NULL,
        api_key_id text COLLATE "C",
        provider text,
        model text NOT NULL,
        rate_id bigint NOT NULL,
        time timestamptz NOT NULL,
        cycle_start timestamptz,
        input_tokens integer NOT NULL,
        output_tokens integer NOT NULL,
        cache_read_tokens integer NOT NULL,
        cache_write_tokens integer NOT NULL,
        input_audio_tokens integer NOT NULL,
        output_audio_tokens integer NOT NULL,
        list_nanos bigint NOT NULL,
        charge_nanos bigint NOT NULL,
        quota_nanos bigint NOT NULL,
        balance_nanos bigint NOT NULL,
        uncollected_nanos bigint NOT NULL,
        hold_id text,
        metadata text,
        digest bytea NOT NULL,
        CONSTRAINT usage_records_pkey PRIMARY KEY (account_id, transfer_seq, event_id)
    )
    """,
    """
    CREATE TABLE models (
        provider text COLLATE "C" NOT NULL,
        model text COLLATE "C" NOT NULL,
        source text NOT NULL,
        unsupported_because text,
        CONSTRAINT models_pkey PRIMARY KEY (provider, model)
    )
    """,
    """
    CREATE TABLE rates (
        rate_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT rates_pkey PRIMARY KEY,
        provider text COLLATE "C" NOT NULL,
        model text COLLATE "C" NOT NULL,
        effective_from timestamptz NOT NULL,
        tiers jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT rates_once_per_instant UNIQUE (provider, model, effective_from),
        CONSTRAINT rates_model_fkey FOREIGN KEY (provider, model) REFERENCES models
    )
    """,
    """
    CREATE TABLE model_aliases (
        provider_named text COLLATE "C" NOT NULL,
        model_named text COLLATE "C" NOT NULL,
        provider text COLLATE "C" NOT NULL,
        model text COLLATE "C" NOT NULL,
        CONSTRAINT model_aliases_pkey PRIMARY KEY (provider_named, model_named),
        CONSTRAINT model_aliases_model_fkey FOREIGN KEY (provider, model) REFERENCES models
    )
    """,
    # One row; its version tells the pricing workers when to read the prices again.
    """
    CREATE TABLE price_book (
        only_row boolean DEFAULT true CONSTRAINT price_book_pkey PRIMARY KEY
            CONSTRAINT price_book_one_row CHECK (only_row),
        version bigint NOT NULL
    )
    """,
    "INSERT INTO price_book (version) VALUES (1)",
    """
    CREATE TABLE quarantine (
        entry_id text COLLATE "C" CONSTRAINT quarantine_pkey PRIMARY KEY,
        content_hash bytea NOT NULL CONSTRAINT quarantine_identical_are_one UNIQUE,
        reason text NOT NULL,
        detail text NOT NULL,
        raw bytea NOT NULL,
        account_id text COLLATE "C",
        event_id text,
        count bigint NOT NULL,
        status text NOT NULL CONSTRAINT quarantine_status_known
            CHECK (status IN ('open', 'released', 'dismissed')),
        dismissed_because text,
        first_seen_at timestamptz NOT NULL DEFAULT now(),
        last_seen_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX quarantine_open ON quarantine (reason, first_seen_at) WHERE status = 'open'",
    # What each worker process holds right now. Worthless after a crash, so it costs no log writes.
    """
    CREATE UNLOGGED TABLE processes (
        process_id text COLLATE "C" CONSTRAINT processes_pkey PRIMARY KEY,
        stage text NOT NULL,
        queues text[] NOT NULL,
        in_flight integer NOT NULL,
        received bigint NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now()
    )
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
