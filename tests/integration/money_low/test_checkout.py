"""Adding funds on a page of Stripe's: what is paid there is credited once, and nothing else is."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from checkout_pages import begin, begun, checkouts, pay
from low_money import DAY, DOLLAR, LowMoney, elements, later
from sqlalchemy import text

from shared.messaging.topology import Stage
from shared.operations.payments.cards import list_cards, save_card


@pytest.fixture
def clock(money: LowMoney) -> Iterator[None]:
    """Stripe's clock is put right afterwards."""
    yield
    money.controls.reset_clock()


async def test_what_is_paid_on_the_page_is_credited_without_any_webhook(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    assert (topup["state"], topup["channel"], topup["amount_nanos"]) == ("created", "checkout", 25 * DOLLAR)
    assert topup["checkout_url"].startswith(money.stripe_url)
    pay(topup)
    messages = await money.topups().handle([topup["id"]])
    assert await money.named_by(elements(messages, Stage.THRESHOLDS)) == [account_id]
    row = await money.topup(topup["id"])
    assert (row["state"], row["next_step_at"]) == ("succeeded", None)
    assert row["payment_intent_id"].startswith("pi_")
    assert row["receipt_url"]
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_open_page_is_looked_at_every_minute_at_first_and_less_often_later(money: LowMoney) -> None:
    _, topup = await begun(money)
    for ahead, wait in ((0, 1), (5, 1), (60, 6), (600, 10)):
        clock = later(timedelta(minutes=ahead))
        await money.topups(ahead=timedelta(minutes=ahead)).handle([topup["id"]])
        row = await money.topup(topup["id"])
        due = row["next_step_at"] - clock()
        assert timedelta(minutes=wait) - timedelta(seconds=5) < due <= timedelta(minutes=wait, seconds=1)
        assert row["state"] == "created"


@pytest.mark.usefixtures("clock")
async def test_a_page_that_nobody_pays_at_expires_and_the_top_up_with_it(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    money.controls.advance_clock(24 * 3600)
    await money.topups().handle([topup["id"]])
    row = await money.topup(topup["id"])
    assert (row["state"], row["next_step_at"]) == ("canceled", None)
    assert "expired" in row["detail"]
    pay(topup)
    await money.topups().handle([topup["id"]])
    assert await money.state(topup["id"]) == "canceled"
    await money.assert_charged_and_credited(account_id)


@pytest.mark.usefixtures("clock")
async def test_a_page_left_after_a_decline_expires_without_an_alert(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    pay(topup, "pm_card_chargeDeclined")
    money.controls.advance_clock(24 * 3600)
    await checkouts(money).checkout_changed(topup["checkout_session"])
    assert await money.state(topup["id"]) == "canceled"
    assert await money.alerts(account_id) == []
    await money.assert_charged_and_credited(account_id)


async def test_a_card_that_is_declined_on_the_page_can_be_replaced_there(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    pay(topup, "pm_card_chargeDeclinedInsufficientFunds")
    await money.topups().handle([topup["id"]])
    assert await money.state(topup["id"]) == "created"
    assert await money.alerts(account_id) == []
    pay(topup)
    await money.topups().handle([topup["id"]])
    assert await money.state(topup["id"]) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_page_paid_twice_is_charged_and_credited_once(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    pay(topup)
    pay(topup, "pm_card_mastercard")
    for _ in range(2):
        await money.topups().handle([topup["id"]])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_ten_events_and_ten_looks_at_once_make_one_credit(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    pay(topup)
    await asyncio.gather(
        *(checkouts(money).checkout_changed(topup["checkout_session"]) for _ in range(10)),
        *(money.topups().handle([topup["id"]]) for _ in range(10)),
    )
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_two_pages_of_an_account_are_two_top_ups(money: LowMoney) -> None:
    account_id, first = await begun(money)
    second = await begin(money, account_id)
    for topup in (first, second):
        pay(topup)
        await money.topups().handle([topup["id"]])
    await money.assert_charged_and_credited(account_id, 2_500, 2_500)


async def test_a_saved_card_is_the_default_where_there_was_none(money: LowMoney) -> None:
    account_id, topup = await begun(money, saves_card=True)
    pay(topup)
    await money.topups().handle([topup["id"]])
    (card,) = await list_cards(money.engine, money.payments, account_id)
    assert (card["default"], card["last4"]) == (True, "4242")


async def test_a_saved_card_does_not_replace_the_default(money: LowMoney) -> None:
    account_id, topup = await begun(money, saves_card=True)
    kept = await save_card(money.engine, money.payments, account_id, "pm_card_visa")
    pay(topup, "pm_card_mastercard")
    await money.topups().handle([topup["id"]])
    cards = await list_cards(money.engine, money.payments, account_id)
    assert {card["last4"]: card["default"] for card in cards} == {"4444": False, "4242": True}
    assert [card["id"] for card in cards if card["default"]] == [kept]


async def test_without_saving_the_card_is_gone_afterwards(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    pay(topup)
    await money.topups().handle([topup["id"]])
    assert await list_cards(money.engine, money.payments, account_id) == []


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
async def test_money_on_its_way_when_the_page_is_complete_ends_as_stripe_says(
    money: LowMoney, outcome: Any
) -> None:
    account_id, topup = await begun(money)
    money.controls.fault("hold", path="/c/pay/")
    pay(topup)
    await money.topups().handle([topup["id"]])
    row = await money.topup(topup["id"])
    assert row["state"] == "processing"
    money.controls.release(row["payment_intent_id"], outcome)
    await money.topups().handle([topup["id"]])
    ended = outcome == "succeed"
    assert await money.state(topup["id"]) == ("succeeded" if ended else "failed")
    await money.assert_charged_and_credited(account_id, *([2_500] if ended else []))


async def test_checkout_and_an_automatic_one_that_waits_for_its_owner_may_both_be_paid(
    money: LowMoney,
) -> None:
    account_id, automatic = await money.due(card="pm_card_authenticationRequired")
    await money.topups().handle([automatic])
    assert await money.state(automatic) == "action_required"
    topup = await begin(money, account_id)
    pay(topup)
    await money.topups().handle([topup["id"]])
    assert [await money.state(each) for each in (automatic, topup["id"])] == ["action_required", "succeeded"]
    await _authenticate(money, automatic)
    await money.topups(ahead=DAY + timedelta(seconds=5)).handle([automatic])
    assert await money.state(automatic) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500, 2_500)


async def test_a_session_of_another_accounts_top_up_is_refused(money: LowMoney) -> None:
    payer, theirs = await begun(money)
    account_id, topup = await begun(money)
    query = "UPDATE topups SET checkout_session_id = :session WHERE topup_id = :id"
    await _run(money, query, session=theirs["checkout_session"], id=topup["id"])
    pay(theirs)
    await money.topups().handle([topup["id"]])
    assert await money.state(topup["id"]) == "quarantined"
    assert await money.credited_cents(account_id) == []
    await money.topups().handle([theirs["id"]])
    await money.assert_charged_and_credited(payer, 2_500)


async def test_metadata_altered_to_another_account_credit_who_has_the_session(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    other, theirs = await begun(money)
    pay(topup)
    session = money.controls.objects("checkout.session")
    intent = next(each["payment_intent"] for each in session if each["id"] == topup["checkout_session"])
    for altered in (topup["checkout_session"], intent):
        money.controls.alter(altered, metadata={"topup_id": theirs["id"], "account_id": other})
    await money.topups().handle([theirs["id"], topup["id"]])
    assert await money.state(theirs["id"]) == "created"
    assert await money.credited_cents(other) == []
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("currency", ["jpy", "kwd"])
async def test_the_same_number_in_another_currency_is_parked(money: LowMoney, currency: str) -> None:
    account_id, topup = await begun(money)
    pay(topup)
    sessions = money.controls.objects("checkout.session")
    intent = next(each["payment_intent"] for each in sessions if each["id"] == topup["checkout_session"])
    money.controls.alter(intent, currency=currency)
    await money.topups().handle([topup["id"]])
    assert await money.state(topup["id"]) == "quarantined"
    assert await money.credited_cents(account_id) == []


async def test_what_is_paid_after_the_top_up_was_given_up_is_credited(money: LowMoney) -> None:
    account_id, topup = await begun(money)
    await _run(money, "UPDATE topups SET state = 'failed', next_step_at = NULL")
    pay(topup)
    await checkouts(money).checkout_changed(topup["checkout_session"])
    assert await money.state(topup["id"]) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_session_that_is_not_ours_changes_nothing(money: LowMoney) -> None:
    await begun(money)
    assert (await checkouts(money).checkout_changed("cs_test_unknown")).alerts == []


async def _authenticate(money: LowMoney, topup_id: str) -> None:
    """Do what the owner does for a top-up that waits for them."""
    row = await money.topup(topup_id)
    params = {"payment_method": row["payment_method_id"], "return_url": "https://example.com"}
    intents = money.payments.connection.client.v1.payment_intents
    await intents.confirm_async(row["payment_intent_id"], params=params)
    money.controls.authenticate(row["payment_intent_id"])


async def _run(money: LowMoney, statement: str, **values: Any) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement), values)
