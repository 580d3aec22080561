"""Look at the queues and the books every few seconds, and keep what is seen for whoever asks."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import operations_view as sql
from shared.db.operations_view import QueueLook
from shared.domain.lag import oldest_at
from shared.messaging.kept_transport import KeptTransport
from shared.messaging.topology import Stage, every_queue
from shared.messaging.transport import Transport, TransportError
from shared.metrics import Gauge, Gauges

log = structlog.get_logger(__name__)


class Watch:
    """The clock's look at everything. It keeps one connection to the broker while that lives."""

    def __init__(
        self,
        engine: AsyncEngine,
        open_transport: Callable[[], Transport],
        debit_queues: int,
        now: Callable[[], datetime],
    ) -> None:
        self.gauges = Gauges()
        self._engine = engine
        self._broker = KeptTransport(open_transport)
        self._queues = every_queue(debit_queues)
        self._now = now

    async def close(self) -> None:
        """Close the connection to the broker."""
        await self._broker.close()

    async def look(self) -> None:
        """Look once. What cannot be reached is no error: the gauges say so."""
        broker = await self._look_at_queues()
        self.gauges.values = (*await read_database(self._engine), broker)

    async def _look_at_queues(self) -> Gauge:
        try:
            async with self._broker.connected() as transport:
                states = await queue_counts(transport, self._queues)
        except TransportError as error:
            log.warning("the queues cannot be seen", error=str(error))
            return Gauge("up", "broker", 0)
        with suppress(SQLAlchemyError, OSError):  # then the gauge of the database says so
            await self._save(states)
        return Gauge("up", "broker", 1)

    async def _save(self, counts: Sequence[tuple[str, int, int, int]]) -> None:
        now = self._now()
        async with self._engine.begin() as connection:
            before, taken = await sql.last_looks(connection), await sql.taken_until(connection)
            looks = []
            for queue, ready, consumers, dead in counts:
                last = before.get(queue)
                was = (last["looked_at"], last["oldest_at"]) if last else None
                oldest = oldest_at(ready, now, was, taken.get(queue))
                looks.append(QueueLook(queue, ready, consumers, dead, oldest))
            await sql.save_looks(connection, looks, now)


async def queue_counts(transport: Transport, queues: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """Return of each queue that exists how many messages wait, its consumers, and its dead letters.

    Raises TransportError.
    """
    states = await transport.queue_states(list(queues))
    dead = await transport.count_dead_letters(list(queues))
    return [(each.queue, each.ready, each.consumers, dead.get(each.queue, 0)) for each in states]


async def read_database(engine: AsyncEngine) -> list[Gauge]:
    """Return what the database says of the system; where it cannot be reached, just that."""
    try:
        async with engine.connect() as connection:
            return [*await sql.read_gauges(connection, list(Stage)), Gauge("up", "database", 1)]
    except (SQLAlchemyError, OSError):
        return [Gauge("up", "database", 0)]
