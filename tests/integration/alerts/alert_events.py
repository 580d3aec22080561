"""The checker of alerts: what is told is what the AsyncAPI document says."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.alerts import alert_event, alerts_since
from shared.domain.alert_events import check_event


async def events_in(engine: AsyncEngine) -> list[dict[str, Any]]:
    """Return all alerts in the books as consumers get them."""
    async with engine.connect() as connection:
        rows = await alerts_since(connection, datetime(2000, 1, 1, tzinfo=UTC))
    return [msgspec.json.decode(msgspec.json.encode(alert_event(row))) for row in rows]


async def check_alerts(engine: AsyncEngine) -> None:
    """Fail where an alert in the books is not of its type, or tells what stands in no type."""
    for event in await events_in(engine):
        check_event(event)
