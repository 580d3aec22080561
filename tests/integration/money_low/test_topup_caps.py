"""Caps of automatic top-ups, in number and in money: at the edges of UTC days and months, and as set."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from low_money import DAY, DOLLAR, LowMoney, elements
from sqlalchemy import text

from shared.clock import utc_now
from shared.domain.errors import RefusedError
from shared.domain.topup import next_day, next_month
from shared.messaging.topology import Stage
from shared.operations.payments.topups import Caps, create_topup, set_auto_topup, show_auto_topup

SECOND = timedelta(seconds=1)
FIVE_MINUTES = timedelta(minutes=5)


async def set_up(money: LowMoney, account_id: str, amount: int = 25, **caps: Any) -> dict[str, Any]:
    """Save settings: a threshold that is never reached, and these caps."""
    return await set_auto_topup(
        money.engine,
        money.payments,
        account_id,
        threshold_nanos=10**6 * DOLLAR,
        amount_nanos=amount * DOLLAR,
        payment_method=None,
        caps=Caps(**caps),
    )


async def capped(money: LowMoney, **caps: Any) -> str:
    account_id = await money.account(balance=0)
    await set_up(money, account_id, **caps)
    return account_id


async def evaluate(money: LowMoney, account_id: str, at: datetime) -> bool:
    """Evaluate the account as if it were then; whether it was topped up."""
    begun = elements(await money.thresholds(ahead=at - utc_now()).handle([account_id]), Stage.TOPUP)
    await money.topups().handle(begun)
    # The cool-down after one that fell short is told by the database's clock, which is not ahead.
    await _run(money, "UPDATE topups SET balance_after_nanos = 10000000 * 1000000000::bigint")
    return bool(begun)


async def looks_again_at(money: LowMoney, account_id: str) -> datetime | None:
    query = "SELECT look_again_at FROM evaluations WHERE account_id = :id"
    at: datetime | None = (await money.rows(query, id=account_id))[0]["look_again_at"]
    return at


@pytest.mark.parametrize("caps", [{"max_per_month": 2}, {"max_per_month_nanos": 74 * DOLLAR}], ids=str)
async def test_a_cap_of_the_month_holds_to_its_last_instant_and_ends_with_it(
    money: LowMoney, caps: dict[str, int]
) -> None:
    account_id = await capped(money, **caps)
    end = next_month(utc_now() + FIVE_MINUTES)
    assert await evaluate(money, account_id, end - timedelta(days=2))
    assert await evaluate(money, account_id, end - FIVE_MINUTES)
    assert not await evaluate(money, account_id, end - SECOND)
    assert await looks_again_at(money, account_id) == end
    assert await evaluate(money, account_id, end)
    assert await evaluate(money, account_id, end + SECOND)
    assert not await evaluate(money, account_id, end + 2 * SECOND)
    await money.assert_charged_and_credited(account_id, *[2_500] * 4)


@pytest.mark.parametrize("caps", [{"max_per_day": 2}, {"max_per_day_nanos": 50 * DOLLAR}], ids=str)
async def test_a_cap_of_the_day_holds_to_its_last_instant_and_ends_with_it(
    money: LowMoney, caps: dict[str, int]
) -> None:
    account_id = await capped(money, **caps)
    end = next_day(utc_now() + FIVE_MINUTES)
    assert await evaluate(money, account_id, end - 2 * SECOND)
    assert await evaluate(money, account_id, end - 2 * SECOND)
    assert not await evaluate(money, account_id, end - SECOND)
    assert await looks_again_at(money, account_id) == end
    assert await evaluate(money, account_id, end)
    await money.assert_charged_and_credited(account_id, *[2_500] * 3)


async def test_the_day_of_a_top_up_is_that_of_the_clock_that_decided(money: LowMoney) -> None:
    account_id = await capped(money, max_per_day=1)
    end = next_day(utc_now() + FIVE_MINUTES)
    assert await evaluate(money, account_id, end + SECOND)
    (row,) = await money.rows("SELECT created_at FROM topups")
    assert end <= row["created_at"] < end + FIVE_MINUTES
    assert not await evaluate(money, account_id, end + FIVE_MINUTES)
    # A process whose clock is behind sees the one of tomorrow too.
    assert not await evaluate(money, account_id, end - SECOND)


async def test_what_was_not_paid_takes_nothing_of_a_cap(money: LowMoney) -> None:
    account_id = await capped(money, max_per_day_nanos=25 * DOLLAR)
    await money.change_card(account_id, "pm_card_authenticationRequired")
    at = utc_now() + FIVE_MINUTES
    assert await evaluate(money, account_id, at)
    (row,) = await money.rows("SELECT topup_id FROM topups")
    await money.topups(ahead=DAY + FIVE_MINUTES).handle([row["topup_id"]])
    assert await money.state(row["topup_id"]) == "canceled"
    await money.change_card(account_id, "pm_card_visa")
    assert await evaluate(money, account_id, at)
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_top_ups_by_hand_take_nothing_of_a_cap(money: LowMoney) -> None:
    account_id = await capped(money, max_per_day=1)
    by_hand = await create_topup(money.engine, account_id, 30 * DOLLAR)
    await money.topups().handle([by_hand["id"]])
    assert await evaluate(money, account_id, utc_now() + FIVE_MINUTES)
    await money.assert_charged_and_credited(account_id, 3_000, 2_500)


async def test_the_first_caps_are_twenty_a_day_and_two_hundred_a_month(money: LowMoney) -> None:
    account_id = await money.account()
    shown = await show_auto_topup(money.engine, account_id)
    assert {name: shown[name] for name in Caps.__annotations__} == {
        "max_per_day": 20,
        "max_per_month": 200,
        "max_per_day_nanos": None,
        "max_per_month_nanos": None,
        "lead_minutes": None,
    }


async def test_saving_again_keeps_the_caps_that_are_not_named(money: LowMoney) -> None:
    account_id = await capped(money, max_per_day=3, max_per_month_nanos=100 * DOLLAR)
    saved = await set_up(money, account_id, amount=30, max_per_month=7)
    assert (saved["max_per_day"], saved["max_per_month"], saved["amount_nanos"]) == (3, 7, 30 * DOLLAR)
    assert (saved["max_per_day_nanos"], saved["max_per_month_nanos"]) == (None, 100 * DOLLAR)
    saved = await set_up(money, account_id, max_per_month_nanos=None)
    assert (saved["max_per_day"], saved["max_per_month_nanos"]) == (3, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 101},
        {"max_per_day_nanos": 24 * DOLLAR},
        {"max_per_day_nanos": 0},
        {"max_per_day": 0},
        {"max_per_month": 2**40},
    ],
    ids=str,
)
async def test_caps_that_would_let_nothing_through_are_refused_and_nothing_is_saved(
    money: LowMoney, wrong: dict[str, int]
) -> None:
    account_id = await capped(money, max_per_month_nanos=100 * DOLLAR)
    before = await show_auto_topup(money.engine, account_id)
    with pytest.raises(RefusedError, match="cap"):
        await set_up(money, account_id, **wrong)
    assert await show_auto_topup(money.engine, account_id) == before


async def test_a_threshold_below_zero_and_an_amount_below_the_least_are_refused(money: LowMoney) -> None:
    account_id = await money.account()
    for threshold, amount, why in ((-1, 25 * DOLLAR, "negative"), (0, 5 * DOLLAR - 1, "at least")):
        with pytest.raises(RefusedError, match=why):
            await set_auto_topup(
                money.engine,
                money.payments,
                account_id,
                threshold_nanos=threshold,
                amount_nanos=amount,
                payment_method=None,
            )


async def _run(money: LowMoney, statement: str) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement))
