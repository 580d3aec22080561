"""dramatiq as it comes, for the holes that payg closes: classic queues, its own retries, its own consumer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Retries

STOCK_QUEUE = "stock"


@contextmanager
def stock_worker(url: str, actor: Callable[[int], None]) -> Iterator[None]:
    """Run an actor on one thread. It is retried a few times, soon."""
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(dramatiq.JSONEncoder())
    broker = _broker(url)
    dramatiq.actor(actor, queue_name=STOCK_QUEUE, actor_name=STOCK_QUEUE, broker=broker)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    try:
        yield
    finally:
        worker.stop(timeout=10_000)
        broker.close()
        dramatiq.set_encoder(before)


def stock_enqueue(url: str, record: int) -> None:
    """Send a message to the actor."""
    broker = _broker(url)
    broker.enqueue(
        dramatiq.Message(
            queue_name=STOCK_QUEUE, actor_name=STOCK_QUEUE, args=(record,), kwargs={}, options={}
        )
    )
    broker.close()


def stock_counts(url: str) -> tuple[int, int, int]:
    """Return how many messages are ready: in the queue, delayed, and dead."""
    broker = _broker(url)
    broker.declare_queue(STOCK_QUEUE, ensure=True)
    counts = broker.get_queue_message_counts(STOCK_QUEUE)
    broker.close()
    return counts


def _broker(url: str) -> RabbitmqBroker:
    retries = Retries(max_retries=5, min_backoff=10, max_backoff=20)
    return RabbitmqBroker(url=url, confirm_delivery=True, middleware=[retries])
