"""What keys may do, and when they last did; keys of services and operators, which belong to no account.

Revision ID: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    ALTER TABLE api_keys
        ALTER COLUMN account_id DROP NOT NULL,
        ADD COLUMN scopes text[] NOT NULL DEFAULT '{usage,billing:read,billing:write}'
            CONSTRAINT api_keys_scopes_known
            CHECK (scopes <@ '{usage,billing:read,billing:write,service,admin}' AND scopes <> '{}'),
        ADD COLUMN last_used_at timestamptz,
        ADD CONSTRAINT api_keys_of_account_or_platform
            CHECK ((account_id IS NULL) = (scopes && '{service,admin}'))
    """,
    "ALTER TABLE api_keys ALTER COLUMN scopes DROP DEFAULT",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
