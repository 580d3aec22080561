"""The broker of a run: queues that lose nothing by themselves, and the exchange of alerts."""

from collections import defaultdict
from types import TracebackType
from typing import Any, NamedTuple, Self

import dramatiq
import msgspec

from shared.messaging.envelope import StageMessage
from shared.messaging.transport import TransportError
from simulation.scheduler import Scheduler

_DUPLICATE_PERCENT = 8
_LOST_PERCENT = 3


class Message(NamedTuple):
    """A batch in a queue, as JSON."""

    number: int
    body: bytes


class Queues(dramatiq.Broker):
    """Takes what stages publish. Which message is delivered next is a choice."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.ready: dict[str, list[Message]] = defaultdict(list)
        self.dead: list[Message] = []
        self._published = 0

    def put(self, message: StageMessage) -> None:
        """Take a message in."""
        self._published += 1
        self.ready[message.queue].append(Message(self._published, msgspec.json.encode(message.batch)))

    def enqueue(
        self, message: "dramatiq.Message[Any]", *, delay: int | None = None
    ) -> "dramatiq.Message[Any]":
        """Take in what the clock sends."""
        if delay is not None:
            raise ValueError("payg delays no message")
        self._published += 1
        body = msgspec.json.encode(message.args[0])
        self.ready[message.queue_name].append(Message(self._published, body))
        return message

    def take(self, queue: str) -> Message:
        """Deliver a message: any of them, and now and then once more later."""
        ready = self.ready[queue]
        position = self._scheduler.choices.below(len(ready)) if self._scheduler.faults else 0
        if self._scheduler.fault(_DUPLICATE_PERCENT, f"#{ready[position].number} will come twice"):
            return ready[position]
        return ready.pop(position)

    def give_back(self, queue: str, message: Message) -> None:
        """Take back a message whose consumer died before it acknowledged."""
        self.ready[queue].insert(0, message)


class Exchange:
    """What notifications sees of the broker: a connection that publishes alerts, or breaks."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.published: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def publish_alert(self, body: bytes, routing_key: str) -> None:
        """Publish an alert; its confirmation may be lost, before or after the alert is safe."""
        await self._scheduler.point(f"publishing {routing_key}")
        if self._scheduler.fault(_LOST_PERCENT, f"{routing_key} did not reach the broker"):
            raise TransportError("not published")
        self._scheduler.changed = True
        self.published.append(msgspec.json.decode(body))
        if self._scheduler.fault(_LOST_PERCENT, f"the confirmation of {routing_key} is lost"):
            raise TransportError("not confirmed")
