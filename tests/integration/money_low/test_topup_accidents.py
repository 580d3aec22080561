"""What else can befall a top-up; each time the books and Stripe agree afterwards."""

import asyncio
from datetime import timedelta

import pytest
from low_money import DAY, DOLLAR, RETRY, LowMoney, elements
from topup_accidents import (
    AFTER_RETRY,
    CONFIRM,
    DECLINED,
    beside,
    run_sql,
    stripe_of,
)

from shared.db.payment_steps import take_due_steps
from shared.messaging.topology import Stage
from shared.operations.payments.topups import create_topup


async def test_one_by_hand_races_the_automatic_one_and_each_is_charged_once(money: LowMoney) -> None:
    account_id = await money.account()

    async def automatic() -> None:
        begun = elements(await money.thresholds().handle([account_id]), Stage.TOPUP)
        await money.topups().handle(begun)

    async def by_hand() -> None:
        topup_id = (await create_topup(money.engine, account_id, 30 * DOLLAR))["id"]
        await asyncio.gather(*(money.topups().handle([topup_id]) for _ in range(3)))

    await asyncio.gather(automatic(), by_hand(), automatic())
    charged = await money.charged_cents(account_id)
    assert sorted(charged) in ([3_000], [2_500, 3_000])
    assert sorted(await money.credited_cents(account_id)) == sorted(charged)
    assert elements(await money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP) == []
    assert await money.balance(account_id) == 3 * DOLLAR + sum(charged) * DOLLAR // 100


async def test_a_parked_top_up_is_credited_when_exactly_its_money_comes(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", status=400, **CONFIRM)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "quarantined"
    row = await money.topup(topup_id)
    paid = await money.payments.confirm_intent(
        topup_id, row["payment_intent_id"], row["payment_method_id"], 2
    )
    for wrong in ({"amount": 2_499}, {"currency": "eur"}, {"intent_id": "pi_other"}):
        await money.settle(topup_id, paid, **wrong)
        assert await money.state(topup_id) == "quarantined"
    for _ in range(2):
        await money.settle(topup_id, paid)
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.failed", "topup.disabled", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_clocks_that_differ_by_minutes_lose_and_double_nothing(money: LowMoney, minutes: int) -> None:
    skew = timedelta(minutes=minutes)
    account_id = await money.account()
    await money.change_card(account_id, DECLINED)
    (topup_id,) = elements(await money.thresholds(ahead=skew).handle([account_id]), Stage.TOPUP)
    for ahead in (skew, -skew, skew):
        await money.topups(ahead=ahead).handle([topup_id])
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.change_card(account_id, "pm_card_visa")
    # The database's clock says when a step is due, whatever the stages' clocks say.
    due = (await money.topup(topup_id))["next_step_at"] - (await money.topup(topup_id))["updated_at"]
    assert RETRY - timedelta(seconds=1) < due < RETRY + timedelta(seconds=1)
    for ahead in (AFTER_RETRY + skew, AFTER_RETRY - skew):
        await money.topups(ahead=ahead).handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    assert elements(await money.thresholds(ahead=-skew).handle([account_id]), Stage.TOPUP) == []
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_top_up_by_checkout_is_left_to_its_page(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand()
    await run_sql(
        money, "UPDATE topups SET channel = 'checkout', state = 'created', payment_method_id = NULL"
    )
    asked = len(money.controls.requests(money.stripe_key))
    await money.topups(ahead=DAY).handle([topup_id])
    assert len(money.controls.requests(money.stripe_key)) == asked
    customer, _ = await money.customer(account_id)
    intent = await money.payments.create_intent(topup_id, account_id, customer, 25 * DOLLAR)
    await run_sql(money, "UPDATE topups SET payment_intent_id = :id", id=intent.intent_id)
    await money.topups(ahead=DAY).handle([topup_id])
    assert await money.state(topup_id) == "created"
    stripe_of(money).v1.payment_intents.confirm(intent.intent_id, {"payment_method": "pm_card_visa"})
    await money.topups(ahead=DAY).handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_the_clock_finds_a_step_that_a_process_died_with(money: LowMoney) -> None:
    _, topup_id = await money.due()
    await beside(money, "confirm_intent").until_killed(topup_id)
    await run_sql(money, "UPDATE topups SET next_step_at = next_step_at - interval '30 seconds'")
    async with money.engine.begin() as connection:
        found = await take_due_steps(connection, again_after=timedelta(seconds=30), limit=10)
    assert found == [topup_id]
