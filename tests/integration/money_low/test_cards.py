"""Cards of an account as people ask for them: added, listed, made the default, removed."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from low_money import DOLLAR, LowMoney, elements
from saved_cards import add, cards, customer, delete_customer
from stripe_spec import faults_of

from shared.domain.errors import NotFoundError, RefusedError
from shared.gateways.stripe_connection import (
    CardDeclinedError,
    PaymentRefusedError,
    PaymentUnavailableError,
)
from shared.messaging.topology import Stage
from shared.operations.audit import audit
from shared.operations.payments.cards import (
    card_page,
    card_setup,
    default_card,
    list_cards,
    remove_card,
    save_card,
)
from shared.operations.payments.topups import create_topup, set_auto_topup, show_auto_topup


async def turn_on(money: LowMoney, account_id: str) -> dict[str, Any]:
    return await set_auto_topup(
        money.engine,
        money.payments,
        account_id,
        threshold_nanos=10 * DOLLAR,
        amount_nanos=25 * DOLLAR,
        payment_method=None,
    )


async def test_the_first_card_is_the_default_and_the_next_is_not(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    assert await cards(money, account_id) == {}
    first = await add(money, account_id)
    second = await add(money, account_id, "pm_card_mastercard")
    assert await cards(money, account_id) == {first: True, second: False}
    (newest, _) = await list_cards(money.engine, money.payments, account_id)
    assert newest == {
        "id": second,
        "account_id": account_id,
        "brand": "mastercard",
        "last4": "4444",
        "exp_month": 12,
        "exp_year": 2034,
        "default": False,
    }


async def test_another_default_is_charged_by_the_next_top_up(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    await add(money, account_id)
    second = await add(money, account_id, "pm_card_mastercard")
    shown = await default_card(money.engine, money.payments, account_id, second)
    assert (shown["id"], shown["default"]) == (second, True)
    topup = await create_topup(money.engine, account_id, 25 * DOLLAR)
    await money.topups().handle([topup["id"]])
    (charge,) = [each for each in money.controls.charges() if each["payment_intent"] == await _intent(money)]
    assert charge["payment_method"] == second
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_more_cards_than_a_page_holds_are_all_listed(
    money: LowMoney, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.gateways.stripe_cards._PAGE", 2)
    account_id = await money.account_without_topup()
    added = [await add(money, account_id) for _ in range(5)]
    assert list(await cards(money, account_id)) == added[::-1]


async def test_removing_the_default_leaves_none_and_automatic_top_up_off(money: LowMoney) -> None:
    account_id = await money.account()
    other = await add(money, account_id, "pm_card_mastercard")
    default = (await show_auto_topup(money.engine, account_id))["payment_method"]
    await remove_card(money.engine, money.payments, account_id, default)
    assert await cards(money, account_id) == {other: False}
    settings = await show_auto_topup(money.engine, account_id)
    assert (settings["enabled"], settings["payment_method"]) == (False, None)
    assert "removed" in settings["disabled_because"]
    assert await money.alerts(account_id) == ["topup.disabled"]
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []
    with pytest.raises(RefusedError, match="needs a saved card"):
        await create_topup(money.engine, account_id, 25 * DOLLAR)
    with pytest.raises(RefusedError, match="needs a card"):
        await turn_on(money, account_id)
    await default_card(money.engine, money.payments, account_id, other)
    assert (await turn_on(money, account_id))["enabled"] is True
    assert (await audit(money.engine)).ok


async def test_removing_another_card_changes_nothing_else(money: LowMoney) -> None:
    account_id = await money.account()
    other = await add(money, account_id, "pm_card_mastercard")
    await remove_card(money.engine, money.payments, account_id, other)
    assert list((await cards(money, account_id)).values()) == [True]
    assert (await show_auto_topup(money.engine, account_id))["enabled"] is True
    assert await money.alerts(account_id) == []


async def test_a_removal_that_stripe_did_not_hear_of_can_be_asked_for_again(money: LowMoney) -> None:
    account_id = await money.account()
    (card,) = await cards(money, account_id)
    money.controls.fault("lose_request", path="/v1/payment_methods/*/detach")
    with pytest.raises(PaymentUnavailableError):
        await remove_card(money.engine, money.payments, account_id, card)
    assert await cards(money, account_id) == {card: False}
    await remove_card(money.engine, money.payments, account_id, card)
    assert await cards(money, account_id) == {}
    assert await money.alerts(account_id) == ["topup.disabled"]


async def test_a_removed_card_is_no_card_of_the_account(money: LowMoney) -> None:
    account_id = await money.account()
    (card,) = await cards(money, account_id)
    await remove_card(money.engine, money.payments, account_id, card)
    for work in (remove_card, default_card):
        with pytest.raises(NotFoundError, match=card):
            await work(money.engine, money.payments, account_id, card)


async def test_a_card_of_another_account_is_refused(money: LowMoney) -> None:
    theirs = await money.account()
    (card,) = await cards(money, theirs)
    account_id = await money.account()
    mine = await cards(money, account_id)
    with pytest.raises(PaymentRefusedError, match="already been attached"):
        await add(money, account_id, card)
    for work in (default_card, remove_card):
        with pytest.raises(NotFoundError, match="has no card"):
            await work(money.engine, money.payments, account_id, card)
    assert await cards(money, account_id) == mine
    assert await cards(money, theirs) == {card: True}


async def test_a_card_that_its_bank_refuses_is_not_saved(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    with pytest.raises(CardDeclinedError, match="expired"):
        await add(money, account_id, "pm_card_chargeDeclinedExpiredCard")
    assert await cards(money, account_id) == {}


async def test_an_unknown_account_has_no_customer(money: LowMoney) -> None:
    works = (save_card, default_card, remove_card)
    for work in works:
        with pytest.raises(NotFoundError):
            await work(money.engine, money.payments, "acct_unknown", "pm_card_visa")
    for listing in (list_cards, card_setup, card_page):
        with pytest.raises(NotFoundError):
            await listing(money.engine, money.payments, "acct_unknown")
    assert money.controls.requests(money.stripe_key) == []


async def test_after_its_customer_was_deleted_a_card_makes_another(money: LowMoney) -> None:
    account_id = await money.account()
    deleted = await delete_customer(money, account_id)
    assert await cards(money, account_id) == {}
    card = await add(money, account_id, "pm_card_mastercard")
    assert await customer(money, account_id) != deleted
    assert await cards(money, account_id) == {card: True}
    assert "deleted" in (await show_auto_topup(money.engine, account_id))["disabled_because"]
    assert await money.alerts(account_id) == ["topup.disabled"]
    again = await delete_customer(money, account_id)
    await add(money, account_id)
    assert await customer(money, account_id) not in {deleted, again}


@pytest.mark.parametrize("deleted", [False, True])
async def test_cards_saved_at_once_make_one_customer(money: LowMoney, deleted: bool) -> None:  # noqa: FBT001
    account_id = await money.account_without_topup()
    if deleted:
        await add(money, account_id)
        await delete_customer(money, account_id)
    added = await asyncio.gather(*(_add_in_the_end(money, account_id) for _ in range(5)))
    found = await cards(money, account_id)
    assert set(found) == set(added)
    assert sum(found.values()) == 1
    made = [each["id"] for each in money.controls.objects("customer") if _is_of(each, account_id)]
    assert made == [await customer(money, account_id)]


async def test_stripe_would_accept_all_that_is_asked_about_cards(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    card = await add(money, account_id)
    await card_setup(money.engine, money.payments, account_id)
    await card_page(money.engine, money.payments, account_id)
    await default_card(money.engine, money.payments, account_id, card)
    await list_cards(money.engine, money.payments, account_id)
    await remove_card(money.engine, money.payments, account_id, card)
    made = money.controls.requests(money.stripe_key)
    assert len(made) >= 9
    assert faults_of(made) == []


async def _add_in_the_end(money: LowMoney, account_id: str) -> str:
    """Save a card; who meets another request that makes the customer is told to come again."""
    while True:
        with suppress(PaymentUnavailableError):
            return await add(money, account_id)


def _is_of(found: dict[str, Any], account_id: str) -> bool:
    return not found.get("deleted") and found["metadata"].get("account_id") == account_id


async def _intent(money: LowMoney) -> str:
    return str((await money.rows("SELECT payment_intent_id FROM topups"))[0]["payment_intent_id"])
