"""Bursts of automatic top-ups: fifty workers that see the same low balance charge once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from low_money import LowMoney, elements
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from shared.db.engine import create_engine
from shared.messaging.topology import Stage


@asynccontextmanager
async def engines(money: LowMoney, number: int) -> AsyncIterator[list[AsyncEngine]]:
    async with AsyncExitStack() as stack:
        found = [create_engine(money.database_url) for _ in range(number)]
        for engine in found:
            stack.push_async_callback(engine.dispose)
        yield found


async def test_fifty_concurrent_evaluations_begin_one_top_up_and_tell_the_level_once(money: LowMoney) -> None:
    account_id = await money.account()
    async with engines(money, 5) as five:
        stages = [money.thresholds(engine) for engine in five]
        answers = await asyncio.gather(*(stages[n % 5].handle([account_id]) for n in range(50)))
    begun = [topup_id for messages in answers for topup_id in elements(messages, Stage.TOPUP)]
    assert len(begun) == 1
    rows = await money.rows("SELECT * FROM topups WHERE account_id = :id", id=account_id)
    assert [(row["topup_id"], row["state"], row["automatic"]) for row in rows] == [
        (begun[0], "pending", True)
    ]
    assert await money.alerts(account_id, "%") == ["balance.critical"]


async def test_fifty_concurrent_evaluations_of_an_account_evaluated_before_begin_one_top_up(
    money: LowMoney,
) -> None:
    account_id = await money.account(balance=15)
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []
    async with money.engine.begin() as connection:
        await connection.execute(text("UPDATE auto_topups SET threshold_nanos = 20000000000"))
    async with engines(money, 5) as five:
        stages = [money.thresholds(engine) for engine in five]
        answers = await asyncio.gather(*(stages[n % 5].handle([account_id]) for n in range(50)))
    assert len([topup_id for messages in answers for topup_id in elements(messages, Stage.TOPUP)]) == 1
    assert await money.alerts(account_id, "%") == ["balance.low"]


async def test_fifty_concurrent_workers_make_one_charge_and_one_credit_of_a_top_up(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    async with engines(money, 5) as five:
        stages = [money.topups(engine) for engine in five]
        await asyncio.gather(*(stages[n % 5].handle([topup_id]) for n in range(50)))
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_fifty_concurrent_workers_count_one_decline_once(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    async with engines(money, 5) as five:
        stages = [money.topups(engine) for engine in five]
        await asyncio.gather(*(stages[n % 5].handle([topup_id]) for n in range(50)))
    await money.topups().handle([topup_id])
    assert (await money.auto(account_id))["soft_declines"] == 1
    assert await money.state(topup_id) == "retry_wait"
    assert await money.alerts(account_id) == ["topup.failed"]


async def test_fifty_concurrent_workers_ask_an_owner_once_to_authenticate(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_authenticationRequired")
    async with engines(money, 5) as five:
        stages = [money.topups(engine) for engine in five]
        await asyncio.gather(*(stages[n % 5].handle([topup_id]) for n in range(50)))
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "action_required"
    assert await money.alerts(account_id) == ["topup.action_required"]
    money.controls.authenticate((await money.topup(topup_id))["payment_intent_id"])
    await money.topups().handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_the_low_balance_and_the_top_up_that_ended_it_are_not_mixed(money: LowMoney) -> None:
    """The top-up succeeds between two reads of an evaluation: its low balance is no reason for another."""
    account_id, topup_id = await money.due()
    async with engines(money, 1) as (engine,):
        _run_before(engine, "auto_topups", lambda: money.topups().handle([topup_id]))
        assert elements(await money.thresholds(engine).handle([account_id]), Stage.TOPUP) == []
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_evaluations_and_top_ups_all_at_once_charge_what_the_threshold_needs(money: LowMoney) -> None:
    accounts = [await money.account(balance) for balance in (3, 9, 10, 12)]

    async def one(engine: AsyncEngine) -> None:
        begun = elements(await money.thresholds(engine).handle(accounts), Stage.TOPUP)
        await money.topups(engine).handle(begun)

    async with engines(money, 5) as five:
        await asyncio.gather(*(one(five[n % 5]) for n in range(25)))
    for account_id, charged in zip(accounts, [(2_500,), (2_500,), (), ()], strict=True):
        await money.assert_charged_and_credited(account_id, *charged)


def _run_before(engine: AsyncEngine, words: str, work: Callable[[], Awaitable[object]]) -> None:
    """Run ``work`` once, right before the first statement that has these words."""
    left = [work]

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if words in statement and left:
            await_only(left.pop()())
