"""Run a stage as a dramatiq actor: decode the batch, handle it, emit what follows, acknowledge.

The handler runs on the process's event loop; what it returns is published from the worker's thread with
publisher confirms. Messages that wait for each other are handled as one batch (see ``lane``). A failure is
answered by ``after_failure``; a stage that waits stops at once on shutdown.
"""

import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any, Generic, TypeVar

import dramatiq
import msgspec
import structlog
from dramatiq.asyncio import async_to_sync
from dramatiq.middleware import CurrentMessage, Middleware
from structlog.contextvars import bound_contextvars

from shared.messaging.envelope import Origin, StageMessage
from shared.messaging.failure import ComesBack, GiveUp, Halve, Wait, after_failure
from shared.messaging.lane import Lane
from shared.messaging.topology import Stage
from shared.metrics import BATCH, RETRIES
from shared.tracing import span

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
        self._handle = async_to_sync(_measured(stage, handle))
        self._lanes: dict[str, Lane[Element]] = {}
        # dramatiq's connections belong to a thread: so many messages wait for their confirmation at once.
        self._publishers = ThreadPoolExecutor(PUBLISHERS, thread_name_prefix="publisher")

    def register(self, queues: Sequence[str]) -> None:
        """Make the stage the actor of its name and consume those queues."""
        gather_s = GATHER_S if len(queues) > LANES else 0.0
        lanes = [Lane(self._handle_party, self._emit, MERGED_ELEMENTS, gather_s) for _ in range(LANES)]
        for number, queue in enumerate(queues):
            self._broker.declare_queue(queue)
            self._lanes[queue] = lanes[number % LANES]
        dramatiq.actor(actor_name=str(self._stage), queue_name=queues[0], broker=self._broker)(self._process)

    def _process(self, batch: msgspec.Raw) -> None:
        elements = self._decoder.decode(batch)
        message = _current_message()
        queue, origin = message.queue_name, Origin.of(message.options)
        lane = self._lanes[queue]
        for attempt in count(1):
            try:
                if attempt == 1:
                    lane.process(elements, origin)
                else:
                    lane.process_alone(elements, origin)
            except ComesBack:
                raise
            except Exception as error:  # noqa: BLE001 - the policy knows what to do with each
                if isinstance(self._answer(error, attempt, len(elements)), Halve):
                    self._emit(self._halves(batch, queue, origin))
                    return
            else:
                return

    def _handle_party(self, elements: list[Element], origins: Sequence[Origin]) -> Sequence[StageMessage]:
        """Handle what is merged; logs name where it comes from, and so does what follows."""
        named = [origin.correlation_id for origin in origins]
        parents = [origin.traceparent for origin in origins if origin.traceparent]
        with (
            bound_contextvars(stage=str(self._stage), correlation_id=named[0]),
            span(str(self._stage), parents, records=len(elements)) as traceparent,
        ):
            outgoing = self._handle(elements)
            log.debug("batch handled", records=len(elements), sends=len(outgoing), merged=named[1:])
        onward = Origin(named[0], traceparent or origins[0].traceparent)
        return [replace(message, origin=onward) for message in outgoing]

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
        RETRIES.labels(str(self._stage)).inc()
        log.warning("retrying", stage=str(self._stage), records=size, then=repr(step), error=repr(error))
        if isinstance(step, Wait) and self._stopping.wait(step.seconds):
            raise ComesBack from error
        return step

    def _halves(self, batch: msgspec.Raw, queue: str, origin: Origin) -> list[StageMessage]:
        elements = msgspec.json.decode(batch, type=list[msgspec.Raw])
        middle = len(elements) // 2
        halves = elements[:middle], elements[middle:]
        return [StageMessage(self._stage, queue, half, origin) for half in halves]


def _measured(stage: Stage, handle: Handler[Element]) -> Handler[Element]:
    duration = BATCH.labels(str(stage))

    async def handled(batch: list[Element]) -> Sequence[StageMessage]:
        with duration.time():
            return await handle(batch)

    return handled


def _current_message() -> "dramatiq.Message[Any]":
    message = CurrentMessage.get_current_message()
    if message is None:
        raise RuntimeError("a stage runs as a dramatiq actor only")
    return message
