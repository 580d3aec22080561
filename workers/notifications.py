"""Notifications: publish alerts that are committed and not yet delivered, at least once, with stable ids.

Who else is to get an alert, by webhook or mail, is written with the mark that the exchange has it; sending
that goes on beside the stage (``shared.operations.delivery.delivery_loop``).
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import alerts
from shared.messaging.envelope import Origin, StageMessage
from shared.messaging.kept_transport import KeptTransport
from shared.messaging.transport import PublishedAlert, Transport
from shared.metrics import ALERTS
from shared.operations.delivery.delivery_loop import Deliveries
from shared.tracing import current_traceparent


class Notifications:
    """The notifications stage. It keeps one connection for publishing, and opens another where that broke."""

    def __init__(
        self,
        engine: AsyncEngine,
        open_transport: Callable[[], Transport],
        deliveries: Deliveries | None = None,
    ) -> None:
        self._engine = engine
        self._deliveries = deliveries
        self._exchange = KeptTransport(open_transport)
        self._publishing = asyncio.Lock()

    async def handle(self, sequences: list[int]) -> Sequence[StageMessage]:
        """Deliver alerts; those that were delivered before are passed over."""
        async with self._engine.connect() as connection:
            undelivered = await alerts.load_undelivered(connection, sequences)
        if undelivered:
            await self._publish(undelivered)
            await self._mark(undelivered)
        return []

    async def close(self) -> None:
        """Close the connection that alerts are published on."""
        await self._exchange.close()

    async def _mark(self, published: Sequence[RowMapping]) -> None:
        async with self._engine.begin() as connection:
            marked = await alerts.mark_delivered(connection, [alert["sequence"] for alert in published])
            if self._deliveries is not None:
                mine = [alert for alert in published if alert["sequence"] in marked]
                await self._deliveries.write(connection, mine)
        for alert in published:
            ALERTS.labels(alert["type"]).inc(alert["sequence"] in marked)
        if self._deliveries is not None:
            self._deliveries.wake()

    async def _publish(self, undelivered: Sequence[RowMapping]) -> None:
        published = [_published(alert) for alert in undelivered]
        async with self._publishing, self._exchange.connected() as transport:
            await transport.publish_alerts(published)


def _published(alert: RowMapping) -> PublishedAlert:
    origin = Origin(alert["data"].get("correlation_id"), current_traceparent())
    return PublishedAlert(alert["type"], msgspec.json.encode(alerts.alert_event(alert)), origin)
