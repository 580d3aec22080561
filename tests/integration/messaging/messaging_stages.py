"""Stages as the worker processes run them, in this process, with handlers of the tests."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dramatiq

from shared.messaging.envelope import StageMessage
from shared.messaging.stage_broker import stage_broker
from shared.messaging.stage_runner import StageRunner, Stopping
from shared.messaging.topology import Stage

PRICING = str(Stage.PRICING)
DEBIT = "debit.0"


@dataclass(frozen=True)
class Acting:
    """A stage with a handler; elements are decoded into ``element``. It may have more queues than one."""

    stage: Stage
    handle: Callable[[list[Any]], Awaitable[Sequence[StageMessage]]]
    queue: str
    element: type[Any] = int
    more: Sequence[str] = ()

    @property
    def queues(self) -> list[str]:
        return [self.queue, *self.more]


class Collected(list[Any]):
    """A handler that keeps every batch it was given and emits nothing."""

    async def __call__(self, batch: list[Any]) -> Sequence[StageMessage]:
        self.append(batch)
        return []

    @property
    def records(self) -> list[Any]:
        return sorted(record for batch in self for record in batch)


@contextmanager
def running(url: str, *stages: Acting, threads: int = 2) -> Iterator[dramatiq.Broker]:
    """Run stages on one worker, and yield its broker; leaving the block stops it as SIGTERM would."""
    stopping = Stopping()
    broker = stage_broker(url, stopping)
    for each in stages:
        StageRunner(each.stage, broker, stopping, each.element, each.handle).register(each.queues)
    queues = {queue for each in stages for queue in each.queues}
    worker = dramatiq.Worker(broker, queues=queues, worker_threads=threads, worker_timeout=100)
    worker.start()
    try:
        yield broker
    finally:
        worker.stop(timeout=10_000)
        broker.close()


def enqueue(url: str, *messages: StageMessage) -> None:
    """Send messages to stages, as a stage upstream would."""
    broker = stage_broker(url)
    for message in messages:
        broker.declare_queue(message.queue)
        broker.enqueue(message.encode())
    broker.close()


def to_pricing(*records: Any) -> StageMessage:
    return StageMessage(Stage.PRICING, PRICING, records)


def to_debit(*records: Any) -> StageMessage:
    return StageMessage(Stage.DEBIT, DEBIT, records)
