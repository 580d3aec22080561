"""Alerts of accounts, endpoints that are to get them, and a clock that a test moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import alerts
from shared.db.alerts import NOBODY, NewAlert
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import Level
from shared.gateways.public_http import PublicHttp
from shared.operations.accounts import create_account
from shared.operations.delivery.delivery_loop import Deliveries
from shared.operations.delivery.webhook_channel import WebhookChannel
from shared.operations.delivery.webhook_endpoints import create_endpoint


@dataclass
class Hooks:
    """A database with deliveries over webhooks, at a time that the test sets."""

    engine: AsyncEngine
    database_url: str
    http: PublicHttp = field(default_factory=lambda: PublicHttp(loopback=True, total_s=2.0))
    ahead: timedelta = timedelta(0)
    at: datetime | None = None
    most_an_hour: int = 0

    def now(self) -> datetime:
        return (self.at or utc_now()) + self.ahead

    def deliveries(self, http: PublicHttp | None = None) -> Deliveries:
        channel = WebhookChannel(self.engine, http or self.http, self.now)
        return Deliveries(self.engine, [channel], self.now, self.most_an_hour)

    async def account(self) -> str:
        return (await create_account(self.engine))[0]

    async def endpoint(self, account_id: str | None, url: str, *types: AlertType) -> dict[str, Any]:
        return dict(await create_endpoint(self.engine, account_id, url, types, loopback=True))

    async def alert(
        self, account_id: str | None, type_: AlertType = AlertType.BALANCE_LOW, count: int = 1
    ) -> list[str]:
        """Write alerts that the exchange has; return the ids of their events."""
        data = alert_data(account_id, 15, self.now(), Level.LOW)
        new = NewAlert(account_id or NOBODY, type_, data, self.now())
        async with self.engine.begin() as connection:
            sequences = await alerts.insert_alerts(connection, [new] * count)
        await self.publish()
        return [f"alert-{sequence}" for sequence in sequences]

    async def publish(self) -> None:
        """Do what the notifications stage does once the exchange has what is undelivered."""
        found = await self.rows("SELECT sequence FROM alerts WHERE delivered_at IS NULL")
        every = [row["sequence"] for row in found]
        async with self.engine.begin() as connection:
            rows = await alerts.load_undelivered(connection, every)
            marked = await alerts.mark_delivered(connection, every)
            mine = [row for row in rows if row["sequence"] in marked]
            await self.deliveries().write(connection, mine)

    async def unpublished(self, account_id: str, count: int) -> Sequence[Any]:
        """Write alerts that the exchange does not have yet; return their rows."""
        data = alert_data(account_id, 15, self.now(), Level.LOW)
        new = NewAlert(account_id, AlertType.BALANCE_LOW, data, self.now())
        async with self.engine.begin() as connection:
            sequences = await alerts.insert_alerts(connection, [new] * count)
            return await alerts.load_undelivered(connection, sequences)

    async def write(self, rows: Sequence[Any]) -> None:
        async with self.engine.begin() as connection:
            await self.deliveries().write(connection, rows)

    async def send_due(self, ahead: timedelta | None = None) -> None:
        if ahead is not None:
            self.ahead = ahead
        await self.deliveries().send_due()

    async def delivery(self) -> dict[str, Any]:
        (row,) = await self.rows("SELECT * FROM alert_deliveries")
        return dict(row)

    async def states(self) -> list[str]:
        query = "SELECT state FROM alert_deliveries ORDER BY sequence NULLS LAST, created_at"
        return [row["state"] for row in await self.rows(query)]

    async def told(self, type_: AlertType) -> list[dict[str, Any]]:
        """Return the data of the alerts of a type, in order."""
        query = "SELECT data FROM alerts WHERE type = :type ORDER BY sequence"
        return [row["data"] for row in await self.rows(query, type=type_)]

    async def rows(self, query: str, **values: Any) -> Sequence[Any]:
        async with self.engine.connect() as connection:
            return (await connection.execute(text(query), values)).mappings().all()
