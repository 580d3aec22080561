"""A debit that dies between its statements, at any of them, and is delivered again: debited once."""

import asyncio
from random import Random

import pytest
from books_builders import GRACE, Books, paid, run_sql
from sqlalchemy import event as hooks
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.ids import AccountId
from shared.domain.usage import PricedUsage
from shared.messaging.failure import is_transient
from workers.debit import Debiting

_VICTIM = "payg victim"


async def _failure(debiting: Debiting, batch: list[PricedUsage]) -> Exception | None:
    """Deliver a batch; return why it failed, if it did."""
    try:
        await debiting.handle(batch)
    except Exception as error:  # noqa: BLE001 - what is to blame is looked at by whoever asked
        return error
    return None


async def _deliver_until_done(debiting: Debiting, batch: list[PricedUsage]) -> int:
    """Deliver a batch again after each failure, as the stage does; return how often it failed."""
    failures = 0
    while error := await _failure(debiting, batch):
        failures += 1
        assert is_transient(error), f"the stage would not wait for {error!r}"
        assert failures < 100
    return failures


async def _contested_batch(books: Books) -> tuple[AccountId, list[PricedUsage]]:
    """Return a batch that touches all tables of the books and the quarantine, and its account."""
    account_id = await books.subscriber(100, fallback=True)
    batch = [books.record(account_id, f"req_{n}", 60) for n in range(3)]
    return account_id, [*batch, books.record(account_id, "req_0", 61)]


@pytest.mark.parametrize("nth", range(1, 7))
async def test_a_connection_cut_before_any_statement_never_double_debits(
    books: Books, database_url: str, nth: int
) -> None:
    """Usage lost when the database was down."""
    account_id, batch = await _contested_batch(books)
    victim = create_engine(database_url, application=_VICTIM, pool_size=1)
    seen = 0

    def cut(connection: object, *_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == nth:
            hooks.remove(victim.sync_engine, "before_cursor_execute", cut)
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")  # type: ignore[attr-defined]

    hooks.listen(victim.sync_engine, "before_cursor_execute", cut)
    failures = await _deliver_until_done(Debiting(victim, GRACE, utc_now), batch)
    await victim.dispose()
    assert failures == 1
    await _assert_debited_once(books, account_id)


async def _assert_debited_once(books: Books, account_id: AccountId) -> None:
    assert paid(await books.usage()) == {
        "req_0": (60, 60, 0, 0),
        "req_1": (60, 40, 20, 0),
        "req_2": (60, 0, 60, 0),
    }
    assert (await books.stored(account_id))["balance_nanos"] == -80
    assert [entry["reason"] for entry in await books.parked()] == ["conflict"]
    await books.assert_proven()


_CUT = """
    CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
"""


@pytest.mark.parametrize("deferred", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["statement", "commit"])
@pytest.mark.parametrize("table", ["transfers", "usage_ids", "usage_records"])
async def test_a_connection_cut_while_rows_are_written_never_double_debits(
    books: Books, database_url: str, table: str, deferred: str
) -> None:
    account_id, batch = await _contested_batch(books)
    await run_sql(books.engine, _CUT)
    trigger = f"CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON {table} {deferred}"
    await run_sql(books.engine, f"{trigger} FOR EACH ROW EXECUTE FUNCTION cut()")
    victim = create_engine(database_url, application=_VICTIM, pool_size=1)
    debiting = Debiting(victim, GRACE, utc_now)
    assert await _failure(debiting, batch) is not None
    assert await books.usage() == []
    await run_sql(books.engine, f"DROP TRIGGER cut ON {table}")
    await _deliver_until_done(debiting, batch)
    await victim.dispose()
    await _assert_debited_once(books, account_id)


async def test_connections_cut_at_random_moments_never_double_debit(books: Books, database_url: str) -> None:
    """Usage lost when the database was down."""
    accounts = [await books.account() for _ in range(5)]
    records = [books.record(a, f"req_{n}", n) for a in accounts for n in range(1, 61)]
    random = Random(3)
    shuffled = [random.sample(records, len(records)) for _ in range(4)]
    victim = create_engine(database_url, application=_VICTIM, pool_size=4)
    debiting = Debiting(victim, GRACE, utc_now)

    async def work(mine: list[PricedUsage]) -> int:
        batches = [mine[start : start + 15] for start in range(0, len(mine), 15)]
        return sum([await _deliver_until_done(debiting, batch) for batch in batches])

    working = [asyncio.create_task(work(mine)) for mine in shuffled]
    killing = asyncio.create_task(_keep_cutting(books.engine, random))
    failures = sum(await asyncio.gather(*working))
    killing.cancel()
    await victim.dispose()
    assert failures >= 5
    assert len(await books.usage()) == 300
    assert [(await books.stored(a))["balance_nanos"] for a in accounts] == [-1830] * 5
    await books.assert_proven()


async def _keep_cutting(engine: AsyncEngine, random: Random) -> None:
    """Cut a connection of the victim's now and then."""
    cut = text("""
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = :name AND datname = current_database() ORDER BY random() LIMIT 1
    """)
    while True:
        await asyncio.sleep(random.uniform(0.005, 0.03))
        async with engine.connect() as connection:
            await connection.execute(cut, {"name": _VICTIM})


async def test_a_database_that_refuses_the_commit_leaves_nothing_behind(books: Books) -> None:
    account_id = await books.account()
    await run_sql(
        books.engine,
        "ALTER TABLE usage_records ADD CONSTRAINT refuse CHECK (event_id <> 'req_bad') NOT VALID",
    )
    batch = [books.record(account_id, "req_1", 10), books.record(account_id, "req_bad", 10)]
    with pytest.raises(Exception, match="refuse"):
        await books.debit(batch)
    assert await books.usage() == []
    assert (await books.stored(account_id))["version"] == 0
    await books.debit(batch[:1])
    await books.assert_proven()
