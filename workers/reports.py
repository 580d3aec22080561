"""What a process tells the database several times a second: what it holds, and that it is there."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import processes
from shared.messaging.topology import Stage

REPORT_EVERY_S = 0.25
PROCESS_ID = f"{socket.gethostname()}-{os.getpid()}"
_REPORTS_BETWEEN_LOOKS = 20


class Reports:
    """Tells the database several times a second what this process holds."""

    def __init__(
        self, engine: AsyncEngine, stage: Stage, queues: list[str], counts: Callable[[], processes.Counts]
    ) -> None:
        self._engine = engine
        self._stage = str(stage)
        self._queues = queues
        self._counts = counts

    async def write_until_cancelled(self, on_peers: Callable[[int], object] = lambda _peers: None) -> None:
        """Report for ever, and tell ``on_peers`` now and then how many processes share the stage."""
        try:
            for number in count():
                # A database that is away for a while is no reason to stop: reports then are merely old.
                with suppress(Exception):
                    await self._write()
                    if number % _REPORTS_BETWEEN_LOOKS == _REPORTS_BETWEEN_LOOKS - 1:
                        on_peers(await self._peers())
                await asyncio.sleep(REPORT_EVERY_S)
        finally:
            with suppress(Exception):
                async with self._engine.begin() as connection:
                    await processes.sign_off(connection, PROCESS_ID)

    async def _write(self) -> None:
        values = {
            **self._counts()._asdict(),
            "process_id": PROCESS_ID,
            "stage": self._stage,
            "queues": self._queues,
        }
        async with self._engine.begin() as connection:
            await processes.report(connection, values)

    async def _peers(self) -> int:
        async with self._engine.connect() as connection:
            return max(1, await processes.count_fresh(connection, self._stage))
