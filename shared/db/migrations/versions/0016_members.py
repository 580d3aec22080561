"""People who sign in by mail: the members of an account and of the platform, and their links.

Revision ID: 0016
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE members (
        member_id text COLLATE "C" CONSTRAINT members_pkey PRIMARY KEY,
        account_id text COLLATE "C" CONSTRAINT members_account_fkey REFERENCES accounts,
        address text NOT NULL,
        role text NOT NULL,
        api_key_id text COLLATE "C" CONSTRAINT members_key_fkey REFERENCES api_keys,
        created_at timestamptz NOT NULL DEFAULT now(),
        signed_in_at timestamptz,
        CONSTRAINT members_role_known CHECK (role IN ('owner', 'billing', 'member', 'operator', 'auditor')),
        CONSTRAINT members_of_account_or_platform
            CHECK ((account_id IS NULL) = (role IN ('operator', 'auditor'))),
        CONSTRAINT members_have_a_key CHECK ((role = 'member') = (api_key_id IS NOT NULL)),
        CONSTRAINT members_address_lower CHECK (address = lower(address))
    )
    """,
    # One person has one role in an account, and may be in several accounts.
    """
    CREATE UNIQUE INDEX members_once ON members (address, coalesce(account_id, ''))
    """,
    "CREATE INDEX members_by_account ON members (account_id)",
    "CREATE INDEX members_by_key ON members (api_key_id) WHERE api_key_id IS NOT NULL",
    # A link that was used is gone: so none is used twice.
    """
    CREATE TABLE sign_in_links (
        token_hash bytea CONSTRAINT sign_in_links_pkey PRIMARY KEY,
        member_id text COLLATE "C" NOT NULL
            CONSTRAINT sign_in_links_of_member REFERENCES members ON DELETE CASCADE,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX sign_in_links_by_member ON sign_in_links (member_id)",
    """
    ALTER TABLE console_sessions
        ADD COLUMN member_id text COLLATE "C"
            CONSTRAINT console_sessions_of_member REFERENCES members ON DELETE CASCADE,
        DROP CONSTRAINT console_sessions_of_somebody,
        ADD CONSTRAINT console_sessions_of_somebody
            CHECK (num_nonnulls(api_key_id, admin_check, member_id) = 1)
    """,
    "CREATE INDEX console_sessions_by_member ON console_sessions (member_id) WHERE member_id IS NOT NULL",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
