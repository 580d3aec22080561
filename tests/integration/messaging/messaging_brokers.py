"""The two brokers that the contract holds for, each as a test needs it."""

from dataclasses import dataclass

from sandbox.servers import RabbitMQ, ServerProcess
from shared.messaging.connect import open_transport
from shared.messaging.transport import Transport

#: After so long a Redis consumer takes over what another one has left lying.
TAKEOVER_S = 0.3


@dataclass(frozen=True)
class BrokerOfTest:
    """Where one adapter finds its broker; the server only where the test may restart it."""

    url: str
    server: ServerProcess | None = None

    @property
    def is_amqp(self) -> bool:
        return self.url.startswith("amqp")

    def transport(self) -> Transport:
        """Return a transport that takes over soon from a consumer that is gone."""
        if self.is_amqp:
            return open_transport(self.url)
        from shared.messaging.redis_transport import RedisTransport  # noqa: PLC0415 - as open_transport does

        return RedisTransport(self.url, takeover_s=TAKEOVER_S)


def messages_in(server: RabbitMQ, url: str, queue: str) -> int:
    """Return how many messages a queue of a virtual host has, ready and unacknowledged."""
    rows = server.ctl("list_queues", "-p", url.rpartition("/")[2], "name", "messages")
    return next(int(count) for name, count in map(str.split, rows.splitlines()[1:]) if name == queue)
