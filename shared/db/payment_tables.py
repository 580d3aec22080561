"""The tables of payments as SQLAlchemy Core sees them; those of the books are in ``tables``."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

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
    Column("max_per_day_nanos", BigInteger),
    Column("max_per_month_nanos", BigInteger),
    Column("lead_minutes", Integer),
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
    Column("payment_method_id", Text),
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
    Column("channel", Text, nullable=False),
    Column("saves_card", Boolean, nullable=False),
    Column("checkout_session_id", Text),
    Column("checkout_url", Text),
    Column("create_attempt", Integer, nullable=False),
    Column("declined_charge_id", Text),
    Column("waits_until", Time),
    Column("action_url", Text),
    Column("idempotency_key", Id),
    Column("refunded_nanos", BigInteger, nullable=False),
    Column("disputed_nanos", BigInteger, nullable=False),
    Column("invoice_due_at", Time),
)

refunds = Table(
    "refunds",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("refund_id", Id, primary_key=True),
    Column("topup_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text),
    Column("attempt", Integer, nullable=False),
    Column("stripe_refund_id", Text),
    Column("transfer_seq", BigInteger, nullable=False),
    Column("returned_seq", BigInteger),
    Column("idempotency_key", Id),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("next_step_at", Time),
)

disputes = Table(
    "disputes",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("dispute_id", Id, primary_key=True),
    Column("topup_id", Id, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("taken_nanos", BigInteger, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
)

stripe_events = Table(
    "stripe_events",
    metadata,
    Column("event_id", Id, primary_key=True),
    Column("type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("received_at", Time, nullable=False),
    Column("processed_at", Time),
    Column("detail", Text),
    Column("next_step_at", Time),
)

invoice_numbers = Table(
    "invoice_numbers",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    Column("last_number", BigInteger, nullable=False),
)

invoices = Table(
    "invoices",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("topup_id", Id, nullable=False),
    Column("issued_at", Time, nullable=False),
    Column("document", JSONB, nullable=False),
)

payment_differences = Table(
    "payment_differences",
    metadata,
    Column("difference_id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("stripe_id", Text, nullable=False),
    Column("account_id", Id),
    Column("topup_id", Id),
    Column("detail", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_seen_at", Time, nullable=False),
    Column("last_seen_at", Time, nullable=False),
    Column("dismissed_because", Text),
)

stripe_progress = Table(
    "stripe_progress",
    metadata,
    Column("task", Text, primary_key=True),
    Column("done_until", Time, nullable=False),
    Column("finished_at", Time, nullable=False),
)
