"""Connections to PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_POOLER = "pgbouncer"
#: What SQLAlchemy is told: prepare without a name, and keep nothing.
_UNPREPARED = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}


def create_engine(
    url: str, *, application: str = "payg", pool_size: int = 4, pool_timeout_s: float = 30
) -> AsyncEngine:
    """Return an engine for a ``postgresql://`` URL; parameters such as ``sslmode`` are read as libpq does.

    With ``pgbouncer=true`` no statement is kept prepared: the next transaction may be on another connection.
    It connects when it is first used. Dispose of it on the event loop that used it.
    """
    target, pooled = _without_pooler(url)
    kept = {"statement_cache_size": 0} if pooled else {}

    async def connect() -> "asyncpg.Connection":
        return await asyncpg.connect(
            target, timeout=10, server_settings={"application_name": application}, **kept
        )

    def connected() -> DBAPIConnection:
        # As `async_creator` would, which takes no such options.
        dbapi: Any = engine.dialect.dbapi
        connection: DBAPIConnection = dbapi.connect(
            async_creator_fn=connect, **(_UNPREPARED if pooled else {})
        )
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        creator=connected,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_s,
    )
    return engine


def behind_pooler(url: str) -> bool:
    """Return whether a connection may be another one in the next transaction, so that nobody can LISTEN."""
    return _without_pooler(url)[1]


def _without_pooler(url: str) -> tuple[str, bool]:
    """Take out of a URL the parameter that PostgreSQL does not know; return whether it was true."""
    parts = urlsplit(url)
    if _POOLER not in parts.query:
        return url, False
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([each for each in parameters if each[0] != _POOLER])
    return urlunsplit(parts._replace(query=query)), dict(parameters).get(_POOLER) == "true"


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
