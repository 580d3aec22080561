"""With old months detached the books are still proven, and an id is still taken: idempotency across time."""

from datetime import timedelta
from typing import Any

import pytest
from audited_books import changed, one_digit_off, put, rows_of, take_away
from books_builders import GRACE, Books, run_sql
from msgspec.structs import replace
from old_months import day_of, debit_in, detach_before, fault_of, month, settle, table_of
from sqlalchemy import update

from shared.db import tables
from shared.domain.ids import AccountId
from shared.operations.money import void_usage
from shared.operations.periods import attach_period


async def _subscribed_books(books: Books) -> AccountId:
    """Debit in months and in cycles, which begin on the 5th: each month has records of two; one is voided."""
    account_id = await books.subscriber(25, anchor=day_of(5, 5), fallback=True)
    begin = {"cycle_start": day_of(5, 5), "cycle_end": day_of(4, 5)}
    for table in (tables.cycles, tables.accounts):  # its first cycle began then
        async with books.engine.begin() as connection:
            await connection.execute(update(table).values(begin))
    for ago in (5, 4, 3):
        batch = [books.record(account_id, f"req_{ago}_{n}", 10 + n, day_of(ago, 10 + n)) for n in range(3)]
        await books.debit(batch, now=day_of(ago, 20))
        early = day_of(ago - 1, 3)  # before the next cycle begins
        await books.debit([books.record(account_id, f"early_{ago}", 7, early)], now=early)
    await void_usage(books.engine, account_id, "req_5_1", "mistake", GRACE)
    await debit_in(books, account_id, "req_0", 5, ago=0)
    await settle(books)
    await books.assert_proven()
    return account_id


async def test_a_record_sent_again_after_its_month_was_detached_is_one_debit(books: Books) -> None:
    account_id = await _subscribed_books(books)
    before = await books.stored(account_id)
    again = books.record(account_id, "req_5_0", 10, day_of(5, 10))
    await detach_before(books, 1)
    await books.debit([again, again])
    assert await books.stored(account_id) == before
    assert await books.parked() == []
    await run_sql(books.engine, f"DROP TABLE {table_of(5)}")
    await books.debit([again])
    assert await books.stored(account_id) == before
    await books.assert_proven()


async def test_other_content_under_the_id_of_a_detached_record_is_a_conflict(books: Books) -> None:
    account_id = await _subscribed_books(books)
    before = await books.stored(account_id)
    await detach_before(books, 1)
    first = books.record(account_id, "req_5_0", 10, day_of(5, 10))
    others = [replace(first, fingerprint=b"other"), books.record(account_id, "req_5_0", 10)]
    await books.debit([*others, books.record(account_id, "req_5_1", 99, day_of(5, 11))])
    assert {entry["reason"] for entry in await books.parked()} == {"conflict"}
    assert sum(entry["count"] for entry in await books.parked()) == 3
    assert await books.stored(account_id) == before


@pytest.mark.parametrize("ago", [4, 3, 2, 1])
async def test_books_are_proven_however_many_months_are_away(books: Books, ago: int) -> None:
    account_id = await _subscribed_books(books)
    await detach_before(books, ago)
    await books.assert_proven()
    await debit_in(books, account_id, "req_more", 5, ago=0)
    await void_usage(books.engine, account_id, "req_0", "mistake", GRACE)
    await books.assert_proven()
    await attach_period(books.engine, month(5))
    await books.assert_proven()


async def test_a_detached_month_that_was_dropped_leaves_the_books_proven(books: Books) -> None:
    await _subscribed_books(books)
    await detach_before(books, 1)
    await run_sql(books.engine, f"DROP TABLE {table_of(4)}, {table_of(5)}")
    await books.assert_proven()


