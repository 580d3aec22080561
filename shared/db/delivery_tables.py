"""The tables of deliveries as SQLAlchemy Core sees them; those of the books are in ``tables``."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from shared.db.tables import Id, Time, metadata

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("endpoint_id", Id, primary_key=True),
    Column("url", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("description", Text),
    Column("secret", Text, nullable=False),
    Column("old_secret", Text),
    Column("old_secret_until", Time),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_because", Text),
    Column("failing_since", Time),
    Column("created_at", Time, nullable=False),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("delivery_id", Id, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("target_id", Id, nullable=False),
    Column("alert_account_id", Id),
    Column("sequence", BigInteger),
    Column("digest_id", Id),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Time),
    Column("taken_until", Time),
    Column("status", Integer),
    Column("detail", Text),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
)
