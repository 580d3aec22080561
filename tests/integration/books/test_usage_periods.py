"""Usage is divided into months: made ahead, made for stray rows, and none of it ever stops a debit."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from books_builders import GRACE, Books, run_sql
from old_months import day_of, debit_in, holders, month, settle, table_of, transaction
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from sandbox.servers import RabbitMQ
from shared.clock import utc_now
from shared.messaging.stage_broker import stage_broker
from shared.operations.keys import KeyLimit, create_key
from shared.operations.periods import keep_periods, list_periods
from workers.clock import Clock
from workers.thresholds import Thresholds

_AHEAD = [month(-n) for n in range(4)]


async def _months(books: Books) -> list[str]:
    return [str(period["period"]) for period in await list_periods(books.engine)]


async def test_a_migrated_database_has_this_month_and_the_next_three(books: Books) -> None:
    assert await _months(books) == [str(period) for period in _AHEAD]


async def test_a_record_lies_in_the_month_of_its_debit_whatever_its_own_time(books: Books) -> None:
    account_id = await books.account()
    await books.debit([books.record(account_id, "req_1", 10, utc_now() - timedelta(days=400))])
    assert await holders(books.engine) == {"req_1": table_of(0)}
    (row,) = await books.usage()
    assert row["debited_at"] == (await books.transfers(account_id))[0]["occurred_at"]


async def test_a_debit_without_a_month_is_done_all_the_same_and_the_month_made_later(books: Books) -> None:
    account_id = await books.account()
    for number, ago in enumerate((3, 3, 2, 0)):
        await debit_in(books, account_id, f"req_{number}", 10, ago=ago)
    default = {f"req_{n}": "usage_records_default" for n in range(3)}
    assert await holders(books.engine) == {**default, "req_3": table_of(0)}
    assert await keep_periods(books.engine, utc_now()) == [month(3), month(2)]
    moved = {"req_0": table_of(3), "req_1": table_of(3), "req_2": table_of(2)}
    assert await holders(books.engine) == {**moved, "req_3": table_of(0)}
    assert await keep_periods(books.engine, utc_now()) == []
    await books.assert_proven()


async def test_the_last_instant_of_a_month_is_not_in_the_next(books: Books) -> None:
    account_id = await books.account()
    for name, now in (("last", month(1).start - timedelta(microseconds=1)), ("first", month(1).start)):
        await books.debit([books.record(account_id, name, 10, now)], now=now)
    await keep_periods(books.engine, utc_now())
    assert await holders(books.engine) == {"first": table_of(1), "last": table_of(2)}


async def test_eight_processes_make_the_months_once_while_others_debit(books: Books) -> None:
    accounts = [await books.account() for _ in range(4)]
    for account_id in accounts:
        await debit_in(books, account_id, "req_old", 10, ago=4)
    later = utc_now() + timedelta(days=150)
    making = [keep_periods(books.engine, later) for _ in range(8)]
    debits = [books.debit([books.record(a, f"req_{n}", 1)]) for a in accounts for n in range(10)]
    await asyncio.gather(*making, *debits)
    assert set(await _months(books)) > {str(month(4)), str(month(-8)), str(month(0))}
    assert len(await books.usage()) == 44
    await books.assert_proven()


async def test_the_clock_makes_months_at_its_start_and_then_every_hour(
    books: Books, rabbitmq: RabbitMQ
) -> None:
    broker, now = stage_broker(rabbitmq.url), day_of(-2)
    clocks = [Clock(books.engine, broker, lambda: now, GRACE) for _ in range(2)]
    await asyncio.gather(*(clock.make_periods() for clock in clocks))
    assert (await _months(books))[-1] == str(month(-5))
    now = day_of(-3)
    await clocks[0].make_periods()
    assert (await _months(books))[-1] == str(month(-6))
    now += timedelta(minutes=59)
    await run_sql(books.engine, f"DROP TABLE {table_of(-6)}")
    await clocks[0].make_periods()
    assert (await _months(books))[-1] == str(month(-5))
    now += timedelta(minutes=2)
    await clocks[0].make_periods()
    assert (await _months(books))[-1] == str(month(-6))
    broker.close()


async def test_making_a_month_gives_way_to_who_reads_and_never_holds_up_debits(books: Books) -> None:
    account_id, later = await books.account(), utc_now() + timedelta(days=40)
    async with transaction(books.engine, "SELECT count(*) FROM usage_records"):
        making = asyncio.create_task(keep_periods(books.engine, later))
        for number in range(5):
            async with asyncio.timeout(2):
                await books.debit([books.record(account_id, f"req_{number}", 1)])
        with pytest.raises(DBAPIError, match="lock timeout"):
            await making
    assert await keep_periods(books.engine, later)


async def test_making_a_month_does_not_wait_for_who_is_detaching_others(books: Books) -> None:
    later = utc_now() + timedelta(days=40)
    async with transaction(books.engine, "SELECT pg_advisory_xact_lock(7294000002)"):
        async with asyncio.timeout(2):
            assert await keep_periods(books.engine, later) == []
    assert await keep_periods(books.engine, later)


async def test_what_a_limited_key_spent_is_read_without_a_look_at_old_months(books: Books) -> None:
    account_id = await books.account()
    key = await create_key(books.engine, account_id, "ci", KeyLimit(10**9, "month"))
    await debit_in(books, account_id, "req_old", 10, ago=5)
    await settle(books)
    await books.debit([books.record(account_id, "req_new", 10, api_key_id=key.api_key_id)])
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "usage_records" in statement:
            asked.append((statement, parameters))

    event.listen(books.engine.sync_engine, "before_cursor_execute", note)
    async with books.engine.connect() as connection:
        due = list((await connection.execute(text("SELECT due_id FROM due_evaluations"))).scalars())
    await Thresholds(books.engine, utc_now, timedelta()).handle(due)
    (statement, parameters) = asked[0]
    async with books.engine.connect() as connection:
        plan = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
        touched = "\n".join(plan.scalars())
    assert table_of(0) in touched
    assert table_of(5) not in touched
    assert table_of(-1) not in touched
