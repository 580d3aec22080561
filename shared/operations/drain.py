"""Wait until nothing that was published is on its way any more.

Every record is settled, every account that is due was evaluated, and every alert is out; a payment that waits
for its retry is not waited for.

A message is either ready in a queue, or held by a process. The queues tell the first; RabbitMQ does not tell
the second to an ordinary client, so each worker process reports what it holds several times a second. A stage
is at rest when its queues are empty, no process holds anything, and no consumer is registered whose process
does not report (it may be stopped with a message in its hands). A message can be between broker and process
at that very moment; so the system is drained when it was at rest twice, every process having reported in
between that it received nothing new. Queues are read upstream first: a message that moves on is seen later.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.alerts import count_undelivered
from shared.db.evaluations import count_due
from shared.db.processes import list_processes
from shared.messaging.failure import is_transient
from shared.messaging.topology import DELAYED, every_queue
from shared.messaging.transport import QueueState, Transport

_POLL_S = 0.1
_BETWEEN_LOOKS_S = 0.8


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What a worker process said of itself."""

    process_id: str
    queues: tuple[str, ...]
    in_flight: int
    received: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """The queues and the processes at one moment, as near as can be."""

    queues: tuple[QueueState, ...]
    reports: tuple[ProcessReport, ...]
    due: int
    undelivered: int

    @property
    def waiting(self) -> str | None:
        """What the system is not at rest for, or None."""
        for queue in self.queues:
            if queue.ready or queue.held:
                return f"{queue.ready + (queue.held or 0)} messages in {queue.queue}"
            name = queue.queue.removesuffix(DELAYED)
            reporting = sum(1 for report in self.reports if name in report.queues)
            if queue.held is None and queue.consumers > reporting:
                return f"a consumer of {queue.queue} whose process does not report"
        counted = (
            (sum(report.in_flight for report in self.reports), "messages that processes hold"),
            (self.due, "accounts that are due for evaluation"),
            (self.undelivered, "alerts that are not delivered"),
        )
        return next((f"{number} {what}" for number, what in counted if number), None)

    def nothing_since(self, earlier: "Look") -> bool:
        """Return whether every process reported again and received nothing in between."""
        before = {report.process_id: report for report in earlier.reports}
        return all(
            (old := before.get(report.process_id)) is not None
            and report.received == old.received
            and report.seen_at > old.seen_at
            for report in self.reports
        )


async def drain(engine: AsyncEngine, transport: Transport, debit_queues: int, timeout_s: float) -> str | None:
    """Return None once the system is drained, or what it still waited for when the time was up."""
    deadline = monotonic() + timeout_s
    queues = watched_queues(debit_queues)
    earlier: tuple[float, Look] | None = None
    while True:
        try:
            look = await _look(engine, transport, queues)
            waiting = look.waiting
        except DBAPIError as error:
            if not is_transient(error):
                raise
            waiting = "the database, which cannot be reached"
        if waiting:
            earlier = None
        elif earlier is None:
            earlier = (monotonic(), look)
        elif monotonic() - earlier[0] >= _BETWEEN_LOOKS_S:
            if look.nothing_since(earlier[1]):
                return None
            waiting, earlier = "processes that just received something", (monotonic(), look)
        if monotonic() >= deadline:
            return waiting or "a second look"
        await asyncio.sleep(_POLL_S)


def watched_queues(debit_queues: int) -> list[str]:
    """Return every queue that usage passes, with its queue of delayed messages before it, upstream first."""
    return [each for name in every_queue(debit_queues) for each in (f"{name}{DELAYED}", name)]


async def _look(engine: AsyncEngine, transport: Transport, queues: list[str]) -> Look:
    states = await transport.queue_states(queues)
    async with engine.connect() as connection:
        rows = [row for row in await list_processes(connection) if row["fresh"]]
        due, undelivered = await count_due(connection), await count_undelivered(connection)
    reports = (
        ProcessReport(r["process_id"], tuple(r["queues"]), r["in_flight"], r["received"], r["seen_at"])
        for r in rows
    )
    return Look(tuple(states), tuple(reports), due, undelivered)
