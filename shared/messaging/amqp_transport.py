"""The transport on RabbitMQ, with aio-pika. Connections are plain: who needs a new one opens a new one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity, DeliveryError
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import DeliveredMessage

from shared.messaging.topology import (
    ALERTS_EXCHANGE,
    INTAKE_QUEUE,
    USAGE_EXCHANGE,
    USAGE_ROUTING_KEY,
    dead_letter_arguments,
    dead_letter_queue,
    queue_arguments,
)
from shared.messaging.transport import DeadLetter, Delivery, QueueState, TransportError

_CONFIRM_TIMEOUT_S = 30.0
_ALERTS_HELD = 100


class AmqpTransport:
    """See ``shared.messaging.transport.Transport``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._publishing: AbstractChannel | None = None

    async def __aenter__(self) -> Self:
        with _as_transport_error():
            self._connection = await aio_pika.connect(self._url, timeout=10)
            async with self._connection.channel() as channel:
                await _declare(channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def publish_usage(self, body: bytes, content_type: str) -> None:
        await self._publish(USAGE_EXCHANGE, USAGE_ROUTING_KEY, body, content_type, mandatory=True)

    async def publish_alert(self, body: bytes, routing_key: str) -> None:
        # Nobody has to listen: without a subscriber an alert goes nowhere, and stays in the database.
        await self._publish(
            ALERTS_EXCHANGE, routing_key, body, "application/cloudevents+json", mandatory=False
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
                queue = await self._find(name)
                if queue is None:
                    continue
                await queue.channel.close()
                counts = queue.declaration_result
                states.append(QueueState(name, counts.message_count or 0, None, counts.consumer_count or 0))
        return states

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

    async def _publish(
        self, exchange: str, routing_key: str, body: bytes, content_type: str, *, mandatory: bool
    ) -> None:
        message = aio_pika.Message(
            body, content_type=content_type, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        with _as_transport_error():
            if self._publishing is None or self._publishing.is_closed:
                self._publishing = await self._connection.channel(on_return_raises=True)
            target = await self._publishing.get_exchange(exchange, ensure=False)
            await target.publish(message, routing_key, mandatory=mandatory, timeout=_CONFIRM_TIMEOUT_S)

    async def _find(self, name: str) -> AbstractQueue | None:
        """Return a queue with its counts, on a channel of its own, or None where there is none."""
        channel = await self._connection.channel()
        try:
            return await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:
            return None


class AmqpDelivery:
    """A message of usage as aiormq hands it over."""

    __slots__ = ("body", "content_type", "delivery_tag")

    def __init__(self, message: DeliveredMessage) -> None:
        self.body = message.body
        self.content_type = message.header.properties.content_type
        self.delivery_tag = message.delivery_tag


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
        channel.closing.add_done_callback(lambda _: self._something.set())

    async def begin(self) -> None:
        """Let the messages come."""
        await self._channel.basic_consume(self._queue, self._take)

    async def _take(self, message: DeliveredMessage) -> None:
        self.received += 1
        self.in_flight += 1
        self._arrived.append(AmqpDelivery(message))
        self._something.set()

    async def _something_arrived(self) -> None:
        await self._something.wait()
        if self._channel.is_closed:
            raise TransportError("the connection to RabbitMQ was lost")

    def _all(self) -> list[Delivery]:
        self._something.clear()
        arrived, self._arrived = self._arrived, []
        return list(arrived)


class AmqpUsageConsumer(_AmqpConsumer):
    """See ``shared.messaging.transport.UsageConsumer``."""

    async def receive(self) -> list[Delivery]:
        await self._something_arrived()
        return self._all()

    async def acknowledge(self, deliveries: list[Delivery]) -> None:
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
        return self._all()

    async def acknowledge(self, delivery: Delivery) -> None:
        with _as_transport_error():
            await self._channel.basic_ack(delivery.delivery_tag)  # type: ignore[attr-defined]
        self.in_flight -= 1


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
    except (AMQPError, RuntimeError, ConnectionError, TimeoutError) as error:
        raise TransportError(f"RabbitMQ cannot be reached: {error!r}") from error
    except Exception as error:
        # A connection that closes at this very moment is a bare Exception to aiormq; later a RuntimeError.
        if type(error) is not Exception:
            raise
        raise TransportError("the connection to RabbitMQ was lost") from error
