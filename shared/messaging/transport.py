"""The entrance, the alerts' exit and the view of the queues: one interface, on RabbitMQ or on Redis."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from shared.domain.errors import PaygError
from shared.messaging.envelope import NO_ORIGIN, Origin


class TransportError(PaygError, ConnectionError):
    """The broker cannot be reached or did not confirm. Trying again later is right."""


class PublishedAlert(NamedTuple):
    """An alert event, the routing key it goes out with, and what it goes back to."""

    routing_key: str
    body: bytes
    origin: Origin = NO_ORIGIN


class Delivery(Protocol):
    """A message of usage as it arrived, not acknowledged yet."""

    body: bytes
    content_type: str | None


class UsageDelivery(Delivery, Protocol):
    """One that says when it was sent, and what it goes back to, where whoever sent it did."""

    @property
    def sent_at(self) -> datetime | None: ...

    @property
    def origin(self) -> Origin: ...


class UsageConsumer(Protocol):
    """Takes messages of usage off the intake queue."""

    async def receive(self) -> list[UsageDelivery]:
        """Wait for a message, and return it with all others that are there already."""

    async def acknowledge(self, deliveries: list[UsageDelivery]) -> None:
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

    async def publish_alerts(self, alerts: Sequence[PublishedAlert]) -> None:
        """Publish alert events in order; returns when the broker has all of them safe."""

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

    async def count_dead_letters(self, queues: list[str]) -> dict[str, int]:
        """Return by queue how many dead letters there are, without reading them."""

    def dead_letters(self, queues: list[str]) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters of these queues, and leave them where they are."""

    async def replay_dead_letters(self, queues: list[str]) -> int:
        """Send the dead letters of these queues back to where they came from; return how many."""
