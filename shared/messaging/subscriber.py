"""The subscriber for consumers of alerts: each event once, in order, acknowledged after it was handled.

    async def handle(event: AlertEvent) -> None: ...

    await Subscriber("amqp://…", queue="my-service").run(handle)

The queue is durable: what is told while nobody is there waits in it. Delivery is at least once, and a process
that dies between handling an event and acknowledging it is given it again; so a handler whose effect must not
happen twice notes ``event.id`` with its effect.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
import structlog

from shared.domain.alert_events import AlertEvent
from shared.messaging.connect import open_transport
from shared.messaging.transport import AlertConsumer, TransportError

log = structlog.get_logger(__name__)

_KNOWN_IDS = 100_000
_SETTLE_S = 0.1
_RECONNECT_S = 0.5
_LONGEST_RECONNECT_S = 10.0

Handler = Callable[[AlertEvent], Awaitable[None]]
#: Gives past events, oldest first: see ``shared.messaging.alert_history``.
Replay = Callable[[], AsyncIterator[AlertEvent]]

_decoder = msgspec.json.Decoder(AlertEvent)


class Subscriber:
    """A durable subscription to alerts.

    Events that arrive within a tenth of a second of each other are handed over in order of ``sequence``; one
    that comes later than that is handed over late. Of ids that were handled the last 100,000 are known.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        *,
        routing_key: str = "#",
        replay: Replay | None = None,
        settle_s: float = _SETTLE_S,
        known_ids: int = _KNOWN_IDS,
    ) -> None:
        self._url = url
        self._queue = queue
        self._routing_key = routing_key
        self._replay = replay
        self._settle_s = settle_s
        self._most_known = known_ids
        self._known: dict[str, None] = {}

    async def run(self, handle: Handler) -> None:
        """Hand over events until cancelled, first those of the replay; connects again where it has to.

        What ``handle`` raises is raised; the event it could not handle stays in the queue.
        """
        wait_s = _RECONNECT_S
        while True:
            async with AsyncExitStack() as stack:
                try:
                    consumer = await self._connect(stack)
                    wait_s = _RECONNECT_S
                    await self._replay_once(handle)
                    while True:
                        await self._hand_over_all(consumer, handle)
                except TransportError as error:
                    log.warning("the subscription is opened again", queue=self._queue, error=str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_RECONNECT_S)

    async def _connect(self, stack: AsyncExitStack) -> AlertConsumer:
        """Open the subscription. Closing what is broken already may fail, and is no news."""
        transport = open_transport(self._url)
        await transport.__aenter__()
        stack.push_async_callback(_quietly, transport.__aexit__)
        subscription = transport.consume_alerts(self._queue, self._routing_key)
        consumer = await subscription.__aenter__()
        stack.push_async_callback(_quietly, subscription.__aexit__)
        return consumer

    async def _replay_once(self, handle: Handler) -> None:
        """Hand over the past, now that nothing new can be missed."""
        if self._replay is not None:
            async for event in self._replay():
                await self._hand_over(event, handle)
            self._replay = None

    async def _hand_over_all(self, consumer: AlertConsumer, handle: Handler) -> None:
        arrived = [(event_of(delivery.body), delivery) for delivery in await consumer.receive(self._settle_s)]
        for event, delivery in sorted(arrived, key=lambda each: each[0].sequence if each[0] else 0):
            if event is not None:
                await self._hand_over(event, handle)
            await consumer.acknowledge(delivery)

    async def _hand_over(self, event: AlertEvent, handle: Handler) -> None:
        if event.id in self._known:
            return
        await handle(event)
        self._known[event.id] = None
        if len(self._known) > self._most_known:
            del self._known[next(iter(self._known))]


def event_of(body: bytes) -> AlertEvent | None:
    """Return the event in a message, None (and an error in the log) where it holds none."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.exception("a message on the exchange of alerts is no event", error=str(error))
        return None


async def _quietly(leave: Callable[[None, None, None], Awaitable[bool | None]]) -> None:
    try:
        await leave(None, None, None)
    except (TransportError, RuntimeError, ConnectionError) as error:
        log.debug("what was broken is closed", error=repr(error))
