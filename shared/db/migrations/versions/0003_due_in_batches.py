"""What is due for evaluation, written once a batch instead of once an account; an index for ended cycles.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = [
    # One row for each unit of work that changed accounts: an evaluation of them takes it away.
    "ALTER TABLE due_evaluations RENAME TO due_accounts",
    "ALTER TABLE due_accounts RENAME CONSTRAINT due_evaluations_pkey TO due_accounts_pkey",
    "DROP INDEX due_evaluations_due",
    """
    CREATE TABLE due_evaluations (
        due_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT due_evaluations_pkey PRIMARY KEY,
        account_ids text[] NOT NULL,
        due_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX due_evaluations_due ON due_evaluations (due_at)",
    # When an account is worth a look though nothing changes: a cool-down that ends.
    "ALTER TABLE evaluations ADD COLUMN look_again_at timestamptz",
    "CREATE INDEX evaluations_look_again ON evaluations (look_again_at) WHERE look_again_at IS NOT NULL",
    "INSERT INTO due_evaluations (account_ids) SELECT ARRAY[account_id] FROM due_accounts",
    "DROP TABLE due_accounts",
    # Ended cycles are found without a look at every account; usage moves neither column.
    "ALTER TABLE accounts ADD COLUMN cycle_end timestamptz",
    """
    UPDATE accounts a SET cycle_end = c.cycle_end FROM cycles c
    WHERE c.account_id = a.account_id AND c.cycle_start = a.cycle_start
    """,
    "CREATE INDEX accounts_to_roll ON accounts (cycle_end) WHERE plan_id IS NOT NULL",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
