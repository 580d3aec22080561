"""The transport on RabbitMQ, with aio-pika. Connections are plain: who needs a new one opens a new one."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity, DeliveryError
from aiormq import spec
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused

from shared.clock import utc_now
from shared.messaging.envelope import NO_ORIGIN, Origin
from shared.messaging.topology import (
    ALERTS_EXCHANGE,
    INTAKE_QUEUE,
    USAGE_EXCHANGE,
    USAGE_ROUTING_KEY,
    dead_letter_arguments,
    dead_letter_queue,
    queue_arguments,
)
from shared.messaging.transport import (
    DeadLetter,
    Delivery,
    PublishedAlert,
    QueueState,
    TransportError,
    UsageDelivery,
)

_CONFIRM_TIMEOUT_S = 30.0
_EVENT = "application/cloudevents+json"
_ALERTS_HELD = 100
#: Longer ones do not fit into a property.
_MAX_NAME_BYTES = 255

#: URLs of users that may create nothing: all is there, by shared.messaging.definitions. They ask once.
_MAY_NOT_DECLARE: set[str] = set()


class AmqpTransport:
    """See ``shared.messaging.transport.Transport``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._publishing: AbstractChannel | None = None
        self._looking: UnderlayChannel | None = None

    async def __aenter__(self) -> Self:
        with _as_transport_error():
            self._connection = await aio_pika.connect(self._url, timeout=10)
            await self._declare_what_we_may()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def _declare_what_we_may(self) -> None:
        if self._url in _MAY_NOT_DECLARE:
            return
        try:
            async with self._connection.channel() as channel:
                await _declare(channel)
        except ChannelAccessRefused:
            _MAY_NOT_DECLARE.add(self._url)

    async def publish_usage(self, body: bytes, content_type: str) -> None:
        with _as_transport_error():
            exchange = await self._exchange(USAGE_EXCHANGE)
            await exchange.publish(
                _persistent(body, content_type), USAGE_ROUTING_KEY, mandatory=True, timeout=_CONFIRM_TIMEOUT_S
            )

    async def publish_alerts(self, alerts: Sequence[PublishedAlert]) -> None:
        # Nobody has to listen: without a subscriber an alert goes nowhere, and stays in the database.
        with _as_transport_error():
            exchange = await self._exchange(ALERTS_EXCHANGE)
            publish = partial(exchange.publish, mandatory=False, timeout=_CONFIRM_TIMEOUT_S)
            # All are on their way before the first is confirmed.
            await asyncio.gather(
                *(
                    publish(_persistent(alert.body, _EVENT, alert.origin), alert.routing_key)
                    for alert in alerts
                )
            )

    @asynccontextmanager
    async def subscribe_alerts(
        self, routing_key: str = "#", queue: str | None = None
    ) -> AsyncIterator[AsyncIterator[AbstractIncomingMessage]]:
        with _as_transport_error():
            async with self._connection.channel() as channel:
                await channel.set_qos(prefetch_count=100)
                subscription = await _subscribe(channel, queue, routing_key)
                async with subscription.iterator() as messages:
                    yield _acknowledged_in_turn(messages)

    @asynccontextmanager
    async def consume_alerts(self, queue: str, routing_key: str = "#") -> AsyncIterator["AmqpAlertConsumer"]:
        with _as_transport_error():
            channel = await self._connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=_ALERTS_HELD)
            await _subscribe(channel, queue, routing_key)
            consumer = AmqpAlertConsumer(await channel.get_underlay_channel(), queue)
            await consumer.begin()
        try:
            yield consumer
        finally:
            with _as_transport_error():
                await channel.close()

    @asynccontextmanager
    async def consume_usage(self, prefetch: int) -> AsyncIterator["AmqpUsageConsumer"]:
        with _as_transport_error():
            channel = await self._connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=prefetch)
            consumer = AmqpUsageConsumer(await channel.get_underlay_channel(), INTAKE_QUEUE)
            await consumer.begin()
        try:
            yield consumer
        finally:
            with _as_transport_error():
                await channel.close()

    async def queue_states(self, queues: list[str]) -> list[QueueState]:
        states = []
        for name in queues:
            with _as_transport_error():
                counts = await self._count(name)
                if counts is None:
                    continue
                states.append(QueueState(name, counts.message_count or 0, None, counts.consumer_count or 0))
        return states

    async def count_dead_letters(self, queues: list[str]) -> dict[str, int]:
        names = {dead_letter_queue(queue): queue for queue in queues}
        return {names[state.queue]: state.ready for state in await self.queue_states(list(names))}

    async def dead_letters(self, queues: list[str]) -> AsyncIterator[DeadLetter]:
        for name in queues:
            with _as_transport_error():
                queue = await self._find(dead_letter_queue(name))
                if queue is None:
                    continue
                # Never acknowledged: closing the channel puts them back.
                for _ in range(queue.declaration_result.message_count or 0):
                    message = await queue.get(fail=False)
                    if message is None:
                        break
                    yield DeadLetter(name, message.body)
                await queue.channel.close()

    async def replay_dead_letters(self, queues: list[str]) -> int:
        replayed = 0
        for name in queues:
            with _as_transport_error():
                queue = await self._find(dead_letter_queue(name))
                if queue is None:
                    continue
                publishing = await self._connection.channel(on_return_raises=True)
                for _ in range(queue.declaration_result.message_count or 0):
                    message = await queue.get(fail=False)
                    if message is None:
                        break
                    await publishing.default_exchange.publish(
                        aio_pika.Message(
                            message.body,
                            content_type=message.content_type,
                            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        ),
                        name,
                        mandatory=True,
                        timeout=_CONFIRM_TIMEOUT_S,
                    )
                    await message.ack()
                    replayed += 1
                await publishing.close()
        return replayed

    async def _exchange(self, name: str) -> AbstractExchange:
        if self._publishing is None or self._publishing.is_closed:
            self._publishing = await self._connection.channel(on_return_raises=True)
        return await self._publishing.get_exchange(name, ensure=False)

    async def _count(self, name: str) -> spec.Queue.DeclareOk | None:
        """Return what is in a queue, or None where there is none: then the broker closes the channel.

        By aiormq, for some look every second for months: of each channel that aio_pika opens it keeps
        something until the connection ends.
        """
        if self._looking is None or self._looking.is_closed:
            underlay = self._connection.transport
            if underlay is None:
                raise ConnectionError("the connection is closed")
            self._looking = await underlay.connection.channel()
        try:
            return await self._looking.queue_declare(name, passive=True)
        except ChannelNotFoundEntity:
            return None

    async def _find(self, name: str) -> AbstractQueue | None:
        """Return a queue, on a channel of its own, or None where there is none."""
        channel = await self._connection.channel()
        try:
            return await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:
            return None


