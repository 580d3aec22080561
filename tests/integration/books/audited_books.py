"""A small but complete set of books, and what can be done to a row of them behind payg's back."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from books_builders import GRACE, Books, open_books
from msgspec.structs import replace
from sqlalchemy import Column, Table, and_, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import tables
from shared.operations.accounts import set_account
from shared.operations.money import credit_account, void_usage

Row = Mapping[str, Any]

#: Columns that the audit does not prove, each with the reason. All others it must.
NOT_PROVEN = {
    ("accounts", "name"): "a name for people",
    ("accounts", "created_at"): "for people; no decision reads it",
    ("accounts", "version"): "a guard that only has to move, no part of the books",
    ("accounts", "plan_id"): "a setting: the terms of the next cycle",
    ("accounts", "anchor"): "a setting: where the next cycles begin",
    ("accounts", "cycle_start"): "tells which cycle is the newest, so that it is found at once",
    ("accounts", "cycle_end"): "tells the clock when to look, which then reads the cycle itself",
    ("accounts", "fallback"): "a setting",
    ("accounts", "spending_limit_nanos"): "a setting",
    ("accounts", "frozen"): "a setting",
    ("accounts", "billing"): "a setting: who an invoice is made out to",
    ("transfers", "idempotency_key"): "whoever asked chose it; it guards the asking, not the amount",
    ("cycles", "account_id"): "a cycle no record names has nothing to be weighed against",
    ("cycles", "cycle_end"): "a setting once it is open; records name the start of their cycle",
    ("cycles", "plan_id"): "a setting: the terms stand beside it",
    ("cycles", "discount_ppm"): "a setting: what it did stands on the records",
}


async def write_books(engine: AsyncEngine) -> Books:
    """Fill the database: PAYG, plan, fallback, void, credit, quota reset, change of plan, late record."""
    books, now = await open_books(engine), utc_now()
    plain = await books.account(name="plain")
    await credit_account(engine, plain, 5_000, "start", GRACE, "key-1")
    await credit_account(engine, plain, 70, "gift", GRACE)
    extras = {"provider": "acme", "hold_id": "hold_1", "metadata": {"team": 1}, "output_tokens": 1}
    extras |= {"cache_read_tokens": 2, "cache_write_tokens": 3, "input_audio_tokens": 4}
    full = books.record(plain, "req_full", 100, now, output_audio_tokens=5, **extras)
    await books.debit([replace(full, list_nanos=115), books.record(plain, "req_2", 20)])
    await books.debit([books.record(plain, "req_3", 30)])
    await void_usage(engine, plain, "req_2", "mistake", GRACE)
    await books.debit([books.record(plain, f"req_{n}", n) for n in (40, 50)])

    member = await books.subscriber(100, 200_000, fallback=True, spending_limit_nanos=60, name="member")
    await books.debit([books.record(member, f"req_{n}", 90, now) for n in (1, 2, 3)])
    await void_usage(engine, member, "req_2", "mistake", GRACE)
    await set_account(engine, member, {}, plan="pro", grace=GRACE)
    end = (await books.cycles(member))[0]["cycle_end"]
    batch = [books.record(member, "req_late", 7, end - timedelta(minutes=1))]
    await books.debit([*batch, books.record(member, "req_new", 8, end)], now=end + timedelta(minutes=1))
    await books.account(name="untouched")
    return books


def key_of(table: Table, row: Row) -> str:
    """Return how the audit names a row."""
    if table is tables.accounts:
        return str(row["account_id"])
    if table is tables.transfers:
        return f"{row['account_id']}/{row['seq']}"
    if table is tables.cycles:
        return f"{row['account_id']}/{row['cycle_start'].isoformat()}"
    return f"{row['account_id']}/{row['event_id']}"


async def rows_of(engine: AsyncEngine, table: Table) -> list[Row]:
    async with engine.connect() as connection:
        rows = await connection.execute(select(table).order_by(*table.primary_key.columns))
        return [dict(row) for row in rows.mappings()]


@asynccontextmanager
async def changed(engine: AsyncEngine, table: Table, row: Row, changes: Row) -> AsyncIterator[None]:
    """Change a row for as long as the block lasts."""
    await _set(engine, table, row, changes)
    try:
        yield
    finally:
        await _set(engine, table, {**row, **changes}, {name: row[name] for name in changes})


async def put(engine: AsyncEngine, table: Table, row: Row) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(table).values(**row))


async def take_away(engine: AsyncEngine, table: Table, row: Row) -> None:
    async with engine.begin() as connection:
        await connection.execute(table.delete().where(_is(table, row)))


def one_digit_off(column: "Column[Any]", value: Any) -> Any:
    """Return another value of a column, as near as can be; something where there was nothing."""
    kind = column.type.python_type
    if column is tables.transfers.c.seq:
        return value + 1_000  # the next number is taken
    if value is None:
        examples = {str: "x", bytes: b"x", int: 1}
        return examples.get(kind, utc_now())
    if kind is str:
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    if kind is bytes:
        return bytes([value[0] ^ 1]) + value[1:]
    return value + 1 if kind is int else value + timedelta(microseconds=1)


async def _set(engine: AsyncEngine, table: Table, row: Row, values: Row) -> None:
    async with engine.begin() as connection:
        # Keys point nowhere for a moment.
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        done = await connection.execute(update(table).where(_is(table, row)).values(**values))
        assert done.rowcount == 1


def _is(table: Table, row: Row) -> Any:
    return and_(literal_column("true"), *(column == row[column.name] for column in table.primary_key.columns))