async def test_any_digit_of_what_was_noted_of_a_detached_month_is_proven(books: Books) -> None:
    await _subscribed_books(books)
    await detach_before(books, 2)
    proven: dict[Any, tuple[str, ...]] = {
        tables.usage_periods: ("rows", "digest"),
        tables.usage_period_cycles: ("account_id", "cycle_start", "quota_nanos", "balance_nanos"),
    }
    for table, columns in proven.items():
        for row in await rows_of(books.engine, table):
            for name in columns:
                wrong = {name: one_digit_off(table.c[name], row[name])}
                async with changed(books.engine, table, row, wrong):
                    await fault_of(books)
            await take_away(books.engine, table, row)
            await fault_of(books)
            await put(books.engine, table, row)
    await books.assert_proven()


async def test_transfers_and_cycles_are_proven_where_their_rows_are_away(books: Books) -> None:
    account_id = await _subscribed_books(books)
    await detach_before(books, 2)
    for row in await rows_of(books.engine, tables.transfers):
        for name in ("amount_nanos", "quota_amount_nanos", "rows_digest", "occurred_at"):
            wrong = {name: one_digit_off(tables.transfers.c[name], row[name])}
            async with changed(books.engine, tables.transfers, row, wrong):
                fault = await fault_of(books)
            assert (fault.table, fault.key) == ("transfers", f"{account_id}/{row['seq']}"), str(fault)
    for row in await rows_of(books.engine, tables.cycles):
        for name in ("quota_remaining_nanos", "spent_nanos"):
            async with changed(books.engine, tables.cycles, row, {name: row[name] + 1}):
                assert (await fault_of(books)).table == "cycles"


async def test_a_row_deleted_from_an_attached_month_is_still_missed(books: Books) -> None:
    account_id = await _subscribed_books(books)
    await detach_before(books, 3)
    rows = await rows_of(books.engine, tables.usage_records)
    assert {row["event_id"] for row in rows} == {
        "req_3_0",
        "req_3_1",
        "req_3_2",
        "early_4",
        "early_3",
        "req_0",
    }
    for row in rows:
        await take_away(books.engine, tables.usage_records, row)
        fault = await fault_of(books)
        assert (fault.table, fault.key) == ("transfers", f"{account_id}/{row['transfer_seq']}")
        await put(books.engine, tables.usage_records, row)


async def test_an_id_lost_from_a_detached_month_is_missed(books: Books) -> None:
    await _subscribed_books(books)
    await detach_before(books, 2)
    away = [
        row for row in await rows_of(books.engine, tables.usage_ids) if row["event_id"].startswith("req_5")
    ]
    for row in away:
        await take_away(books.engine, tables.usage_ids, row)
        assert (await fault_of(books)).key in {str(month(5)), f"{row['account_id']}/req_5_1"}
        await put(books.engine, tables.usage_ids, row)


async def test_a_row_that_is_back_behind_our_back_is_found(books: Books) -> None:
    account_id = await _subscribed_books(books)
    (row,) = [r for r in await rows_of(books.engine, tables.usage_records) if r["event_id"] == "early_5"]
    await detach_before(books, 2)
    await put(books.engine, tables.usage_records, row)
    fault = await fault_of(books)
    assert (fault.table, fault.key) == ("usage_records", f"{account_id}/early_5")
    assert "detached" in fault.what


async def test_a_table_taken_away_without_a_note_is_missed(books: Books) -> None:
    account_id = await _subscribed_books(books)
    await run_sql(books.engine, f"ALTER TABLE usage_records DETACH PARTITION {table_of(5)}")
    assert (await fault_of(books)).key.startswith(f"{account_id}/")


async def test_a_row_in_another_month_than_its_transfer_is_found(books: Books) -> None:
    account_id = await _subscribed_books(books)
    for row in await rows_of(books.engine, tables.usage_records):
        later = {"debited_at": row["debited_at"] + timedelta(days=31)}
        async with changed(books.engine, tables.usage_records, row, later):
            fault = await fault_of(books)
        assert (fault.table, fault.key) == ("usage_records", f"{account_id}/{row['event_id']}")
