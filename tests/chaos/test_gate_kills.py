"""The gate under hundreds of clients, while its processes are killed, and while Redis loses what it knows.

``make kills`` runs a longer campaign, of PAYG_CHAOS_KILLS and PAYG_CHAOS_SEED.
"""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from e2e_traffic import drained
from gate_campaign import NANOS_A_TOKEN, Campaign, Customer, add_money, open_accounts, running
from gate_tally import Tally
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Redis
from sandbox.supervisor import Supervisor
from shared.clock import utc_now
from shared.db import gate as sql
from shared.domain.gate import Held, KeyPeriod, KeyStanding, Standing, weigh
from shared.operations.audit import audit
from shared.settings import Settings

_KILLS = int(os.environ.get("PAYG_CHAOS_KILLS", "8"))
_SEED = int(os.environ.get("PAYG_CHAOS_SEED", "1"))
_BETWEEN_KILLS_S = 1.0
_CLIENTS = 300
_USAGE = text("""
    SELECT count(*) AS records, coalesce(sum(uncollected_nanos), 0)::bigint AS uncollected FROM usage_records
""")
_LATE = text("SELECT hold_id FROM usage_records WHERE account_id = :account_id AND debited_at > :at")
_BALANCES = text("SELECT account_id, balance_nanos FROM accounts")
_UNCOLLECTED = text("""
    SELECT account_id, sum(uncollected_nanos)::bigint AS nanos FROM usage_records GROUP BY account_id
""")
_MOST_TOKENS = 10**9

Disturb = Callable[[Supervisor, Sequence[Customer]], Awaitable[None]]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def gate_settings(database_url: str, broker_url: str, own_redis: Redis) -> Settings:
    return Settings(database_url=database_url, broker_url=broker_url, redis_url=own_redis.url)


@dataclass
class Over:
    """A campaign that is over, and all its usage drained."""

    customers: Sequence[Customer]
    campaign: Campaign

    @property
    def tallies(self) -> list[Tally]:
        return list({id(t): t for customer in self.customers for t in customer.tallies}.values())


@asynccontextmanager
async def campaign(
    engine: AsyncEngine,
    settings: Settings,
    logs: Path,
    disturb: Disturb,
    *,
    all_served: bool = False,
) -> AsyncIterator[Over]:
    customers = await open_accounts(engine)
    with running(settings, logs) as (processes, urls):
        async with Campaign.open(engine, settings, urls, _SEED, all_served=all_served) as clients:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(clients.run(customers, _CLIENTS, stop))
                tasks.create_task(add_money(engine, customers, stop))
                await disturb(processes, customers)
                stop.set()
            assert await drained(engine, settings, timeout_s=60) is None
            yield Over(customers, clients)


@pytest.mark.slow
async def test_nothing_is_spent_twice_and_no_hold_outlives_its_time(
    engine: AsyncEngine, gate_settings: Settings, tmp_path: Path
) -> None:
    async def disturb(processes: Supervisor, _customers: Sequence[Customer]) -> None:
        await _kill(processes, _KILLS)

    async with campaign(engine, gate_settings, tmp_path / "logs", disturb) as over:
        assert [fault for tally in over.tallies for fault in tally.faults] == []
        assert over.campaign.answers[200] > _CLIENTS
        assert over.campaign.answers[402] > 0
        await _assert_books(engine, over)
        await _until_holds_expired(over)
        for customer in over.customers:
            await _assert_all_can_be_held_again(engine, gate_settings, over, customer)
    overdrafts = await _overdrafts(engine)
    aborting = next(customer for customer in over.customers if customer.aborts)
    assert overdrafts.pop(aborting.account_id, 0) <= over.campaign.aborted_nanos
    assert overdrafts == {}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["emptied", "killed"])
