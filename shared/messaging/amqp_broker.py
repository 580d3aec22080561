"""dramatiq on RabbitMQ quorum queues.

Overrides private hooks of dramatiq 2.2.1 (hence the pinned version): queue arguments, and what happens to a
message when its consumer is gone or it must come back. A test reads the arguments back from the broker.
"""

from functools import partial
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware
from pika.exceptions import ChannelClosedByBroker

from shared.messaging.failure import ComesBack
from shared.messaging.lane import MERGED_MESSAGES
from shared.messaging.topology import (
    dead_letter_arguments,
    dead_letter_queue,
    delayed_arguments,
    queue_arguments,
)

ACCESS_REFUSED = 403


class QuorumBroker(RabbitmqBroker):
    """A broker whose queues are those of the topology and whose publishes are confirmed."""

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        super().__init__(url=_for_pika(url), middleware=middleware, confirm_delivery=True)
        self.consumers: list[QuorumConsumer] = []
        self.received = 0
        #: When each queue was last looked into for a message, on the monotonic clock.
        self.pulled_at: dict[str, float] = {}

    @property
    def in_flight(self) -> int:
        """How many messages this process was given and has not settled."""
        return sum(len(consumer.known_tags) for consumer in list(self.consumers))

    @property
    def consumer_class(self) -> "type[QuorumConsumer]":
        return QuorumConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "QuorumConsumer":  # noqa: ARG002
        """Consume a queue, as dramatiq asks, with a prefetch that does not grow with the queues."""
        self.declare_queue(queue_name, ensure=True)
        return QuorumConsumer(self, queue_name, 2 * MERGED_MESSAGES, timeout)

    def hand_over(self, fair_share: int) -> list[str]:
        """Give up queues beyond this process's fair share; return their names.

        With a single active consumer a queue stays with the process that came first, so one that starts later
        would stand idle. A consumer that lets go queues up again behind the others.
        """
        active = [consumer for consumer in self.consumers if consumer.received]
        surplus = active[fair_share:]
        for consumer in surplus:
            consumer.lets_go = True
        return [consumer.queue_name for consumer in surplus]

    def _declare_queue(self, queue_name: str) -> Any:  # noqa: ANN401 - pika's answer
        return self._declare(queue_name, queue_arguments(queue_name))

    def _declare_dq_queue(self, queue_name: str) -> Any:  # noqa: ANN401 - pika's answer
        # dramatiq insists on a queue for delayed messages. payg delays none: a failing stage waits in place.
        return self._declare(dq_name(queue_name), delayed_arguments(queue_name))

    def _declare_xq_queue(self, queue_name: str) -> Any:  # noqa: ANN401 - pika's answer
        return self._declare(dead_letter_queue(queue_name), dead_letter_arguments())

    def _declare(self, queue: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - pika's answer
        """Declare a queue; where our user may not, it must be there already."""
        try:
            return self.channel.queue_declare(queue, durable=True, arguments=arguments)
        except ChannelClosedByBroker as refused:
            if refused.reply_code != ACCESS_REFUSED:
                raise
            del self.channel
            return self.channel.queue_declare(queue, passive=True)


def _for_pika(url: str) -> str:
    """Say in pika's words whose certificates are believed; ``cafile`` is what aio-pika reads."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if cafile := query.pop("cafile", None):
        query["ssl_options"] = repr({"cafile": cafile})
    return urlunsplit(parts._replace(query=urlencode(query)))


class HandOver(Exception):  # noqa: N818 - no error: the connection is closed on purpose
    """A consumer lets another process have its queue; what it holds unfinished is delivered again there."""


class QuorumConsumer(_RabbitmqConsumer):
    """A consumer that settles only what it delivered itself.

    When a connection breaks, dramatiq goes on with the messages of the old consumer and would acknowledge
    them on the new one, where the same delivery tag names another message: one that nobody has processed.
    """

    def __init__(self, broker: QuorumBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self.received = 0
        self.lets_go = False
        broker.consumers.append(self)

    def __next__(self) -> Any:  # noqa: ANN401 - dramatiq's message, or None
        if self.lets_go:
            raise ConnectionClosed(HandOver(f"{self.queue_name} goes to another worker"))
        self.broker.pulled_at[self.queue_name] = monotonic()
        message = super().__next__()
        if message is not None:
            message.consumer = self
            self.received += 1
            self.broker.received += 1
        return message

    def ack(self, message: Any) -> None:  # noqa: ANN401
        if message.consumer is self:
            super().ack(message)

    def nack(self, message: Any) -> None:  # noqa: ANN401
        if message.consumer is not self:
            return
        if isinstance(message._exception, ComesBack):  # noqa: SLF001
            self.known_tags.discard(message._tag)  # noqa: SLF001
            give_back = partial(self.channel.basic_nack, message._tag, requeue=True)  # noqa: SLF001
            self.connection.add_callback_threadsafe(give_back)
        else:
            super().nack(message)

    def close(self) -> None:
        if self in self.broker.consumers:
            self.broker.consumers.remove(self)
        super().close()
