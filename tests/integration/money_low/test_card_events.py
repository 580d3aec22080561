"""What Stripe tells of cards, late, twice and out of order: it is asked what is true."""

import httpx
from low_money import LowMoney, later
from saved_cards import add, cards, customer, delete_customer
from stripe_spec import faults_of

from shared.operations.payments.card_events import CardEvents
from shared.operations.payments.cards import card_page, card_setup, remove_card
from shared.operations.payments.topups import show_auto_topup


def events(money: LowMoney) -> CardEvents:
    return CardEvents(money.engine, money.payments, later())


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


async def test_stripe_would_accept_all_that_is_asked_about_events(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    card = await add(money, account_id)
    setup = await card_setup(money.engine, money.payments, account_id)
    await events(money).card_saved(setup["setup_intent"])
    await events(money).card_removed(card)
    await events(money).customer_deleted(await customer(money, account_id))
    assert faults_of(money.controls.requests(money.stripe_key)) == []


async def _confirm(money: LowMoney, setup_intent: str) -> None:
    """Do what the owner does with Stripe.js."""
    setups = money.payments.connection.client.v1.setup_intents
    await setups.confirm_async(setup_intent, params={"payment_method": "pm_card_visa"})
