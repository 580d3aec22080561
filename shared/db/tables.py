"""The tables as SQLAlchemy Core sees them. The migrations create them; a test keeps the two equal."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy import Time as ClockTime
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()

Id = Text(collation="C")
Time = DateTime(timezone=True)

plans = Table(
    "plans",
    metadata,
    Column("plan_id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("quota_nanos", BigInteger, nullable=False),
    Column("price_nanos", BigInteger, nullable=False),
    Column("discount_ppm", Integer, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("name", Text),
    Column("created_at", Time, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("balance_nanos", BigInteger, nullable=False),
    Column("plan_id", Id),
    Column("anchor", Time),
    Column("cycle_start", Time),
    Column("cycle_end", Time),
    Column("fallback", Boolean, nullable=False),
    Column("spending_limit_nanos", BigInteger),
    Column("frozen", Boolean, nullable=False),
    Column("billing", JSONB),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("api_key_id", Id, primary_key=True),
    Column("account_id", Id, index=False),
    Column("name", Text),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("limit_nanos", BigInteger),
    Column("limit_period", Text),
    Column("created_at", Time, nullable=False),
    Column("revoked_at", Time),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("last_used_at", Time),
)

cycles = Table(
    "cycles",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("cycle_start", Time, primary_key=True),
    Column("cycle_end", Time, nullable=False),
    Column("plan_id", Id, nullable=False),
    Column("quota_nanos", BigInteger, nullable=False),
    Column("discount_ppm", Integer, nullable=False),
    Column("quota_remaining_nanos", BigInteger, nullable=False),
    Column("spent_nanos", BigInteger, nullable=False),
)

transfers = Table(
    "transfers",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("amount_nanos", BigInteger, nullable=False),
    Column("balance_after_nanos", BigInteger, nullable=False),
    Column("quota_amount_nanos", BigInteger, nullable=False),
    Column("quota_after_nanos", BigInteger, nullable=False),
    Column("cycle_spent_after_nanos", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
    Column("occurred_at", Time, nullable=False),
    Column("rows_digest", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
    Column("idempotency_key", Id),
    Column("reverses_event_id", Id),
    Column("reverses_seq", BigInteger),
)

usage_ids = Table(
    "usage_ids",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("event_id", Id, primary_key=True),
    Column("transfer_seq", BigInteger, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
)

usage_records = Table(
    "usage_records",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("transfer_seq", BigInteger, primary_key=True),
    Column("event_id", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("api_key_id", Id),
    Column("provider", Text),
    Column("model", Text, nullable=False),
    Column("rate_id", BigInteger, nullable=False),
    Column("time", Time, nullable=False),
    Column("cycle_start", Time),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cache_read_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("input_audio_tokens", Integer, nullable=False),
    Column("output_audio_tokens", Integer, nullable=False),
    Column("list_nanos", BigInteger, nullable=False),
    Column("charge_nanos", BigInteger, nullable=False),
    Column("quota_nanos", BigInteger, nullable=False),
    Column("balance_nanos", BigInteger, nullable=False),
    Column("uncollected_nanos", BigInteger, nullable=False),
    Column("hold_id", Text),
    Column("metadata", Text),
    Column("digest", LargeBinary, nullable=False),
    # The table is divided by it into months; always the time of the row's transfer.
    Column("debited_at", Time, primary_key=True),
)

usage_periods = Table(
    "usage_periods",
    metadata,
    Column("period_start", Time, primary_key=True),
    Column("table_name", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("detached_at", Time, nullable=False),
)

usage_period_cycles = Table(
    "usage_period_cycles",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("cycle_start", Time, primary_key=True),
    Column("period_start", Time, primary_key=True),
    Column("quota_nanos", BigInteger, nullable=False),
    Column("balance_nanos", BigInteger, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("provider", Id, primary_key=True),
    Column("model", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("unsupported_because", Text),
)

rates = Table(
    "rates",
    metadata,
    Column("rate_id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Id, nullable=False),
    Column("model", Id, nullable=False),
    Column("effective_from", Time, nullable=False),
    Column("tiers", JSONB, nullable=False),
    Column("created_at", Time, nullable=False),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("provider_named", Id, primary_key=True),
    Column("model_named", Id, primary_key=True),
    Column("provider", Id, nullable=False),
    Column("model", Id, nullable=False),
)

price_book = Table(
    "price_book",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("entry_id", Id, primary_key=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("account_id", Id),
    Column("event_id", Text),
    Column("count", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("dismissed_because", Text),
    Column("first_seen_at", Time, nullable=False),
    Column("last_seen_at", Time, nullable=False),
)

processes = Table(
    "processes",
    metadata,
    Column("process_id", Id, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("in_flight", Integer, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("started_at", Time, nullable=False),
    Column("seen_at", Time, nullable=False),
    # By queue: when the last message was sent that the process began to handle, in Unix milliseconds.
    Column("taken_until", JSONB, nullable=False),
)

queue_looks = Table(
    "queue_looks",
    metadata,
    Column("queue", Id, primary_key=True),
    Column("ready", BigInteger, nullable=False),
    Column("consumers", Integer, nullable=False),
    Column("dead", BigInteger, nullable=False),
    Column("oldest_at", Time),
    Column("looked_at", Time, nullable=False),
)

audits = Table(
    "audits",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("finished_at", Time, nullable=False),
    Column("accounts", BigInteger, nullable=False),
    Column("transfers", BigInteger, nullable=False),
    Column("usage_records", BigInteger, nullable=False),
    Column("fault", Text),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("evaluated_seq", BigInteger, nullable=False),
    Column("told_level", Text, nullable=False),
    Column("told_quota", Boolean, nullable=False),
    Column("told_spending_limit", Boolean, nullable=False),
    Column("look_again_at", Time),
    Column("pace", LargeBinary),
)

alert_settings = Table(
    "alert_settings",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("low_nanos", BigInteger),
    Column("warning_nanos", BigInteger),
    Column("critical_nanos", BigInteger),
    Column("quiet_start", ClockTime),
    Column("quiet_end", ClockTime),
    Column("time_zone", Text),
)

alert_rules = Table(
    "alert_rules",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("bound", BigInteger, primary_key=True),
    Column("told", Boolean, nullable=False),
    Column("period_start", Time),
    Column("spent_nanos", BigInteger, nullable=False),
)

due_evaluations = Table(
    "due_evaluations",
    metadata,
    Column("due_id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_ids", ARRAY(Text), nullable=False),
    Column("due_at", Time, nullable=False),
)

key_spend = Table(
    "key_spend",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("api_key_id", Id, primary_key=True),
    Column("period_start", Time, primary_key=True),
    Column("spent_nanos", BigInteger, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("occurred_at", Time, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("delivered_at", Time),
    Column("quiet_until", Time),
    Column("written_by", BigInteger),
    Column("written_after", BigInteger),
)

mail_recipients = Table(
    "mail_recipients",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("recipient_id", Id, primary_key=True),
    Column("address", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("refused_because", Text),
)

holds = Table(
    "holds",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("hold_id", Id, primary_key=True),
    Column("api_key_id", Id),
    Column("list_nanos", BigInteger, nullable=False),
    Column("expires_at", Time, nullable=False),
)

gate_marker = Table(
    "gate_marker",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    Column("marker", Text, nullable=False),
    Column("emptied_at", Time),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("day", Time, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("api_key_id", Id, primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("list_nanos", BigInteger, nullable=False),
    Column("charge_nanos", BigInteger, nullable=False),
    Column("quota_nanos", BigInteger, nullable=False),
    Column("balance_nanos", BigInteger, nullable=False),
    Column("uncollected_nanos", BigInteger, nullable=False),
)

usage_rollups = Table(
    "usage_rollups",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("rolled_seq", BigInteger, nullable=False),
)

gate_mode = Table(
    "gate_mode",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    Column("turn", BigInteger, nullable=False),
    Column("away_since", Time),
    Column("away_until", Time),
)
