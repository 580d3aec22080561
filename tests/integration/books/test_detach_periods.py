"""Old months of usage can leave the table: only when nobody needs them, and never at the cost of debits."""

import asyncio
from datetime import timedelta

import pytest
from books_builders import GRACE, Books, run_sql
from old_months import (
    day_of,
    debit_in,
    detach_before,
    holders,
    month,
    refusal,
    settle,
    table_of,
    transaction,
)
from sqlalchemy import select

from shared.clock import utc_now
from shared.db import tables
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.ids import AccountId
from shared.operations.money import void_usage
from shared.operations.periods import attach_period, list_periods

_VOID = """
    CREATE FUNCTION void() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN UPDATE transfers SET reverses_event_id = 'req_0' WHERE seq = 1; RETURN NULL; END $$
"""


async def _old_books(books: Books) -> AccountId:
    """Debit four records: two in the fourth month before this, one in the third, one now."""
    account_id = await books.account()
    for number, ago in enumerate((4, 4, 3, 0)):
        await debit_in(books, account_id, f"req_{number}", 10 + number, ago=ago)
    await settle(books)
    return account_id


async def _noted(books: Books) -> dict[str, object]:
    async with books.engine.connect() as connection:
        (row,) = (await connection.execute(select(tables.usage_periods))).mappings()
        return dict(row)


async def test_detached_months_leave_the_listing_and_stay_as_tables(books: Books) -> None:
    account_id = await _old_books(books)
    assert await detach_before(books, 3) == [str(month(4))]
    assert set(await holders(books.engine)) == {"req_2", "req_3"}
    assert await run_sql(books.engine, f"TABLE {table_of(4)}") == 2
    noted = await _noted(books)
    assert (noted["period_start"], noted["table_name"]) == (month(4).start, table_of(4))
    assert noted["rows"] == 2
    assert (await books.stored(account_id))["balance_nanos"] == -46
    await books.assert_proven()


async def test_months_are_listed_with_their_rows_be_they_attached_or_not(books: Books) -> None:
    await _old_books(books)
    before = {period["period"]: period for period in await list_periods(books.engine)}
    await detach_before(books, 3)
    after = {period["period"]: period for period in await list_periods(books.engine)}
    assert list(after) == sorted(after) == list(before)
    assert [p["state"] for p in after.values()] == ["detached"] + ["attached"] * 5
    for old, new in zip(before.values(), after.values(), strict=True):
        assert (old["rows"], old["bytes"], old["table"]) == (new["rows"], new["bytes"], new["table"])
    assert [p["rows"] for p in after.values()] == [2, 1, 1, 0, 0, 0]
    assert {p["end"] for p in before.values()} > {month(3).start, month(2).start}


async def test_detaching_again_finds_nothing_to_do(books: Books) -> None:
    await _old_books(books)
    assert await detach_before(books, 1) == [str(month(4)), str(month(3))]
    assert await detach_before(books, 1) == []


@pytest.mark.parametrize("ago", [0, -1, -12])
async def test_this_month_and_the_one_before_stay_attached(books: Books, ago: int) -> None:
    await _old_books(books)
    assert str(month(1)) in await refusal(books, ago)


async def test_rows_that_were_not_evaluated_are_still_needed(books: Books) -> None:
    account_id = await _old_books(books)
    await debit_in(books, account_id, "req_late", 10, ago=2)
    assert "not evaluated" in await refusal(books, 1)
    await settle(books)
    assert await detach_before(books, 1) == [str(month(ago)) for ago in (4, 3, 2)]


async def test_rows_of_a_cycle_that_still_takes_records_are_still_needed(books: Books) -> None:
    await _old_books(books)
    account_id = await books.subscriber(100, anchor=day_of(3))
    opened = "UPDATE cycles SET cycle_start = :start, cycle_end = :end WHERE account_id = :account_id"
    end = utc_now() - GRACE + timedelta(minutes=5)
    await run_sql(books.engine, opened, start=day_of(3), end=end, account_id=account_id)
    assert "still take records" in await refusal(books, 1)
    assert await detach_before(books, 3) == [str(month(4))]


