"""Intake: take usage off the entrance, refuse what is malformed, pass the rest on in batches.

Under light load a batch is one record and leaves at once. Whatever arrives while a batch is being confirmed,
and within the same few milliseconds, makes up the next one, so batches grow with the load.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from time import monotonic
from typing import Any, TypeVar

import dramatiq
import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.processes import Counts
from shared.db.quarantine import add_rejections
from shared.domain.errors import MalformedError
from shared.domain.events import TimeLimits, decode_event, split_body
from shared.domain.quarantine import Reason, Rejection
from shared.messaging.envelope import Origin, StageMessage, messages_to
from shared.messaging.failure import MAX_WAIT_S, Wait, after_failure, is_transient
from shared.messaging.topology import INTAKE_QUEUE, Stage
from shared.messaging.transport import Transport, UsageConsumer, UsageDelivery
from shared.metrics import RECORDS
from shared.operations.holds import Holds
from shared.settings import Settings
from shared.tracing import span

_PUBLISHERS = 8
#: Small batches follow each other no closer than this. A batch costs all stages together some milliseconds,
#: whatever it carries, so records that come close together should share one.
REST_S = 0.02

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sorted:
    """A body taken apart: events that can be priced, as they came, and their holds; what must be parked.

    ``sources`` tells of each event its id and what its message goes back to.
    """

    events: list[bytes]
    sources: list[tuple[str, Origin]]
    holds: list[str]
    rejections: list[Rejection]


def sort_out(deliveries: Iterable[UsageDelivery], limits: TimeLimits, now: datetime) -> Sorted:
    """Check every event of every message; one bad event never harms its neighbours."""
    result = Sorted([], [], [], [])
    for delivery in deliveries:
        try:
            elements = split_body(delivery.body, delivery.content_type)
        except MalformedError as error:
            result.rejections.append(Rejection(Reason.MALFORMED, str(error), delivery.body))
            continue
        origin = delivery.origin
        for raw in elements:
            try:
                event = decode_event(raw, limits, now)
            except MalformedError as error:
                result.rejections.append(Rejection(Reason.MALFORMED, str(error), raw))
            else:
                result.events.append(raw)
                result.sources.append((event.id, origin))
                if event.data.hold_id:
                    result.holds.append(event.data.hold_id)
    return result


class Intake:
    """The intake process: one connection in, one publisher out."""

    def __init__(
        self,
        broker: dramatiq.Broker,
        engine: AsyncEngine,
        settings: Settings,
        holds: Holds | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._broker = broker
        self._engine = engine
        self._settings = settings
        self._holds = holds
        self._now = now
        # dramatiq's connections belong to a thread: so many messages wait for their confirmation at once.
        self._publishers = ThreadPoolExecutor(_PUBLISHERS, thread_name_prefix="publisher")
        self._consumer: UsageConsumer | None = None
        #: Since when no queue is consumed, on the monotonic clock; None while one is.
        self.away_since: float | None = monotonic()
        #: Since when a step of a batch is under way, likewise; waiting for the surroundings is none.
        self.busy_since: float | None = None
        self._last_batch = 0
        self._taken_until: datetime | None = None
        self._stopping = asyncio.Event()

    def counts(self) -> Counts:
        """Return how many messages this process holds, and how many it received on this connection."""
        taken = {INTAKE_QUEUE: int(self._taken_until.timestamp() * 1000)} if self._taken_until else {}
        consumer = self._consumer
        return Counts(consumer.in_flight, consumer.received, taken) if consumer else Counts(0, 0, taken)

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
                    self._consumer, self.away_since = consumer, None
                    while True:
                        deliveries = await consumer.receive()
                        rests_until = monotonic() + REST_S
                        await self._to_the_end(self._settle(consumer, deliveries))
                        failures = 0
                        if self._last_batch < self._settings.batch_records:
                            await asyncio.sleep(rests_until - monotonic())
            except Exception as error:
                if not is_transient(error):
                    raise
                self._consumer = None
                self.away_since = self.away_since or monotonic()
                failures += 1
                log.warning("intake interrupted", error=repr(error), attempt=failures)
                await asyncio.sleep(min(MAX_WAIT_S, 0.1 * 2**failures))

    async def _settle(self, consumer: UsageConsumer, deliveries: list[UsageDelivery]) -> None:
        # A clock that is wrong elsewhere says nothing about what waits here.
        sent = (min(d.sent_at, utc_now()) for d in deliveries if d.sent_at)
        self._taken_until = max(sent, default=self._taken_until)
        await self.handle(deliveries)
        await self._attempt(lambda: consumer.acknowledge(deliveries))

    async def handle(self, deliveries: Sequence[UsageDelivery]) -> None:
        """Pass on the good events, then park the bad ones; when this returns both are safe."""
        batch = sort_out(deliveries, self._settings.time_limits, self._now())
        self._last_batch = len(batch.events)
        messages = self._batches(batch)
        await self._insist(lambda: self._emit(messages))
        holds = self._holds
        if holds and batch.holds:
            await self._insist(lambda: holds.settling(batch.holds))
        if batch.rejections:
            alerts = await self._insist(lambda: self._park(batch.rejections))
            await self._insist(lambda: self._emit(messages_to(Stage.NOTIFICATIONS, alerts)))
        RECORDS.labels("intake", "accepted").inc(len(batch.events))
        RECORDS.labels("intake", Reason.MALFORMED).inc(len(batch.rejections))

    async def _insist(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Do one step; where the surroundings do not let us, wait with the messages in hand, and do it again.

        Given back they would come again at once, have what is emitted emitted again, and be dead letters
        after a hundred times.
        """
        for attempt in count(1):
            try:
                return await self._attempt(step)
            except Exception as error:
                then = after_failure(error, attempt, batch_size=1)
                if not isinstance(then, Wait) or await self._told_to_stop_within(then.seconds):
                    raise
                log.warning("intake waits", error=repr(error), attempt=attempt)
        raise AssertionError("there is always one more attempt")

    async def _attempt(self, step: Callable[[], Awaitable[Result]]) -> Result:
        self.busy_since = monotonic()
        try:
            return await step()
        finally:
            self.busy_since = None

    async def _told_to_stop_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Finish what was begun, also when we are told to stop meanwhile: it need not be done twice.

        What waits for its surroundings then waits no longer, and comes again.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stopping.set()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _park(self, rejections: Sequence[Rejection]) -> list[int]:
        async with self._engine.begin() as connection:
            return await add_rejections(connection, rejections)

    async def _emit(self, messages: Sequence[StageMessage]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(self._publishers, self._publish, message) for message in messages)
        )

    def _publish(self, message: StageMessage) -> None:
        self._broker.enqueue(message.encode())

    def _batches(self, batch: Sorted) -> list[StageMessage]:
        step = self._settings.batch_records
        return [
            self._message(batch.events[start : start + step], batch.sources[start : start + step])
            for start in range(0, len(batch.events), step)
        ]

    def _message(self, events: Sequence[bytes], sources: Sequence[tuple[str, Origin]]) -> StageMessage:
        event_id, first = sources[0]
        parents = list(dict.fromkeys(o.traceparent for _, o in sources if o.traceparent))
        with span("intake", parents, records=len(events)) as traceparent:
            origin = Origin(first.correlation_id or event_id, traceparent or first.traceparent)
        log.debug("batch taken in", correlation_id=origin.correlation_id, records=len(events))
        return StageMessage(Stage.PRICING, str(Stage.PRICING), list(map(msgspec.Raw, events)), origin)
