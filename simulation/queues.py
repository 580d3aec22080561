"""The broker of a run: queues that lose nothing by themselves, and the exchange of alerts."""

from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import dramatiq
import msgspec

from shared.messaging.envelope import StageMessage
from shared.messaging.transport import PublishedAlert, TransportError
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
        self.put_body(message.queue, msgspec.json.encode(message.batch))

    def put_body(self, queue: str, body: bytes) -> None:
        """Take a message in that no stage published."""
        self._published += 1
        self.ready[queue].append(Message(self._published, body))

    def enqueue(
        self, message: "dramatiq.Message[Any]", *, delay: int | None = None
    ) -> "dramatiq.Message[Any]":
        """Take in what intake and the clock send; it may be lost, and its confirmation."""
        if delay is not None:
            raise ValueError("payg delays no message")
        queue = message.queue_name
        if self._scheduler.fault(_LOST_PERCENT, f"what is for {queue} does not reach the broker"):
            raise ConnectionError("not published")
        self.put_body(queue, msgspec.json.encode(message.args[0]))
        if self._scheduler.fault(_LOST_PERCENT, f"the confirmation of what is for {queue} is lost"):
            raise ConnectionError("not confirmed")
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

    async def publish_alerts(self, alerts: Sequence[PublishedAlert]) -> None:
        """Publish alerts; a confirmation may be lost, before or after its alert is safe."""
        for routing_key, body, _ in alerts:
            await self._scheduler.point(f"publishing {routing_key}")
            if self._scheduler.fault(_LOST_PERCENT, f"{routing_key} did not reach the broker"):
                raise TransportError("not published")
            self._scheduler.changed = True
            self.published.append(msgspec.json.decode(body))
            if self._scheduler.fault(_LOST_PERCENT, f"the confirmation of {routing_key} is lost"):
                raise TransportError("not confirmed")
