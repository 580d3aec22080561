"""An account's own bounds, quiet hours and rules; its pace; automatic top-ups before the balance is used up.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = [
    # What an account spent, condensed as shared/domain/pace.py lays it out. NULL: nothing yet.
    "ALTER TABLE evaluations ADD COLUMN pace bytea",
    # A bound that is NULL is that of everybody.
    """
    CREATE TABLE alert_settings (
        account_id text COLLATE "C" CONSTRAINT alert_settings_pkey PRIMARY KEY
            CONSTRAINT alert_settings_account_fkey REFERENCES accounts,
        low_nanos bigint,
        warning_nanos bigint,
        critical_nanos bigint,
        quiet_start time,
        quiet_end time,
        time_zone text,
        CONSTRAINT alert_settings_quiet_hours CHECK (num_nulls(quiet_start, quiet_end, time_zone) IN (0, 3))
    )
    """,
    # The unit of a bound follows from the kind: nanos, percent, minutes. The rest is what it remembers.
    """
    CREATE TABLE alert_rules (
        account_id text COLLATE "C" NOT NULL
            CONSTRAINT alert_rules_settings_fkey REFERENCES alert_settings,
        kind text NOT NULL,
        bound bigint NOT NULL CONSTRAINT alert_rules_bound_positive CHECK (bound > 0),
        told boolean NOT NULL DEFAULT false,
        period_start timestamptz,
        spent_nanos bigint NOT NULL DEFAULT 0,
        CONSTRAINT alert_rules_pkey PRIMARY KEY (account_id, kind, bound)
    )
    """,
    # People are told then; machines at once.
    "ALTER TABLE alerts ADD COLUMN quiet_until timestamptz",
    """
    ALTER TABLE auto_topups ADD COLUMN lead_minutes integer
        CONSTRAINT auto_topups_lead_positive CHECK (lead_minutes > 0)
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
