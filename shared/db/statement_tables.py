"""The tables of statements as SQLAlchemy Core sees them."""

from sqlalchemy import BigInteger, Column, Date, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.tables import Id, Time, metadata

statements = Table(
    "statements",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("period_start", Time, primary_key=True),
    Column("document", JSONB, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("closed_at", Time, nullable=False),
    Column("key_id", Text),
    Column("signature", LargeBinary),
)

statement_closings = Table(
    "statement_closings",
    metadata,
    Column("period_start", Time, primary_key=True),
    Column("through_account_id", Id, nullable=False),
    Column("finished_at", Time),
)

statement_rollups = Table(
    "statement_rollups",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("rolled_seq", BigInteger, nullable=False),
    Column("open_period", Time, nullable=False),
)

statement_movements = Table(
    "statement_movements",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("period_start", Time, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("transfers", BigInteger, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("quota_amount_nanos", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
)

statement_usage = Table(
    "statement_usage",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("period_start", Time, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("list_nanos", BigInteger, nullable=False),
    Column("charge_nanos", BigInteger, nullable=False),
    Column("quota_nanos", BigInteger, nullable=False),
    Column("balance_nanos", BigInteger, nullable=False),
    Column("uncollected_nanos", BigInteger, nullable=False),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_id", Id, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("first_used_at", Time, nullable=False),
    Column("last_used_at", Time, nullable=False),
)
