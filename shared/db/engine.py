"""Connections to PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine


def create_engine(
    url: str, *, application: str = "payg", pool_size: int = 4, pool_timeout_s: float = 30
) -> AsyncEngine:
    """Return an engine for a ``postgresql://`` URL; parameters such as ``sslmode`` are read as libpq does.

    It connects when it is first used. Dispose of it on the event loop that used it.
    """

    async def connect() -> "asyncpg.Connection":
        return await asyncpg.connect(url, timeout=10, server_settings={"application_name": application})

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_s,
    )


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection on which every read sees the same state of the database, and nothing is written."""
    async with engine.connect() as connection:
        await connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True, postgresql_deferrable=True
        )
        yield connection


async def database_time(connection: AsyncConnection) -> datetime:
    """Return the database's clock: the one that all processes share."""
    now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return now
