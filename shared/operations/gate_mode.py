"""Where the gate weighs: in Redis, or in the database while Redis is away. All processes do the same.

A process that can not reach Redis says so in the database. The others look there twice a second, and nobody
weighs in the database before all of them know: what one process held in Redis, another would not count.
"""

import asyncio
from datetime import timedelta
from time import monotonic

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

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
        self._lock = asyncio.Lock()
        self._believed_until = self._known_at = 0.0
        self._in_redis = False
        self.turn = -1

    async def in_redis(self) -> bool:
        """Return whether all processes weigh in Redis at this moment; if not, when all of them know that."""
        if monotonic() >= self._believed_until:
            async with self._lock:
                if monotonic() >= self._believed_until:
                    await self._look()
        if not self._in_redis:
            await self._until_all_know()
        return self._in_redis

    async def leave_redis(self) -> None:
        """Let all processes weigh in the database; returns when all of them know."""
        asked_at = monotonic()
        async with self._lock:
            if self._in_redis or self._believed_until <= asked_at:
                async with self._engine.begin() as connection:
                    await sql.leave_redis(connection, AWAY)
                log.warning("requests are weighed in the database: Redis does not answer")
                await self._look()
        await self._until_all_know()

    async def _until_all_know(self) -> None:
        await asyncio.sleep(max(0.0, self._known_at - monotonic()))

    async def _look(self) -> None:
        looked_at = monotonic()
        async with self._engine.connect() as connection:
            mode = await sql.read_mode(connection, LEASE)
        if mode.over:
            mode = await self._try_redis()
        self.turn, self._in_redis = mode.turn, not mode.away
        self._believed_until = looked_at + LEASE.total_seconds()
        self._known_at = monotonic() + (mode.wait.total_seconds() if mode.wait else 0.0)

    async def _try_redis(self) -> sql.Mode:
        try:
            await self._redis.marker()
        except GateUnavailableError:
            async with self._engine.begin() as connection:
                await sql.leave_redis(connection, AWAY)
        else:
            async with self._engine.begin() as connection:
                await sql.return_to_redis(connection)
        async with self._engine.connect() as connection:
            return await sql.read_mode(connection, LEASE)
