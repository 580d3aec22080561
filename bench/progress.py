"""How far a run has come, read without getting in its way."""

import asyncio
from collections.abc import Callable
from time import monotonic

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.evaluations import count_due

_TIMEOUT_S = 300.0
_POLL_S = 0.01
_STILL_S = 0.5
_SIZE = text("SELECT pg_relation_size('usage_ids')")
_COUNT = text("SELECT count(*) FROM usage_ids")


async def debited(engine: AsyncEngine) -> int:
    """Return how many records are in the books."""
    return await _read(engine, _COUNT)


async def until_debited(
    engine: AsyncEngine,
    records: int,
    *,
    evaluated: bool = False,
    at_rest: Callable[[], object] = lambda: None,
) -> float:
    """Wait until so many records are in the books; return when the last of them came. Raises TimeoutError.

    With ``evaluated`` nothing may be due for evaluation either. Counting millions of rows takes both cores
    for seconds, asking for the size of a table takes nothing: rows are counted only when it has stood still
    for long, and that time belongs to nobody. ``at_rest`` is called before each count.
    """
    deadline, before, moved_at = monotonic() + _TIMEOUT_S, -1, monotonic()
    while True:
        size = await _read(engine, _SIZE)
        if size != before or (evaluated and await _due(engine)):
            before, moved_at = size, monotonic()
        elif monotonic() - moved_at > _STILL_S:
            at_rest()
            if await debited(engine) >= records:
                return moved_at
        if monotonic() > deadline:
            raise TimeoutError(f"{await debited(engine)} of {records} debited within {_TIMEOUT_S:.0f} s")
        await asyncio.sleep(_POLL_S)


async def _due(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await count_due(connection)


async def _read(engine: AsyncEngine, statement: object) -> int:
    async with engine.connect() as connection:
        value: int = (await connection.execute(statement)).scalar_one()  # type: ignore[call-overload]
    return value
