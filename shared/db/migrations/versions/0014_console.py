"""Sessions of the console, what operators did, and keys of auditors.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = [
    # A session lives as long as the key it was begun with; that of the operator's key in the settings has a
    # check instead, which holds as long as the key is the same.
    """
    CREATE TABLE console_sessions (
        token_hash bytea CONSTRAINT console_sessions_pkey PRIMARY KEY,
        api_key_id text COLLATE "C" CONSTRAINT console_sessions_of_key REFERENCES api_keys,
        admin_check bytea,
        notice jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT console_sessions_of_somebody CHECK ((api_key_id IS NULL) <> (admin_check IS NULL))
    )
    """,
    "CREATE INDEX console_sessions_by_end ON console_sessions (expires_at)",
    "CREATE INDEX console_sessions_by_key ON console_sessions (api_key_id) WHERE api_key_id IS NOT NULL",
    # The outcome is absent where a process died in between: then nobody knows whether it was done.
    """
    CREATE TABLE operator_actions (
        action_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT operator_actions_pkey PRIMARY KEY,
        actor text COLLATE "C" NOT NULL,
        action text NOT NULL,
        account_id text COLLATE "C",
        detail text NOT NULL,
        outcome text,
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX operator_actions_by_account ON operator_actions (account_id, action_id)",
    """
    ALTER TABLE api_keys
        DROP CONSTRAINT api_keys_scopes_known,
        DROP CONSTRAINT api_keys_of_account_or_platform,
        ADD CONSTRAINT api_keys_scopes_known CHECK (
            scopes <@ '{usage,billing:read,billing:write,service,audit:read,admin}' AND scopes <> '{}'
        ),
        ADD CONSTRAINT api_keys_of_account_or_platform
            CHECK ((account_id IS NULL) = (scopes && '{service,audit:read,admin}'))
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