async def test_books_that_do_not_add_up_keep_their_rows(books: Books) -> None:
    account_id = await _old_books(books)
    await run_sql(books.engine, "UPDATE usage_records SET list_nanos = 1 WHERE event_id = 'req_3'")
    assert f"usage_records {account_id}/req_3" in await refusal(books, 2)


async def test_who_reads_for_long_is_waited_for_and_debits_never_are_held_up(books: Books) -> None:
    account_id = await _old_books(books)
    async with transaction(books.engine, "SELECT count(*) FROM usage_records"):
        detaching = asyncio.create_task(detach_before(books, 2))
        slowest = 0.0
        for number in range(40):
            started = asyncio.get_running_loop().time()
            await books.debit([books.record(account_id, f"more_{number}", 1)])
            slowest = max(slowest, asyncio.get_running_loop().time() - started)
            await asyncio.sleep(0.05)
        assert not detaching.done()
        assert slowest < 1.0
    assert await detaching == [str(month(4)), str(month(3))]
    assert len(await books.usage()) == 41
    await books.assert_proven()


async def test_a_void_of_a_detached_record_says_what_to_do(books: Books) -> None:
    account_id = await _old_books(books)
    await detach_before(books, 3)
    with pytest.raises(RefusedError, match=f"payg usage attach {month(4)}"):
        await void_usage(books.engine, account_id, "req_0", "mistake", GRACE)
    await attach_period(books.engine, month(4))
    await void_usage(books.engine, account_id, "req_0", "mistake", GRACE)
    assert (await books.stored(account_id))["balance_nanos"] == -36
    await books.assert_proven()
    with pytest.raises(NotFoundError, match="no usage record"):
        await void_usage(books.engine, account_id, "req_unknown", "mistake", GRACE)


async def test_a_record_voided_before_its_month_was_detached_was_voided_before(books: Books) -> None:
    account_id = await _old_books(books)
    await void_usage(books.engine, account_id, "req_0", "mistake", GRACE)
    await settle(books)
    await detach_before(books, 3)
    await books.assert_proven()
    with pytest.raises(RefusedError, match="voided before"):
        await void_usage(books.engine, account_id, "req_0", "mistake", GRACE)


async def test_a_void_in_the_last_moment_before_the_rows_go_keeps_them(books: Books) -> None:
    await _old_books(books)
    await run_sql(books.engine, _VOID)
    trigger = "CREATE TRIGGER void AFTER INSERT ON usage_periods FOR EACH ROW EXECUTE FUNCTION void()"
    await run_sql(books.engine, trigger)
    assert "voided meanwhile" in await refusal(books, 3)
    await run_sql(books.engine, "DROP TRIGGER void ON usage_periods")
    assert await detach_before(books, 3) == [str(month(4))]


async def test_an_attached_month_is_as_if_it_had_never_been_away(books: Books) -> None:
    await _old_books(books)
    before, listed = await books.usage(), await list_periods(books.engine)
    await detach_before(books, 2)
    for ago in (3, 4):
        assert (await attach_period(books.engine, month(ago)))["state"] == "attached"
    assert (await books.usage(), await list_periods(books.engine)) == (before, listed)
    assert await run_sql(books.engine, "SELECT FROM usage_period_cycles") == 0
    await books.assert_proven()
    with pytest.raises(NotFoundError, match="not detached"):
        await attach_period(books.engine, month(4))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE {table} SET list_nanos = list_nanos + 1 WHERE event_id = 'req_0'", "req_0"),
        ("UPDATE {table} SET digest = 'x'::bytea WHERE event_id = 'req_0'", "req_0"),
        ("DELETE FROM {table} WHERE event_id = 'req_1'", "its 1 rows are not the 2"),
        ("DELETE FROM {table}", "its 0 rows are not the 2"),
        ("DROP TABLE {table}", "restore it from its dump first"),
    ],
)
async def test_a_month_whose_rows_are_not_those_that_went_does_not_come_back(
    books: Books, change: str, told: str
) -> None:
    await _old_books(books)
    await detach_before(books, 3)
    await run_sql(books.engine, change.format(table=table_of(4)))
    with pytest.raises(RefusedError, match=told):
        await attach_period(books.engine, month(4))
    assert (await list_periods(books.engine))[0]["state"] == "detached"
    await books.assert_proven()
