"""dramatiq on Redis, for the embedded mode: where no AMQP broker can be had."""

from time import monotonic
from typing import Any

from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.middleware import Middleware

from shared.messaging.failure import ComesBack

NAMESPACE = "payg"
_CENTURY_MS = 100 * 365 * 86_400_000


class DurableRedisBroker(RedisBroker):
    """A broker whose dead letters never expire, and that soon takes over from a process that died.

    Redis itself knows what consumers hold, so there is nothing to count here.
    """

    in_flight = 0
    received = 0

    def hand_over(self, fair_share: int) -> list[str]:  # noqa: ARG002
        """Give up nothing: on Redis every process takes from every queue."""
        return []

    def __init__(self, url: str, middleware: list[Middleware], *, takeover_s: float = 15) -> None:
        super().__init__(
            url=url,
            middleware=middleware,
            namespace=NAMESPACE,
            dead_message_ttl=_CENTURY_MS,
            heartbeat_timeout=int(takeover_s * 1000),
            maintenance_chance=50_000,
        )
        self.pulled_at: dict[str, float] = {}

    @property
    def consumer_class(self) -> "type[DurableRedisConsumer]":
        return DurableRedisConsumer


class DurableRedisConsumer(_RedisConsumer):
    """A consumer that can give a message back."""

    def __next__(self) -> Any:  # noqa: ANN401 - dramatiq's message, or None
        self.broker.pulled_at[self.queue_name] = monotonic()
        return super().__next__()

    def nack(self, message: Any) -> None:  # noqa: ANN401 - dramatiq's message proxy
        if isinstance(message._exception, ComesBack):  # noqa: SLF001
            self.queued_message_ids.discard(message.message_id)
            self.requeue([message])
        else:
            super().nack(message)
