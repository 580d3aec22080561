"""The tables of the console as SQLAlchemy Core sees them."""

from sqlalchemy import BigInteger, Column, Identity, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.tables import Id, Time, metadata

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("api_key_id", Id),
    Column("admin_check", LargeBinary),
    Column("member_id", Id),
    Column("notice", JSONB),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("member_id", Id, primary_key=True),
    Column("account_id", Id),
    Column("address", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("api_key_id", Id),
    Column("created_at", Time, nullable=False),
    Column("signed_in_at", Time),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("member_id", Id, nullable=False),
    Column("expires_at", Time, nullable=False),
)

operator_actions = Table(
    "operator_actions",
    metadata,
    Column("action_id", BigInteger, Identity(always=True), primary_key=True),
    Column("actor", Id, nullable=False),
    Column("action", Text, nullable=False),
    Column("account_id", Id),
    Column("detail", Text, nullable=False),
    Column("outcome", Text),
    Column("at", Time, nullable=False),
)