async def test_what_redis_loses_is_the_most_that_is_overdrawn(
    engine: AsyncEngine,
    gate_settings: Settings,
    own_redis: Redis,
    tmp_path: Path,
    loss: str,
) -> None:
    lost_at: datetime | None = None

    async def disturb(processes: Supervisor, _customers: Sequence[Customer]) -> None:
        nonlocal lost_at
        await _kill(processes, _KILLS // 4)
        lost_at = utc_now()
        await asyncio.to_thread(_empty if loss == "emptied" else _crash, own_redis)
        await _kill(processes, _KILLS // 4)

    async with campaign(engine, gate_settings, tmp_path / "logs", disturb, all_served=True) as over:
        await _assert_books(engine, over)
    assert lost_at is not None
    overdrafts = await _overdrafts(engine)
    for customer in over.customers:
        overdraft = overdrafts.get(customer.account_id, 0)
        lost = await _lost(engine, customer, lost_at)
        lost += over.campaign.aborted_nanos if customer.aborts else 0
        sys.stdout.write(
            f"{customer.tallies[0].name}: overdrawn {overdraft} of {lost} nanos that were held\n"
        )
        assert overdraft <= lost


async def _kill(processes: Supervisor, kills: int) -> None:
    choose = random.Random(_SEED)
    for _ in range(kills):
        await asyncio.sleep(_BETWEEN_KILLS_S * (0.5 + choose.random()))
        if running_now := list(processes.pids()):
            processes.kill(choose.choice(running_now))
    await asyncio.sleep(_BETWEEN_KILLS_S)


def _empty(server: Redis) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


def _crash(server: Redis) -> None:
    server.kill()
    server.start()


async def _until_holds_expired(over: Over) -> None:
    """Wait for the holds of clients that never told what became of them, answered or not."""
    last = max(each.expires_at for tally in over.tallies for each in tally.requests)
    await asyncio.sleep(max(0.0, (last - utc_now()).total_seconds()) + _BETWEEN_KILLS_S)


async def _assert_books(engine: AsyncEngine, over: Over) -> None:
    async with engine.connect() as connection:
        usage = (await connection.execute(_USAGE)).one()
    assert usage.records == over.campaign.published
    assert (await audit(engine)).fault is None


async def _overdrafts(engine: AsyncEngine) -> dict[str, int]:
    """Return by account what was used and could not be paid."""
    async with engine.connect() as connection:
        balances = {row.account_id: -min(0, row.balance_nanos) for row in await connection.execute(_BALANCES)}
        for row in await connection.execute(_UNCOLLECTED):
            balances[row.account_id] += row.nanos
    return {account_id: nanos for account_id, nanos in balances.items() if nanos}


async def _lost(engine: AsyncEngine, customer: Customer, at: datetime) -> int:
    """Return what was held at that moment: also of records that were sent, and debited later."""
    async with engine.connect() as connection:
        rows = await connection.execute(_LATE, {"account_id": customer.account_id, "at": at})
        late = set(rows.scalars())
    return sum(
        each.held_nanos
        for each in customer.tallies[0].requests
        if each.asked_at <= at
        and (each.hold_id in late or (each.cost_nanos is None and at < each.expires_at))
    )


async def _assert_all_can_be_held_again(
    engine: AsyncEngine, settings: Settings, over: Over, customer: Customer
) -> None:
    """What can be held is what the books say, to the token; and with that given back nothing is held."""
    limited = customer.api_key_id if len(customer.tallies) > 1 else None
    async with engine.connect() as connection:
        now = utc_now()
        standing = (await sql.load_standings(connection, [customer.account_id], now))[customer.account_id]
        key = await sql.load_key_period(connection, customer.account_id, limited, now) if limited else None
    most = _most_tokens(standing, key)
    assert await over.campaign.ask(customer, most + 1) is None
    if most > 0:
        request = await over.campaign.ask(customer, most)
        assert request is not None, f"{customer.tallies[0].name} can not hold {most} tokens"
        await over.campaign.give_back(customer, request)
    assert _held_in_redis(settings, customer) == [0, 0, 0]


def _most_tokens(standing: Standing, key: KeyPeriod | None) -> int:
    least, most = 0, _MOST_TOKENS
    of_key = key and KeyStanding(key.limit_nanos, key.spent_nanos)
    while least < most:
        middle = (least + most + 1) // 2
        refused = weigh(standing, Held(), middle * NANOS_A_TOKEN, of_key)
        least, most = (least, middle - 1) if refused else (middle, most)
    return least


def _held_in_redis(settings: Settings, customer: Customer) -> list[Any]:
    with redis.Redis.from_url(str(settings.redis_url)) as client:
        account = f"payg:{{{customer.account_id}}}:account"
        return [int(n or 0) for n in client.hmget(account, "count", "list", "discounted")]