class AmqpDelivery:
    """A message of usage as aiormq hands it over."""

    __slots__ = ("_properties", "body", "content_type", "delivery_tag")

    def __init__(self, message: DeliveredMessage) -> None:
        self.body = message.body
        self._properties = message.header.properties
        self.content_type = self._properties.content_type
        self.delivery_tag = message.delivery_tag

    @property
    def sent_at(self) -> datetime | None:
        sent_at = self._properties.timestamp
        return sent_at and sent_at.replace(tzinfo=UTC)

    @property
    def origin(self) -> Origin:
        """What the properties say; a header that is no text says nothing."""
        traceparent = (self._properties.headers or {}).get("traceparent")
        if isinstance(traceparent, bytes):
            traceparent = traceparent.decode(errors="replace")
        known = traceparent if isinstance(traceparent, str) else None
        return Origin(self._properties.correlation_id or None, known)


class _AmqpConsumer:
    """Collects what a queue delivers. Lives as long as its channel.

    It stands one layer below aio-pika's queues, which make an object and two tasks of every message: where
    each carries one event, that was a third of what intake did.
    """

    def __init__(self, channel: UnderlayChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._arrived: list[AmqpDelivery] = []
        self._something = asyncio.Event()
        self.received = 0
        self.in_flight = 0
        self._cancelled = False
        channel.closing.add_done_callback(lambda _: self._something.set())
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    async def begin(self) -> None:
        """Let the messages come."""
        await self._channel.basic_consume(self._queue, self._take)

    async def _take(self, message: DeliveredMessage) -> None:
        self.received += 1
        self.in_flight += 1
        self._arrived.append(AmqpDelivery(message))
        self._something.set()

    def _on_cancel(self, _frame: object) -> None:
        self._cancelled = True
        self._something.set()

    async def _something_arrived(self) -> None:
        await self._something.wait()
        if self._cancelled:
            raise TransportError("RabbitMQ delivers no more: the queue was deleted, or moved to another node")
        if self._channel.is_closed:
            raise TransportError("the connection to RabbitMQ was lost")

    def _all(self) -> list[AmqpDelivery]:
        self._something.clear()
        arrived, self._arrived = self._arrived, []
        return arrived


class AmqpUsageConsumer(_AmqpConsumer):
    """See ``shared.messaging.transport.UsageConsumer``."""

    async def receive(self) -> list[UsageDelivery]:
        await self._something_arrived()
        return list(self._all())

    async def acknowledge(self, deliveries: list[UsageDelivery]) -> None:
        with _as_transport_error():
            # Everything that was received up to the last one is done, so one frame says it all.
            await self._channel.basic_ack(deliveries[-1].delivery_tag, multiple=True)  # type: ignore[attr-defined]
        self.in_flight -= len(deliveries)


class AmqpAlertConsumer(_AmqpConsumer):
    """See ``shared.messaging.transport.AlertConsumer``."""

    async def receive(self, settle_s: float) -> list[Delivery]:
        await self._something_arrived()
        await asyncio.sleep(settle_s)
        await self._something_arrived()  # or the connection was lost meanwhile
        return list(self._all())

    async def acknowledge(self, delivery: Delivery) -> None:
        with _as_transport_error():
            await self._channel.basic_ack(delivery.delivery_tag)  # type: ignore[attr-defined]
        self.in_flight -= 1


def _persistent(body: bytes, content_type: str, origin: Origin = NO_ORIGIN) -> aio_pika.Message:
    name = origin.correlation_id or ""
    return aio_pika.Message(
        body,
        content_type=content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        timestamp=utc_now(),
        correlation_id=name if len(name.encode()) <= _MAX_NAME_BYTES else None,
        headers={"traceparent": origin.traceparent} if origin.traceparent else None,
    )


async def _subscribe(channel: AbstractChannel, queue: str | None, routing_key: str) -> AbstractQueue:
    """Declare a subscription, a durable one where it has a name, and bind it."""
    if queue:
        subscription = await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    else:
        subscription = await channel.declare_queue(exclusive=True)
    await subscription.bind(ALERTS_EXCHANGE, routing_key)
    return subscription


async def _acknowledged_in_turn(
    messages: AsyncIterator[AbstractIncomingMessage],
) -> AsyncIterator[AbstractIncomingMessage]:
    async for message in messages:
        yield message
        await message.ack()


async def _declare(channel: AbstractChannel) -> None:
    usage = await channel.declare_exchange(USAGE_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    await channel.declare_exchange(ALERTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    await channel.declare_queue(
        dead_letter_queue(INTAKE_QUEUE), durable=True, arguments=dead_letter_arguments()
    )
    intake = await channel.declare_queue(INTAKE_QUEUE, durable=True, arguments=queue_arguments(INTAKE_QUEUE))
    await intake.bind(usage, USAGE_ROUTING_KEY)


@contextmanager
def _as_transport_error() -> Iterator[None]:
    try:
        yield
    except DeliveryError as error:
        raise TransportError(f"RabbitMQ did not take the message: {error!r}") from error
    except (AMQPError, RuntimeError, ConnectionError, TimeoutError, StopAsyncIteration) as error:
        # StopAsyncIteration: aiormq found the connection closed before the first frame.
        raise TransportError(f"RabbitMQ cannot be reached: {error!r}") from error
    except Exception as error:
        # A connection that closes at this very moment is a bare Exception to aiormq; later a RuntimeError.
        if type(error) is not Exception:
            raise
        raise TransportError("the connection to RabbitMQ was lost") from error
