"""Intake: take usage off the entrance, refuse what is malformed, pass the rest on in batches.

Under light load a batch is one record and leaves at once. Whatever arrives while a batch is being confirmed,
and within the same few milliseconds, makes up the next one, so batches grow with the load.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

import dramatiq
import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.quarantine import add_rejections
from shared.domain.errors import MalformedError
from shared.domain.events import TimeLimits, decode_event, split_body
from shared.domain.quarantine import Reason, Rejection
from shared.messaging.envelope import StageMessage, messages_to
from shared.messaging.failure import MAX_WAIT_S, is_transient
from shared.messaging.topology import Stage
from shared.messaging.transport import Delivery, Transport, UsageConsumer
from shared.operations.holds import Holds
from shared.settings import Settings

_PUBLISHERS = 8
#: Small batches follow each other no closer than this. A batch costs all stages together some milliseconds,
#: whatever it carries, so records that come close together should share one.
REST_S = 0.02

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sorted:
    """A body taken apart: events that can be priced, as they came, and their holds; what must be parked."""

    events: list[bytes]
    holds: list[str]
    rejections: list[Rejection]


def sort_out(deliveries: Iterable[Delivery], limits: TimeLimits, now: datetime) -> Sorted:
    """Check every event of every message; one bad event never harms its neighbours."""
    result = Sorted([], [], [])
    for delivery in deliveries:
        try:
            elements = split_body(delivery.body, delivery.content_type)
        except MalformedError as error:
            result.rejections.append(Rejection(Reason.MALFORMED, str(error), delivery.body))
            continue
        for raw in elements:
            try:
                event = decode_event(raw, limits, now)
            except MalformedError as error:
                result.rejections.append(Rejection(Reason.MALFORMED, str(error), raw))
            else:
                result.events.append(raw)
                if event.data.hold_id:
                    result.holds.append(event.data.hold_id)
    return result


class Intake:
    """The intake process: one connection in, one publisher out."""

    def __init__(
        self, broker: dramatiq.Broker, engine: AsyncEngine, settings: Settings, holds: Holds | None = None
    ) -> None:
        self._broker = broker
        self._engine = engine
        self._settings = settings
        self._holds = holds
        # dramatiq's connections belong to a thread: so many messages wait for their confirmation at once.
        self._publishers = ThreadPoolExecutor(_PUBLISHERS, thread_name_prefix="publisher")
        self._consumer: UsageConsumer | None = None
        self._last_batch = 0

    def counts(self) -> tuple[int, int]:
        """Return how many messages this process holds, and how many it received on this connection."""
        return (self._consumer.in_flight, self._consumer.received) if self._consumer else (0, 0)

    def close(self) -> None:
        """Wait for a publish that is under way; the broker may be closed after that."""
        self._publishers.shutdown(wait=True, cancel_futures=True)

    async def run(self, open_transport: Callable[[], Transport]) -> None:
        """Consume until cancelled; a lost connection is opened again, and what was not done comes again."""
        failures = 0
        while True:
            try:
                async with (
                    open_transport() as transport,
                    transport.consume_usage(self._settings.intake_prefetch) as consumer,
                ):
                    self._consumer = consumer
                    failures = 0
                    while True:
                        deliveries = await consumer.receive()
                        rests_until = monotonic() + REST_S
                        await _to_the_end(self._settle(consumer, deliveries))
                        if self._last_batch < self._settings.batch_records:
                            await asyncio.sleep(rests_until - monotonic())
            except Exception as error:
                if not is_transient(error):
                    raise
                self._consumer = None
                failures += 1
                log.warning("intake interrupted", error=repr(error), attempt=failures)
                await asyncio.sleep(min(MAX_WAIT_S, 0.1 * 2**failures))

    async def _settle(self, consumer: UsageConsumer, deliveries: list[Delivery]) -> None:
        await self.handle(deliveries)
        await consumer.acknowledge(deliveries)

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Pass on the good events, then park the bad ones; when this returns both are safe."""
        batch = sort_out(deliveries, self._settings.time_limits, utc_now())
        self._last_batch = len(batch.events)
        await self._emit(self._batches(batch.events))
        if self._holds and batch.holds:
            await self._holds.settling(batch.holds)
        if batch.rejections:
            async with self._engine.begin() as connection:
                alerts = await add_rejections(connection, batch.rejections)
            await self._emit(messages_to(Stage.NOTIFICATIONS, alerts))

    async def _emit(self, messages: Sequence[StageMessage]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(self._publishers, self._publish, message) for message in messages)
        )

    def _publish(self, message: StageMessage) -> None:
        self._broker.enqueue(message.encode())

    def _batches(self, events: Sequence[bytes]) -> list[StageMessage]:
        step = self._settings.batch_records
        parts = (events[start : start + step] for start in range(0, len(events), step))
        return [
            message for part in parts for message in messages_to(Stage.PRICING, list(map(msgspec.Raw, part)))
        ]


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish what was begun, also when we are told to stop meanwhile: it need not be done twice."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
