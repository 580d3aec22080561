"""Alerts to whoever holds a stream open: a query for all of them three times a second, fanned out in memory.

Looking costs one indexed query a process, and nothing while no stream is open; being told by PostgreSQL would
cost a lock at every commit that writes an alert, and could not replace looking. A reader that falls behind is
let go: it comes back with the number of what it saw last, and is given the rest from the database.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import groupby

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import alert_stream as sql

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.3
_MOST_WAITING = 1_000


class Reader:
    """One open stream: what is new and was not taken yet, at most so much of it."""

    def __init__(self, snapshot: str) -> None:
        #: Alerts that this snapshot sees are past; all others come.
        self.snapshot = snapshot
        self._waiting: list[RowMapping] = []
        self._something = asyncio.Event()
        self._ended = False

    async def receive(self) -> Sequence[RowMapping]:
        """Wait for alerts and return them in order; none where the stream is over."""
        await self._something.wait()
        if not self._ended:
            self._something.clear()
        taken, self._waiting = self._waiting, []
        return taken

    def give(self, new: Sequence[RowMapping]) -> None:
        if len(self._waiting) + len(new) > _MOST_WAITING:
            self.end()
            return
        self._waiting += new
        self._something.set()

    def end(self) -> None:
        """Let the stream end; what was not taken comes when its reader is back."""
        self._waiting = []
        self._ended = True
        self._something.set()


class AlertStreams:
    """All open streams of a process."""

    def __init__(self, engine: AsyncEngine, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._engine = engine
        self._look_every_s = look_every_s
        self._readers: defaultdict[str, set[Reader]] = defaultdict(set)
        self._snapshot = ""
        self._changing = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def reading(self, account_id: str) -> AsyncIterator[Reader]:
        """Yield a reader of an account's alerts, from now on."""
        async with self._changing:
            if not self._readers:
                self._snapshot = await sql.current_snapshot(self._engine)
            reader = Reader(self._snapshot)
            self._readers[account_id].add(reader)
        if self._closed:
            reader.end()
        elif self._looking is None:
            self._looking = asyncio.create_task(self._look_forever())
        try:
            yield reader
        finally:
            self._leave(account_id, reader)

    async def replay(
        self, account_id: str, after: int, reader: Reader
    ) -> AsyncIterator[Sequence[RowMapping]]:
        """Yield pages of what an account was told after that number, up to where its reader begins."""
        async for page in sql.replay(self._engine, account_id, after, reader.snapshot):
            yield page

    async def close(self) -> None:
        """End all streams, and let none begin."""
        self._closed = True
        for reader in list(self._all()):
            reader.end()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    def _leave(self, account_id: str, reader: Reader) -> None:
        self._readers[account_id].discard(reader)
        if not self._readers[account_id]:
            del self._readers[account_id]

    def _all(self) -> Iterator[Reader]:
        for readers in self._readers.values():
            yield from readers

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                async with self._changing:
                    if self._readers:
                        await self._look()
            except Exception as error:  # noqa: BLE001 - what was missed is found at the next look
                log.warning("open streams get their alerts later", error=repr(error))

    async def _look(self) -> None:
        appeared = await sql.appeared_since(self._engine, self._snapshot, list(self._readers))
        self._snapshot = appeared.snapshot
        by_account = sorted(appeared.alerts, key=lambda alert: alert["account_id"])  # stable: still in order
        for account_id, new in groupby(by_account, key=lambda alert: str(alert["account_id"])):
            alerts = list(new)
            for reader in self._readers.get(account_id, ()):
                reader.give(alerts)
