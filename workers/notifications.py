"""Notifications: publish alerts that are committed and not yet delivered, at least once, with stable ids."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import alerts
from shared.messaging.envelope import StageMessage
from shared.messaging.transport import Transport, TransportError


class Notifications:
    """The notifications stage. It keeps one connection for publishing, and opens another where that broke."""

    def __init__(self, engine: AsyncEngine, open_transport: Callable[[], Transport]) -> None:
        self._engine = engine
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
            async with self._engine.begin() as connection:
                await alerts.mark_delivered(connection, [alert["sequence"] for alert in undelivered])
        return []

    async def close(self) -> None:
        """Close the connection that alerts are published on."""
        if self._transport is not None:
            await self._transport.__aexit__(None, None, None)

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
