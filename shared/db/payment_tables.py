"""The tables of payments as SQLAlchemy Core sees them; those of the books are in ``tables``."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text

from shared.db.tables import Id, Time, metadata

auto_topups = Table(
    "auto_topups",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("threshold_nanos", BigInteger, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("max_per_day", Integer, nullable=False),
    Column("max_per_month", Integer, nullable=False),
    Column("soft_declines", Integer, nullable=False),
    Column("disabled_because", Text),
)

payment_customers = Table(
    "payment_customers",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("payment_method_id", Text),
)

topups = Table(
    "topups",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("topup_id", Id, primary_key=True),
    Column("automatic", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("payment_method_id", Text, nullable=False),
    Column("payment_intent_id", Text),
    Column("attempt", Integer, nullable=False),
    Column("detail", Text),
    Column("transfer_seq", BigInteger),
    Column("balance_after_nanos", BigInteger),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("next_step_at", Time),
    Column("charge_id", Text),
    Column("receipt_url", Text),
)
