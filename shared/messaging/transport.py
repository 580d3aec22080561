"""The entrance, the alerts' exit and the view of the queues: one interface, on RabbitMQ or on Redis."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from shared.domain.errors import PaygError


class TransportError(PaygError, ConnectionError):
    """The broker cannot be reached or did not confirm. Trying again later is right."""


class Delivery(Protocol):
    """A message of usage as it arrived, not acknowledged yet."""

    body: bytes
    content_type: str | None


class UsageConsumer(Protocol):
    """Takes messages of usage off the intake queue."""

    async def receive(self) -> list[Delivery]:
        """Wait for a message, and return it with all others that are there already."""

    async def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Tell the broker that these are done. They must be all that ``receive`` returned last."""

    @property
    def in_flight(self) -> int:
        """How many messages were received and not acknowledged."""

    @property
    def received(self) -> int:
        """How many messages were received so far."""


class AlertConsumer(Protocol):
    """Takes alert events off a subscription that lasts."""

    async def receive(self, settle_s: float) -> list[Delivery]:
        """Wait for an event, then so long for others that it may have overtaken, and return all."""

    async def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that this one is done."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as the broker sees it. ``held`` are messages with a consumer, None where it cannot tell."""

    queue: str
    ready: int
    held: int | None
    consumers: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that the broker gave up on."""

    queue: str
    body: bytes


class Transport(Protocol):
    """A connection to the broker, for everything but the stages themselves. Raises TransportError."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def publish_usage(self, body: bytes, content_type: str) -> None:
        """Publish a message of usage; returns when the broker has it safe."""

    def consume_usage(self, prefetch: int) -> AbstractAsyncContextManager[UsageConsumer]:
        """Consume the intake queue, holding at most ``prefetch`` messages unacknowledged."""

    async def publish_alert(self, body: bytes, routing_key: str) -> None:
        """Publish an alert event; returns when the broker has it safe."""

    def subscribe_alerts(
        self, routing_key: str = "#", queue: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Yield alert events as they come; each is acknowledged when the next one is asked for.

        With a name the subscription is durable: alerts wait while nobody is there. Without one it begins now.
        """

    def consume_alerts(
        self, queue: str, routing_key: str = "#"
    ) -> AbstractAsyncContextManager[AlertConsumer]:
        """Consume a durable subscription: alerts wait in it while nobody is there, and until acknowledged."""

    async def queue_states(self, queues: list[str]) -> list[QueueState]:
        """Return the state of each queue that exists, upstream first as given."""

    def dead_letters(self, queues: list[str]) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters of these queues, and leave them where they are."""

    async def replay_dead_letters(self, queues: list[str]) -> int:
        """Send the dead letters of these queues back to where they came from; return how many."""


def open_transport(url: str) -> Transport:
    """Return the transport for a broker URL; it connects when it is entered."""
    if url.startswith("amqp"):
        from shared.messaging.amqp_transport import AmqpTransport  # noqa: PLC0415 - only one of the two is needed

        return AmqpTransport(url)
    from shared.messaging.redis_transport import RedisTransport  # noqa: PLC0415

    return RedisTransport(url)
