"""Intake: take usage off the entrance, refuse what is malformed, pass the rest on in batches.

Under light load a batch is one record and leaves at once. Whatever arrives while a batch is being confirmed
makes up the next one, so batches grow with the load and no record waits for a timer.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import dramatiq
import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.quarantine import add_rejections
from shared.domain.errors import MalformedError
from shared.domain.events import TimeLimits, decode_event, split_body
from shared.domain.quarantine import Reason, Rejection
from shared.messaging.envelope import StageMessage
from shared.messaging.failure import MAX_WAIT_S, is_transient
from shared.messaging.topology import Stage
from shared.messaging.transport import Delivery, Transport, UsageConsumer
from shared.settings import Settings

log = structlog.get_logger(__name__)

PRICING_QUEUE = str(Stage.PRICING)


@dataclass(frozen=True, slots=True)
class Sorted:
    """A body taken apart: events that can be priced, as they came, and what cannot be processed."""

    events: list[bytes]
    rejections: list[Rejection]


def sort_out(deliveries: Iterable[Delivery], limits: TimeLimits, now: datetime) -> Sorted:
    """Check every event of every message; one bad event never harms its neighbours."""
    result = Sorted([], [])
    for delivery in deliveries:
        try:
            elements = split_body(delivery.body, delivery.content_type)
        except MalformedError as error:
            result.rejections.append(Rejection(Reason.MALFORMED, str(error), delivery.body))
            continue
        for raw in elements:
            try:
                decode_event(raw, limits, now)
            except MalformedError as error:
                result.rejections.append(Rejection(Reason.MALFORMED, str(error), raw))
            else:
                result.events.append(raw)
    return result


class Intake:
    """The intake process: one connection in, one publisher out."""

    def __init__(self, broker: dramatiq.Broker, engine: AsyncEngine, settings: Settings) -> None:
        self._broker = broker
        self._engine = engine
        self._settings = settings
        # dramatiq's connections belong to a thread, so one thread does all the publishing.
        self._publisher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publisher")
        self._consumer: UsageConsumer | None = None

    def counts(self) -> tuple[int, int]:
        """Return how many messages this process holds, and how many it received on this connection."""
        return (self._consumer.in_flight, self._consumer.received) if self._consumer else (0, 0)

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
                        await self.handle(deliveries)
                        await consumer.acknowledge(deliveries)
            except Exception as error:
                if not is_transient(error):
                    raise
                self._consumer = None
                failures += 1
                log.warning("intake interrupted", error=repr(error), attempt=failures)
                await asyncio.sleep(min(MAX_WAIT_S, 0.1 * 2**failures))

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Pass on the good events, then park the bad ones; when this returns both are safe."""
        batch = sort_out(deliveries, self._settings.time_limits, utc_now())
        if batch.events:
            await asyncio.get_running_loop().run_in_executor(self._publisher, self._emit, batch.events)
        if batch.rejections:
            async with self._engine.begin() as connection:
                await add_rejections(connection, batch.rejections)

    def _emit(self, events: list[bytes]) -> None:
        step = self._settings.batch_records
        for start in range(0, len(events), step):
            batch = [msgspec.Raw(raw) for raw in events[start : start + step]]
            self._broker.enqueue(StageMessage(Stage.PRICING, PRICING_QUEUE, batch).encode())
