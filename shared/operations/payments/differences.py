"""Look at what differed between Stripe and the books, or close it for good."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import payment_differences as sql
from shared.domain.errors import NotFoundError, RefusedError


async def list_differences(engine: AsyncEngine, *, include_closed: bool) -> list[dict[str, Any]]:
    """Return differences, oldest first."""
    async with engine.connect() as connection:
        return [shown(row) for row in await sql.list_differences(connection, only_open=not include_closed)]


async def dismiss(engine: AsyncEngine, difference_ids: Collection[str], because: str) -> list[str]:
    """Close open differences for good, with the reason why.

    Raises NotFoundError for an unknown one, RefusedError for one that is closed.
    """
    async with engine.begin() as connection:
        states = await sql.states_of(connection, difference_ids)
        for difference_id in difference_ids:
            if difference_id not in states:
                raise NotFoundError(f"there is no difference {difference_id}")
            if states[difference_id] != "open":
                raise RefusedError(f"{difference_id} is {states[difference_id]}")
        await sql.mark_dismissed(connection, difference_ids, because)
    return list(difference_ids)


def shown(row: RowMapping) -> dict[str, Any]:
    """Return a difference as people see it."""
    fields: dict[str, Any] = dict(row)
    return {"id": fields.pop("difference_id"), **fields}
