"""Cards of an account: added, listed, made the default, removed; by request, and as Stripe's events tell."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest
from low_money import DOLLAR, LowMoney, elements, later
from stripe_spec import faults_of

from shared.domain.errors import NotFoundError, RefusedError
from shared.gateways.stripe_connection import (
    CardDeclinedError,
    PaymentRefusedError,
    PaymentUnavailableError,
)
from shared.messaging.topology import Stage
from shared.operations.audit import audit
from shared.operations.card_events import CardEvents
from shared.operations.cards import (
    card_page,
    card_setup,
    default_card,
    list_cards,
    remove_card,
    save_card,
)
from shared.operations.topups import create_topup, set_auto_topup, show_auto_topup


async def add(money: LowMoney, account_id: str, card: str = "pm_card_visa") -> str:
    return await save_card(money.engine, money.payments, account_id, card, default=False)


async def cards(money: LowMoney, account_id: str) -> dict[str, bool]:
    """Return the account's cards, and which is the default."""
    found = await list_cards(money.engine, money.payments, account_id)
    return {card["id"]: card["default"] for card in found}


async def customer(money: LowMoney, account_id: str) -> str:
    query = "SELECT customer_id FROM payment_customers WHERE account_id = :id"
    return str((await money.rows(query, id=account_id))[0]["customer_id"])


async def delete_customer(money: LowMoney, account_id: str) -> str:
    deleted = await customer(money, account_id)
    await money.payments.connection.client.v1.customers.delete_async(deleted)
    return deleted


def events(money: LowMoney) -> CardEvents:
    return CardEvents(money.engine, money.payments, later())


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


async def test_a_card_saved_by_stripe_js_is_the_default_once_stripe_tells(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    setup = await card_setup(money.engine, money.payments, account_id)
    assert setup["client_secret"].startswith(setup["setup_intent"])
    await events(money).card_saved(setup["setup_intent"])
    assert await cards(money, account_id) == {}
    await _confirm(money, setup["setup_intent"])
    for _ in range(2):
        await events(money).card_saved(setup["setup_intent"])
    assert list((await cards(money, account_id)).values()) == [True]
    second = await card_setup(money.engine, money.payments, account_id)
    await _confirm(money, second["setup_intent"])
    await events(money).card_saved(second["setup_intent"])
    assert list((await cards(money, account_id)).values()) == [False, True]


async def test_a_card_saved_on_a_page_of_stripes_is_the_default_once_stripe_tells(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    page = await card_page(money.engine, money.payments, account_id)
    async with httpx.AsyncClient() as browser:
        await browser.post(page["url"], data={"card": "pm_card_visa"})
    sessions = money.controls.objects("checkout.session")
    (intent,) = [each["setup_intent"] for each in sessions if each["id"] == page["checkout_session"]]
    await events(money).card_saved(intent)
    assert list((await cards(money, account_id)).values()) == [True]


async def test_a_card_that_was_removed_since_does_not_come_back_with_a_late_event(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    setup = await card_setup(money.engine, money.payments, account_id)
    await _confirm(money, setup["setup_intent"])
    (card,) = await cards(money, account_id)
    await remove_card(money.engine, money.payments, account_id, card)
    await events(money).card_saved(setup["setup_intent"])
    assert (await show_auto_topup(money.engine, account_id))["payment_method"] is None


async def test_a_setup_of_a_customer_that_is_nobodys_changes_nothing(money: LowMoney) -> None:
    setups = money.payments.connection.client.v1.setup_intents
    setup = await setups.create_async(params={"payment_method": "pm_card_visa", "confirm": True})
    assert (await events(money).card_saved(setup.id)).alerts == []


async def test_a_card_detached_at_stripe_is_charged_no_more(money: LowMoney) -> None:
    account_id = await money.account()
    (card,) = await cards(money, account_id)
    assert (await events(money).card_removed(card)).alerts == []
    assert await cards(money, account_id) == {card: True}
    await money.payments.connection.client.v1.payment_methods.detach_async(card)
    outcomes = [await events(money).card_removed(card) for _ in range(2)]
    assert [len(outcome.alerts) for outcome in outcomes] == [1, 0]
    assert await money.alerts(account_id) == ["topup.disabled"]
    assert (await show_auto_topup(money.engine, account_id))["payment_method"] is None


async def test_the_customer_deleted_at_stripe_takes_the_card_along(money: LowMoney) -> None:
    account_id = await money.account()
    before = await customer(money, account_id)
    assert (await events(money).customer_deleted(before)).alerts == []
    await delete_customer(money, account_id)
    outcomes = [await events(money).customer_deleted(before) for _ in range(2)]
    assert [len(outcome.alerts) for outcome in outcomes] == [1, 0]
    settings = await show_auto_topup(money.engine, account_id)
    assert (settings["enabled"], settings["payment_method"]) == (False, None)
    assert "deleted" in settings["disabled_because"]
    card = await add(money, account_id)
    await events(money).customer_deleted(before)  # once more, late: it is another customer now
    assert await cards(money, account_id) == {card: True}


async def test_stripe_would_accept_all_that_is_asked_about_cards(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    card = await add(money, account_id)
    setup = await card_setup(money.engine, money.payments, account_id)
    await card_page(money.engine, money.payments, account_id)
    await events(money).card_saved(setup["setup_intent"])
    await default_card(money.engine, money.payments, account_id, card)
    await list_cards(money.engine, money.payments, account_id)
    await remove_card(money.engine, money.payments, account_id, card)
    made = money.controls.requests(money.stripe_key)
    assert len(made) >= 10
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


async def _confirm(money: LowMoney, setup_intent: str) -> None:
    """Do what the owner does with Stripe.js."""
    setups = money.payments.connection.client.v1.setup_intents
    await setups.confirm_async(setup_intent, params={"payment_method": "pm_card_visa"})
