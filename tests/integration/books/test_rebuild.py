"""Each projection of the books is damaged, computed afresh, and is what it was before."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio
from audited_books import write_books
from books_builders import GRACE, Books, run_sql
from old_months import debit_in, detach_before, month, settle
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import gate as gate_sql
from shared.db import rebuilding, statement_sums, usage_days
from shared.domain.gate import Placed
from shared.gateways.redis_gate import RedisGate
from shared.operations.gate import Gate, GatePolicy, Hold
from shared.operations.holds import Holds
from shared.operations.keys import KeyLimit, create_key
from shared.operations.rebuild import Difference, rebuild
from workers.debit import Debiting

DAMAGE = {
    "a balance": "UPDATE accounts SET balance_nanos = balance_nanos + 1 WHERE name = 'plain'",
    "the newest cycle": "UPDATE accounts SET cycle_start = NULL, cycle_end = NULL WHERE name = 'member'",
    "what is left of quotas": "UPDATE cycles SET quota_remaining_nanos = 7",
    "what was spent in cycles": "UPDATE cycles SET spent_nanos = spent_nanos + 1",
    "what a key spent": "UPDATE key_spend SET spent_nanos = 1",
    "that a key spent": "DELETE FROM key_spend",
    "a key that spent nothing": "INSERT INTO key_spend SELECT account_id, 'key_x', now(), 1 FROM accounts",
    "days": "UPDATE usage_days SET charge_nanos = charge_nanos + 1, records = 3",
    "days that are gone": "DELETE FROM usage_days",
    "how far days are summed up": "UPDATE usage_rollups SET rolled_seq = 1",
    "days summed up beyond the books": "UPDATE usage_rollups SET rolled_seq = 1000",
    "usage of statements": "UPDATE statement_usage SET balance_nanos = 0",
    "movements of statements": "DELETE FROM statement_movements",
    "how far statements are summed up": "UPDATE statement_rollups SET rolled_seq = 0",
}

LOSSES = [
    "DELETE FROM transfers t USING accounts a WHERE t.account_id = a.account_id AND t.seq = a.seq",
    "DELETE FROM transfers WHERE seq = 1",
    "UPDATE accounts SET seq = seq + 1",
    r"UPDATE accounts SET head_hash = '\x00'",
]


@pytest.fixture
async def books(engine: AsyncEngine) -> Books:
    """Every kind of entry, a key with a limit that was used, and all that is summed up of it."""
    books = await write_books(engine)
    (plain,) = [row for row in await all_accounts(engine) if (await books.stored(row))["name"] == "plain"]
    key = await create_key(engine, plain, None, KeyLimit(10**9, "month"))
    await books.debit([books.record(books_id(plain), "req_key", 11, api_key_id=key.api_key_id)])
    await settle(books)
    async with engine.begin() as connection:
        for account_id in await all_accounts(engine):
            await usage_days.roll_up(connection, account_id)
            await statement_sums.roll_up(connection, account_id)
    return books


def books_id(account_id: str) -> Any:
    return account_id


async def all_accounts(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return await rebuilding.page_of_accounts(connection, "", 100)


async def state_of(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    """Return all that is projected of the books, every column of it but versions and times of change."""
    found = []
    async with engine.connect() as connection:
        for projection in rebuilding.PROJECTIONS:
            for table in projection.tables:
                columns = [c for c in table.columns if c.name not in ("version", "updated_at")]
                rows = await connection.execute(select(*columns))
                found.append((table.name, *sorted(map(repr, rows))))
    return found


async def rebuilt(
    books: Books, gate: RedisGate | None = None, *, write: bool = True, only: list[str] | None = None
) -> list[Difference]:
    return [
        difference
        async for _, found in rebuild(books.engine, gate, only or (), write=write)
        for difference in found
    ]


async def test_intact_books_have_no_difference(books: Books) -> None:
    assert await rebuilt(books) == []


async def test_what_was_damaged_is_what_it_was(books: Books) -> None:
    intact = await state_of(books.engine)
    for what, damage in DAMAGE.items():
        assert await run_sql(books.engine, damage), what
        damaged = await state_of(books.engine)
        reported = await rebuilt(books, write=False)
        assert reported, what
        assert await state_of(books.engine) == damaged, f"a check of {what} wrote something"
        assert await rebuilt(books) == [replace(difference, mended=True) for difference in reported], what
        assert await state_of(books.engine) == intact, what
    assert await rebuilt(books) == []
    await books.assert_proven()


async def test_a_rebuilt_balance_moves_the_version_and_is_evaluated(books: Books) -> None:
    account_id = (await all_accounts(books.engine))[0]
    before = await books.stored(books_id(account_id))
    await run_sql(
        books.engine, "UPDATE accounts SET balance_nanos = -1 WHERE account_id = :id", id=account_id
    )
    assert len(await rebuilt(books, only=[account_id])) == 1
    assert (await books.stored(books_id(account_id)))["version"] == before["version"] + 1
    assert await run_sql(
        books.engine, "DELETE FROM due_evaluations WHERE account_ids = ARRAY[:id]", id=account_id
    )


async def test_an_account_whose_transfers_are_missing_is_named_and_left_alone(books: Books) -> None:
    for loss in LOSSES:
        async with books.engine.connect() as connection:
            await connection.execute(text(loss))
            assert await rebuilding.missing_transfers(connection, (await all_accounts(books.engine))[0]), loss
    await run_sql(books.engine, LOSSES[0])
    damaged = await state_of(books.engine)
    found = await rebuilt(books)
    assert found
    assert all(each.where == "transfers" and each.because and not each.mended for each in found)
    assert await state_of(books.engine) == damaged


async def test_months_that_are_away_keep_their_sums_and_later_ones_are_mended(books: Books) -> None:
    account_id = await books.account()
    for ago in (5, 1):
        await debit_in(books, account_id, f"req_{ago}", 10, ago=ago)
    await settle(books)
    assert await rebuilt(books) == []
    assert str(month(5)) in await detach_before(books, 4)
    intact = await state_of(books.engine)
    assert await rebuilt(books) == []
    later = "UPDATE usage_days SET records = 9 WHERE day >= :since"
    assert await run_sql(books.engine, later, since=month(2).start)
    assert await rebuilt(books)
    assert await state_of(books.engine) == intact


async def test_accounts_that_are_debited_meanwhile_are_rebuilt_and_lose_nothing(books: Books) -> None:
    accounts = await all_accounts(books.engine)
    done = asyncio.Event()

    async def debit() -> None:
        for number in range(10):
            batch = [books.record(books_id(account), f"req_late_{number}", 3) for account in accounts]
            await Debiting(books.engine, GRACE, utc_now).handle(batch)
        done.set()

    async def mend() -> None:
        while not done.is_set():
            for damage in ("usage_days SET charge_nanos = 0", "key_spend SET spent_nanos = 0"):
                await run_sql(books.engine, f"UPDATE {damage}")
            await settle(books)
            await rebuilt(books)

    await asyncio.gather(debit(), mend())
    assert await rebuilt(books) == []
    await books.assert_proven()


@pytest.fixture
async def gate(redis_url: str) -> AsyncIterator[RedisGate]:
    gate = RedisGate(redis_url)
    yield gate
    await gate.close()


GATE_DAMAGE = {
    "a balance that is too high": ("account", {"balance": 10**12}),
    "a version of the future": ("account", {"version": 10**6, "balance": 10**12}),
    "a version of the past": ("account", {"version": 1, "balance": 10**12}),
    "that it is frozen": ("account", {"frozen": 1}),
    "holds that nobody holds": ("account", {"count": 5, "list": 500, "discounted": 500}),
    "what a key spent": ("key", {"spent": 0}),
    "what is held for a key": ("key", {"held": 400}),
}


async def test_what_redis_knows_is_what_the_books_say(books: Books, gate: RedisGate, redis_url: str) -> None:
    key = (await limited_keys(books))[0]
    asked = Gate(books.engine, gate, GatePolicy(timedelta(minutes=10), False, 0), utc_now)  # noqa: FBT003
    await asked.authorize(key.account_id, 100, key.api_key_id)
    tag = f"payg:{{{key.account_id}}}"
    names = {"account": f"{tag}:account", "key": f"{tag}:key:{key.api_key_id}"}
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        intact = [await fields_of(client, name) for name in names.values()]
        for what, (name, fields) in GATE_DAMAGE.items():
            assert await rebuilt(books, gate) == []
            await client.hset(names[name], mapping=fields)
            assert [d.where for d in await rebuilt(books, gate, write=False)] == ["redis"], what
            assert [d.mended for d in await rebuilt(books, gate)] == [True], what
            assert isinstance(
                await gate.authorize(key.account_id, f"x.{key.account_id}", 1, timedelta(1), None), Placed
            ), what
            await gate.release(f"x.{key.account_id}")
            again = await asked.authorize(key.account_id, 1, key.api_key_id)
            assert isinstance(again, Hold), what
            await gate.release(again.hold_id)
            assert [await fields_of(client, name) for name in names.values()] == intact, what


async def limited_keys(books: Books) -> list[Any]:
    async with books.engine.connect() as connection:
        query = select(gate_sql.api_keys).where(gate_sql.api_keys.c.limit_nanos.is_not(None))
        return list((await connection.execute(query)).all())


async def fields_of(client: Any, name: str) -> dict[str, str]:
    fields: dict[str, str] = await client.hgetall(name)
    return {field: value for field, value in fields.items() if field not in ("loaded", "generation", "wake")}


async def test_a_redis_that_was_emptied_or_told_late_is_no_difference(
    books: Books, gate: RedisGate, redis_url: str
) -> None:
    account_id = books_id((await all_accounts(books.engine))[0])
    asked = Gate(books.engine, gate, GatePolicy(timedelta(minutes=10), False, 0), utc_now)  # noqa: FBT003
    await asked.authorize(account_id, 1, None)
    holds = Holds(books.engine, gate)
    await Debiting(books.engine, GRACE, utc_now, holds).handle([books.record(account_id, "req_told", 3)])
    assert await rebuilt(books, gate, write=False) == []
    await redis.asyncio.Redis.from_url(redis_url).flushdb()
    assert await rebuilt(books, gate, write=False) == []
    await holds.close()
