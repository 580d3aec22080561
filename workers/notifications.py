"""Notifications: publish alerts that are committed and not yet delivered, at least once, with stable ids.

Who else is to get an alert, by webhook or mail, is written with the mark that the exchange has it; sending
that goes on beside the stage (``shared.operations.delivery.delivery_loop``).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import alerts
from shared.messaging.envelope import StageMessage
from shared.messaging.transport import Transport, TransportError
from shared.operations.delivery.delivery_loop import Deliveries


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
        self._open_transport = open_transport
        self._transport: Transport | None = None
        self._publishing = asyncio.Lock()

    async def handle(self, sequences: list[int]) -> Sequence[StageMessage]:
        """Deliver alerts; those that were delivered before are passed over."""
        async with self._engine.connect() as connection:
            undelivered = await alerts.load_undelivered(connection, sequences)
        for alert in undelivered:
            await self._publish(alert)
        if undelivered:
            await self._mark(undelivered)
        return []

    async def close(self) -> None:
        """Close the connection that alerts are published on."""
        if self._transport is not None:
            await self._transport.__aexit__(None, None, None)

    async def _mark(self, published: Sequence[RowMapping]) -> None:
        async with self._engine.begin() as connection:
            marked = await alerts.mark_delivered(connection, [alert["sequence"] for alert in published])
            if self._deliveries is not None:
                mine = [alert for alert in published if alert["sequence"] in marked]
                await self._deliveries.write(connection, mine)
        if self._deliveries is not None:
            self._deliveries.wake()

    async def _publish(self, alert: RowMapping) -> None:
        body = msgspec.json.encode(alerts.alert_event(alert))
        async with self._publishing:
            try:
                if self._transport is None:
                    self._transport = await self._open_transport().__aenter__()
                await self._transport.publish_alert(body, alert["type"])
            except TransportError:
                broken, self._transport = self._transport, None
                if broken is not None:
                    with suppress(Exception):
                        await broken.__aexit__(None, None, None)
                raise
