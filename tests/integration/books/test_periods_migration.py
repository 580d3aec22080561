"""A filled database of the release before is divided into months, and not a digit of it changes."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from audited_books import rows_of, write_books
from books_builders import Books
from old_months import debit_in, detach_before, fault_of, holders, month, settle, table_of
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sandbox.servers import Postgres
from shared.clock import utc_now
from shared.db import tables
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.operations.audit import audit
from shared.operations.periods import list_periods

_BEFORE = "0003"
_COLUMNS = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""


@pytest.fixture
async def old_engine(postgres: Postgres) -> AsyncIterator[AsyncEngine]:
    """The schema of the release before, empty."""
    engine = create_engine(postgres.create_database("release_before"))
    await migrate(engine, _BEFORE)
    yield engine
    await engine.dispose()
    postgres.drop_database("release_before")


async def _copy_books(source: AsyncEngine, target: AsyncEngine) -> None:
    """Copy into the older schema all that it has a column for."""
    async with source.connect() as reading, target.begin() as writing:
        columns: dict[str, list[str]] = {}
        for table, column in await writing.exec_driver_sql(_COLUMNS):
            columns.setdefault(table, []).append(column)
        reader, writer = await _driver(reading), await _driver(writing)
        await writer.execute("SET LOCAL session_replication_role = replica")  # in any order
        await writer.execute("DELETE FROM price_book")
        for table in columns.keys() & tables.metadata.tables.keys():
            rows = BytesIO()
            query = f"SELECT {', '.join(columns[table])} FROM {table}"  # noqa: S608 - names of our own
            await reader.copy_from_query(query, output=rows)
            rows.seek(0)
            await writer.copy_to_table(table, columns=columns[table], source=rows)
            for numbered in (c.name for c in tables.metadata.tables[table].columns if c.identity):
                await writer.execute(f"ALTER TABLE {table} ALTER COLUMN {numbered} RESTART WITH 1000")


async def _driver(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


async def test_usage_of_the_release_before_is_carried_over(books: Books, old_engine: AsyncEngine) -> None:
    await write_books(books.engine)
    account_id = await books.account()
    for number, ago in enumerate((6, 6, 3, 0)):
        await debit_in(books, account_id, f"old_{number}", 10, ago=ago)
    await _copy_books(books.engine, old_engine)
    await migrate(old_engine)
    for table in (tables.usage_records, tables.usage_ids, tables.transfers):
        assert await rows_of(old_engine, table) == await rows_of(books.engine, table)
    report = await audit(old_engine)
    assert (report.ok, report.usage_records) == (True, 14), str(report.fault)
    held = await holders(old_engine)
    assert [held[f"old_{n}"] for n in range(4)] == [table_of(6), table_of(6), table_of(3), table_of(0)]
    assert "usage_records_default" not in held.values()
    months = [str(period["period"]) for period in await list_periods(old_engine)]
    assert months == sorted({str(month(ago)) for ago in (6, 3, 0, -1, -2, -3)} | set(months))


async def test_books_that_were_carried_over_go_on(books: Books, old_engine: AsyncEngine) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "old_1", 10, ago=6)
    await _copy_books(books.engine, old_engine)
    await migrate(old_engine)
    carried = Books(old_engine, books.rate_id)
    await carried.debit([books.record(account_id, "new_1", 5, utc_now())])
    await settle(carried)
    assert await detach_before(carried, 1) == [str(month(6))]
    assert (await carried.stored(account_id))["balance_nanos"] == -15
    await carried.assert_proven()


async def test_a_row_without_a_transfer_is_carried_over_for_the_audit_to_find(
    books: Books, old_engine: AsyncEngine
) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "old_1", 10, ago=6)
    await _copy_books(books.engine, old_engine)
    async with old_engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE usage_records SET transfer_seq = 7")
    await migrate(old_engine)
    fault = await fault_of(Books(old_engine, books.rate_id))
    assert (fault.table, fault.key) == ("transfers", f"{account_id}/1")
    assert set(await holders(old_engine)) == {"old_1"}
