"""Where the gate weighs: in Redis, or in the database while Redis is away. All processes do the same.

A process that can not reach Redis says so in the database. The others look there twice a second, and nobody
weighs in the database before all of them know: what one process held in Redis, another would not count.
"""

import asyncio
from datetime import timedelta
from time import monotonic

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.believed import Believed
from shared.db import gate as sql
from shared.gateways.redis_gate import GateUnavailableError, RedisGate

log = structlog.get_logger(__name__)

#: How long a process believes that all weigh in Redis, and how long all weigh in the database at least.
LEASE = timedelta(seconds=0.5)
AWAY = timedelta(seconds=2)


class GateMode:
    """What one process knows of the mode."""

    def __init__(self, engine: AsyncEngine, redis: RedisGate) -> None:
        self._engine = engine
        self._redis = redis
        self._mode = Believed(self._look, LEASE.total_seconds())
        self._known_at_s = 0.0
        self.turn = -1

    async def in_redis(self) -> bool:
        """Return whether all processes weigh in Redis at this moment; if not, when all of them know that."""
        mode = await self._mode.get()
        if mode.away:
            await self._until_all_know()
        return not mode.away

    async def leave_redis(self) -> None:
        """Let all processes weigh in the database; returns when all of them know."""
        if not (await self._mode.get()).away:
            async with self._engine.begin() as connection:
                await sql.leave_redis(connection, AWAY)
            log.warning("requests are weighed in the database: Redis does not answer")
            await self._mode.renew()
        await self._until_all_know()

    async def _until_all_know(self) -> None:
        await asyncio.sleep(max(0.0, self._known_at_s - monotonic()))

    async def _look(self) -> sql.Mode:
        mode = await self._read()
        if mode.over:
            await self._try_redis()
            mode = await self._read()
        self._known_at_s = monotonic() + (mode.wait.total_seconds() if mode.wait else 0.0)
        self.turn = mode.turn
        return mode

    async def _read(self) -> sql.Mode:
        async with self._engine.connect() as connection:
            return await sql.read_mode(connection, LEASE)

    async def _try_redis(self) -> None:
        try:
            await self._redis.marker()
        except GateUnavailableError:
            async with self._engine.begin() as connection:
                await sql.leave_redis(connection, AWAY)
        else:
            async with self._engine.begin() as connection:
                await sql.return_to_redis(connection)
