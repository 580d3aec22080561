"""Run a stage as a dramatiq actor: decode the batch, handle it, emit what follows, acknowledge.

The handler runs on the process's event loop; what it returns is published from the worker's thread with
publisher confirms. Messages that wait for each other are handled as one batch (see ``lane``). A failure is
answered by ``after_failure``; a stage that waits stops at once on shutdown.
"""

import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Generic, TypeVar

import dramatiq
import msgspec
import structlog
from dramatiq.asyncio import async_to_sync
from dramatiq.middleware import CurrentMessage, Middleware

from shared.messaging.envelope import StageMessage
from shared.messaging.failure import GiveUp, Halve, Wait, after_failure
from shared.messaging.lane import Lane
from shared.messaging.stage_broker import ComesBack
from shared.messaging.topology import Stage

log = structlog.get_logger(__name__)

#: How many elements a stage handles at once at most, taken from several messages.
MERGED_ELEMENTS = 4_000
#: Queues of a stage are handled in so many lanes: while one waits for the database, another can decide.
LANES = 2
#: What one batch upstream became for several queues arrives within this time, and is handled as one again.
GATHER_S = 0.002
PUBLISHERS = 4

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
        self._lanes: dict[str, Lane[Element]] = {}
        # dramatiq's connections belong to a thread: so many messages wait for their confirmation at once.
        self._publishers = ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publisher")

    def register(self, queues: Sequence[str]) -> None:
        """Make the stage the actor of its name and consume those queues."""
        gather_s = GATHER_S if len(queues) > LANES else 0.0
        lanes = [Lane(self._handle, self._emit, MERGED_ELEMENTS, gather_s) for _ in range(LANES)]
        for number, queue in enumerate(queues):
            self._broker.declare_queue(queue)
            self._lanes[queue] = lanes[number % LANES]
        dramatiq.actor(actor_name=str(self._stage), queue_name=queues[0], broker=self._broker)(self._process)

    def _process(self, batch: msgspec.Raw) -> None:
        elements = self._decoder.decode(batch)
        queue = _current_queue()
        lane = self._lanes[queue]
        for attempt in count(1):
            try:
                if attempt == 1:
                    lane.process(elements)
                else:
                    lane.process_alone(elements)
            except ComesBack:
                raise
            except Exception as error:  # noqa: BLE001 - the policy knows what to do with each
                if isinstance(self._answer(error, attempt, len(elements)), Halve):
                    self._emit(self._halves(batch, queue))
                    return
            else:
                return

    def _emit(self, messages: Sequence[StageMessage]) -> None:
        """Publish messages, side by side; returns when the broker has confirmed all of them."""
        if len(messages) == 1:
            self._publish(messages[0])
        else:
            confirmed = [self._publishers.submit(self._publish, message) for message in messages]
            for each in confirmed:
                each.result()

    def _publish(self, message: StageMessage) -> None:
        for attempt in count(1):
            try:
                self._broker.enqueue(message.encode())
            except Exception as error:  # noqa: BLE001 - the same
                self._answer(error, attempt, 1)
            else:
                return

    def _answer(self, error: Exception, attempt: int, size: int) -> Wait | Halve:
        """Do what the policy says after a failure: raise it again, or return once it is time to go on."""
        step = after_failure(error, attempt, size)
        if isinstance(step, GiveUp):
            raise error
        log.warning("retrying", stage=str(self._stage), records=size, then=repr(step), error=repr(error))
        if isinstance(step, Wait) and self._stopping.wait(step.seconds):
            raise ComesBack from error
        return step

    def _halves(self, batch: msgspec.Raw, queue: str) -> list[StageMessage]:
        elements = msgspec.json.decode(batch, type=list[msgspec.Raw])
        middle = len(elements) // 2
        return [StageMessage(self._stage, queue, half) for half in (elements[:middle], elements[middle:])]


def _current_queue() -> str:
    message = CurrentMessage.get_current_message()
    if message is None:
        raise RuntimeError("a stage runs as a dramatiq actor only")
    return message.queue_name
