"""The publisher for upstream services: usage events in, one confirmed message for many of them out.

    async with Publisher("amqp://…") as publisher:
        await publisher.publish(usage_event(id="req_1", api_key_id="key_…", model="gpt-4o", input_tokens=374))

``publish`` returns when the broker has the event safe. Events that are published while a message is being
confirmed leave together in the next one: alone an event leaves at once, in a burst up to 500 share a message.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from shared.clock import utc_now
from shared.domain.events import USAGE_TYPE
from shared.messaging.connect import open_transport
from shared.messaging.transport import Transport, TransportError

MAX_EVENTS_A_MESSAGE = 500
RETRY_FOR_S = 30.0

Event = Mapping[str, Any] | msgspec.Raw


def usage_event(
    *,
    id: str,  # noqa: A002 - the attribute's name in CloudEvents
    model: str,
    source: str = "payg-python",
    time: datetime | None = None,
    **data: Any,  # noqa: ANN401 - any JSON value
) -> dict[str, Any]:
    """Return a usage event.

    ``data`` takes ``api_key_id`` or ``account_id``, the token counts (``input_tokens``, ``output_tokens``,
    ``cache_read_tokens``, …), ``provider``, ``hold_id`` and ``metadata``.
    """
    return {
        "specversion": "1.0",
        "type": USAGE_TYPE,
        "source": source,
        "id": id,
        "time": time or utc_now(),
        "data": {"model": model, **data},
    }


class Publisher:
    """Publishes usage events. Entered once, used by any number of tasks of one event loop."""

    def __init__(self, url: str, *, max_events: int = MAX_EVENTS_A_MESSAGE) -> None:
        self._url = url
        self._max_events = max_events
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._transport: Transport = await open_transport(self._url).__aenter__()
        self._sender = asyncio.create_task(self._send_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.cancel()
        with suppress(asyncio.CancelledError):
            await self._sender
        for _, confirmed in self._waiting:
            confirmed.cancel()
        await self._transport.__aexit__(kind, error, trace)

    async def publish(self, event: Event) -> None:
        """Publish one event; returns when it is confirmed, raises TransportError when it cannot be."""
        await self.publish_all([event])

    async def publish_all(self, events: Sequence[Event]) -> None:
        """Publish events; returns when all are confirmed."""
        confirmations = [asyncio.get_running_loop().create_future() for _ in events]
        self._waiting.extend(zip(events, confirmations, strict=True))
        self._wake.set()
        await asyncio.gather(*confirmations)

    async def _send_forever(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._waiting = self._waiting[: self._max_events], self._waiting[self._max_events :]
            if not self._waiting:
                self._wake.clear()
            wanted = [(event, confirmed) for event, confirmed in batch if not confirmed.done()]
            if wanted:  # by somebody who still waits for it
                await self._send([event for event, _ in wanted], [confirmed for _, confirmed in wanted])

    async def _send(self, events: list[Event], confirmed: list[asyncio.Future[None]]) -> None:
        try:
            await self._send_insisting(msgspec.json.encode(events))
        except TransportError as error:
            for future in confirmed:
                if not future.done():
                    future.set_exception(error)
        except asyncio.CancelledError:
            for future in confirmed:
                future.cancel()
            raise
        else:
            for future in confirmed:
                if not future.done():
                    future.set_result(None)

    async def _send_insisting(self, body: bytes) -> None:
        """Publish a message, on a new connection where the old one broke, for half a minute."""
        give_up_at = asyncio.get_running_loop().time() + RETRY_FOR_S
        while True:
            try:
                await self._transport.publish_usage(body, "application/cloudevents-batch+json")
            except TransportError:
                if asyncio.get_running_loop().time() > give_up_at:
                    raise
                await asyncio.sleep(0.5)
                await self._reconnect()
            else:
                return

    async def _reconnect(self) -> None:
        with suppress(Exception):
            await self._transport.__aexit__(None, None, None)
        with suppress(TransportError):
            self._transport = await open_transport(self._url).__aenter__()
