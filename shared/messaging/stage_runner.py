"""Run a stage as a dramatiq actor: decode the batch, handle it, emit what follows, acknowledge.

The handler runs on the process's event loop; what it returns is published from the worker's thread with
publisher confirms. A failure is answered by ``after_failure``; a stage that waits stops at once on shutdown.
"""

import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from typing import Generic, TypeVar

import dramatiq
import msgspec
import structlog
from dramatiq.asyncio import async_to_sync
from dramatiq.middleware import CurrentMessage, Middleware

from shared.messaging.envelope import StageMessage
from shared.messaging.failure import GiveUp, Halve, after_failure
from shared.messaging.stage_broker import ComesBack
from shared.messaging.topology import Stage

log = structlog.get_logger(__name__)

Element = TypeVar("Element")
Handler = Callable[[list[Element]], Awaitable[Sequence[StageMessage]]]


class Stopping(Middleware):
    """Tells waiting stages that the worker shuts down."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        self.event.set()


class StageRunner(Generic[Element]):
    """One stage on one broker."""

    def __init__(
        self,
        stage: Stage,
        broker: dramatiq.Broker,
        stopping: Stopping,
        element: type[Element],
        handle: Handler[Element],
    ) -> None:
        self._stage = stage
        self._broker = broker
        self._stopping = stopping.event
        self._decoder = msgspec.json.Decoder(list[element])  # type: ignore[valid-type]
        self._handle = async_to_sync(handle)

    def register(self, queues: Sequence[str]) -> None:
        """Make the stage the actor of its name and consume those queues."""
        for queue in queues:
            self._broker.declare_queue(queue)
        dramatiq.actor(actor_name=str(self._stage), queue_name=queues[0], broker=self._broker)(self._process)

    def _process(self, batch: msgspec.Raw) -> None:
        elements = self._decoder.decode(batch)
        outgoing = self._insist(partial(self._handle, elements), batch, len(elements))
        for message in outgoing:
            self._insist(partial(self._emit, message), batch, 1)

    def _insist(
        self, effect: Callable[[], Sequence[StageMessage]], batch: msgspec.Raw, size: int
    ) -> Sequence[StageMessage]:
        """Do one thing until it succeeds or the policy says to do another."""
        for attempt in count(1):
            try:
                return effect()
            except Exception as error:
                step = after_failure(error, attempt, size)
                if isinstance(step, GiveUp):
                    raise
                log.warning(
                    "retrying", stage=str(self._stage), records=size, then=repr(step), error=repr(error)
                )
                if isinstance(step, Halve):
                    return self._halves(batch)
                if self._stopping.wait(step.seconds):
                    raise ComesBack from error
        raise AssertionError("unreachable")

    def _halves(self, batch: msgspec.Raw) -> list[StageMessage]:
        elements = msgspec.json.decode(batch, type=list[msgspec.Raw])
        middle = len(elements) // 2
        message = CurrentMessage.get_current_message()
        queue = message.queue_name if message else str(self._stage)
        return [StageMessage(self._stage, queue, half) for half in (elements[:middle], elements[middle:])]

    def _emit(self, message: StageMessage) -> Sequence[StageMessage]:
        self._broker.enqueue(message.encode())
        return ()
