"""What operators do is written down before it is done, and how it went after."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import operator_actions as sql
from shared.domain.errors import PaygError

_DETAIL_MAX = 2_000


@asynccontextmanager
async def written_down(
    engine: AsyncEngine, actor: str, action: str, *, account_id: str | None = None, detail: str = ""
) -> AsyncIterator[None]:
    """Write an action down around doing it: whatever happens to the process, it was never done in secret."""
    readable = detail[:_DETAIL_MAX].replace("\x00", "")
    async with engine.begin() as connection:
        action_id = await sql.insert_action(connection, actor, action, account_id, readable)
    try:
        yield
    except PaygError as error:
        await _end(engine, action_id, f"refused: {error}")
        raise
    except Exception as error:
        await _end(engine, action_id, f"failed: {type(error).__name__}")
        raise
    await _end(engine, action_id, "done")


async def _end(engine: AsyncEngine, action_id: int, outcome: str) -> None:
    async with engine.begin() as connection:
        await sql.set_outcome(connection, action_id, outcome[:_DETAIL_MAX].replace("\x00", ""))
