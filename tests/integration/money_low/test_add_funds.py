"""Adding funds with the saved card: amounts, keys, and what the list shows."""

import asyncio
from typing import Any

import pytest
from low_money import DOLLAR, LowMoney

from shared.domain.errors import NotFoundError, RefusedError
from shared.operations.payments.cards import save_card
from shared.operations.payments.topups import create_topup, list_topups

CENT = DOLLAR // 100
MOST = 999_999 * DOLLAR + 99 * CENT


async def with_card(money: LowMoney) -> str:
    account_id = await money.account_without_topup()
    await save_card(money.engine, money.payments, account_id, "pm_card_visa")
    return account_id


async def ask(money: LowMoney, account_id: str, nanos: int = 25 * DOLLAR, key: str | None = None) -> Any:
    return await create_topup(money.engine, account_id, nanos, key)


@pytest.mark.parametrize(
    ("nanos", "why"),
    [
        (4 * DOLLAR + 99 * CENT, "at least"),
        (0, "at least"),
        (MOST + CENT, "at most"),
        (5 * DOLLAR + 1, "cents"),
        (25 * DOLLAR + CENT // 2, "cents"),
    ],
)
async def test_an_amount_out_of_range_or_with_a_part_of_a_cent_is_refused(
    money: LowMoney, nanos: int, why: str
) -> None:
    account_id = await with_card(money)
    with pytest.raises(RefusedError, match=why):
        await ask(money, account_id, nanos)
    assert await money.rows("SELECT topup_id FROM topups") == []


@pytest.mark.parametrize("nanos", [5 * DOLLAR, MOST])
async def test_the_least_and_the_most_are_charged_to_the_cent(money: LowMoney, nanos: int) -> None:
    account_id = await with_card(money)
    topup = await ask(money, account_id, nanos)
    await money.topups().handle([topup["id"]])
    await money.assert_charged_and_credited(account_id, nanos // CENT)


async def test_asking_again_under_a_key_gives_the_same_top_up_as_it_stands(money: LowMoney) -> None:
    account_id = await with_card(money)
    first = await ask(money, account_id, key="k")
    assert await ask(money, account_id, key="k") == first
    await money.topups().handle([first["id"]])
    again = await ask(money, account_id, key="k")
    assert (again["id"], again["state"]) == (first["id"], "succeeded")
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_fifty_that_ask_at_once_under_a_key_make_one_top_up(money: LowMoney) -> None:
    account_id = await with_card(money)
    made = await asyncio.gather(*(ask(money, account_id, key="k") for _ in range(50)))
    assert len({each["id"] for each in made}) == 1
    await money.topups().handle([made[0]["id"]])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_key_that_was_used_for_another_amount_is_refused(money: LowMoney) -> None:
    account_id = await with_card(money)
    await ask(money, account_id, key="k")
    with pytest.raises(RefusedError, match="k was used for another top-up"):
        await ask(money, account_id, 26 * DOLLAR, key="k")


async def test_a_key_belongs_to_its_account_and_without_one_each_is_another(money: LowMoney) -> None:
    accounts = [await with_card(money), await with_card(money)]
    made = [await ask(money, account_id, key="k") for account_id in accounts]
    made += [await ask(money, accounts[0]) for _ in range(2)]
    assert len({each["id"] for each in made}) == 4


async def test_a_key_finds_its_top_up_after_the_card_was_removed(money: LowMoney) -> None:
    account_id = await with_card(money)
    first = await ask(money, account_id, key="k")
    async with money.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE payment_customers SET payment_method_id = NULL")
    assert await ask(money, account_id, key="k") == first
    with pytest.raises(RefusedError, match="needs a saved card"):
        await ask(money, account_id, key="other")


async def test_the_list_shows_what_was_asked_for(money: LowMoney) -> None:
    account_id = await with_card(money)
    topup = await ask(money, account_id)
    assert list(await list_topups(money.engine, account_id)) == [topup]
    assert (topup["state"], topup["channel"], topup["automatic"]) == ("pending", "card", False)
    with pytest.raises(NotFoundError):
        await ask(money, "acct_unknown")
