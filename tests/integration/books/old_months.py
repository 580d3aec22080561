"""Books with months of history, and what an operator does with old months."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from books_builders import GRACE, Books
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.tables import usage_records
from shared.domain.audit import Fault
from shared.domain.errors import RefusedError
from shared.domain.ids import AccountId
from shared.domain.periods import Period
from shared.operations.audit import audit
from shared.operations.periods import detach_periods, keep_periods, list_periods
from workers.thresholds import Thresholds

_DUE = text("SELECT due_id FROM due_evaluations")
_HOLDERS = text("SELECT tableoid::regclass::text, event_id FROM usage_records ORDER BY event_id")


def month(ago: int) -> Period:
    return Period.of(utc_now()).plus(-ago)


def day_of(ago: int, day: int = 10) -> datetime:
    """Return noon on a day of the month so many months ago."""
    return month(ago).start + timedelta(days=day - 1, hours=12)


def table_of(ago: int) -> str:
    return f"{usage_records.name}_{month(ago)}".replace("-", "_")


async def debit_in(books: Books, account_id: AccountId, event_id: str, tokens: int, *, ago: int) -> None:
    """Debit a record in an old month, at its own time, or now."""
    now = day_of(ago) if ago else utc_now()
    await books.debit([books.record(account_id, event_id, tokens, now)], now=now)


async def settle(books: Books) -> None:
    """Do what the workers and the clock would have done by now: evaluate, and make months."""
    async with books.engine.connect() as connection:
        due = list((await connection.execute(_DUE)).scalars())
    await Thresholds(books.engine, utc_now, timedelta()).handle(due)
    await keep_periods(books.engine, utc_now())


async def detach_before(books: Books, ago: int) -> list[str]:
    """Detach the months before that one; return which they were."""
    return [str(done["period"]) for done in await detach_periods(books.engine, month(ago), GRACE)]


async def refusal(books: Books, ago: int) -> str:
    """Return why months before that one are not detached; none is."""
    with pytest.raises(RefusedError) as refused:
        await detach_before(books, ago)
    assert {period["state"] for period in await list_periods(books.engine)} == {"attached"}
    return str(refused.value)


async def holders(engine: AsyncEngine) -> dict[str, str]:
    """Return, by event, the table that holds its row."""
    async with engine.connect() as connection:
        return {event_id: table for table, event_id in await connection.execute(_HOLDERS)}


async def fault_of(books: Books) -> Fault:
    report = await audit(books.engine)
    assert report.fault is not None, "the audit found nothing"
    return report.fault


@asynccontextmanager
async def transaction(engine: AsyncEngine, statement: str) -> AsyncIterator[None]:
    """Hold what a statement locks for as long as the block lasts."""
    async with engine.connect() as connection:
        await connection.execute(text(statement))
        yield
