"""Alerts for receivers of their own: endpoints of webhooks, and each delivery.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = [
    # An operator's endpoint has the empty account: a key of a table has no nulls. No types means all types.
    """
    CREATE TABLE webhook_endpoints (
        account_id text COLLATE "C" NOT NULL,
        endpoint_id text COLLATE "C" NOT NULL,
        url text NOT NULL,
        event_types text[] NOT NULL,
        description text,
        secret text NOT NULL,
        old_secret text,
        old_secret_until timestamptz,
        enabled boolean NOT NULL,
        disabled_because text,
        failing_since timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (account_id, endpoint_id),
        CONSTRAINT webhook_endpoints_old_secret_ends
            CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
        CONSTRAINT webhook_endpoints_disabled_for_a_reason CHECK (enabled = (disabled_because IS NULL))
    )
    """,
    # account_id is the target's; the alert may be another's, for an operator. A digest has no alert.
    """
    CREATE TABLE alert_deliveries (
        account_id text COLLATE "C" NOT NULL,
        delivery_id text COLLATE "C" NOT NULL,
        channel text NOT NULL CONSTRAINT alert_deliveries_channel_known
            CHECK (channel IN ('webhook', 'mail')),
        target_id text COLLATE "C" NOT NULL,
        alert_account_id text COLLATE "C",
        sequence bigint,
        digest_id text COLLATE "C",
        state text NOT NULL CONSTRAINT alert_deliveries_state_known
            CHECK (state IN ('waiting', 'held', 'digested', 'sent', 'failed')),
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        taken_until timestamptz,
        status integer,
        detail text,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT alert_deliveries_pkey PRIMARY KEY (account_id, delivery_id),
        CONSTRAINT alert_deliveries_once UNIQUE (account_id, channel, target_id, sequence),
        CONSTRAINT alert_deliveries_alert_whole CHECK ((alert_account_id IS NULL) = (sequence IS NULL)),
        CONSTRAINT alert_deliveries_open_has_a_time
            CHECK ((next_attempt_at IS NOT NULL) = (state IN ('waiting', 'held')))
    )
    """,
    """
    CREATE INDEX alert_deliveries_due ON alert_deliveries (channel, next_attempt_at)
    WHERE next_attempt_at IS NOT NULL
    """,
    """
    CREATE INDEX alert_deliveries_taken ON alert_deliveries (channel, target_id)
    WHERE taken_until IS NOT NULL
    """,
    """
    CREATE INDEX alert_deliveries_of_target
    ON alert_deliveries (account_id, channel, target_id, created_at, delivery_id)
    """,
    """
    CREATE INDEX alert_deliveries_digest ON alert_deliveries (account_id, digest_id)
    WHERE digest_id IS NOT NULL
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
