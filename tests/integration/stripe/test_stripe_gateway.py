"""Every request of the gateway is one Stripe would accept."""

from datetime import UTC, datetime

from stripe_account import Account
from stripe_spec import faults_of

from sandbox.stripe.controls import Controls
from shared.gateways.stripe_cards import StripeCards
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments

_FIVE_DOLLARS = 5_000_000_000


async def test_the_gateway_asks_only_what_stripe_accepts(account: Account, controls: Controls) -> None:
    connection = StripeConnection(account.key, account.url)
    payments, cards = StripePayments(connection), StripeCards(connection)
    customer = await cards.create_customer("acc_1")
    card = (await cards.attach(customer, "pm_card_visa")).card_id
    paid = await payments.create_intent("t1", "acc_1", customer, _FIVE_DOLLARS)
    left = await payments.create_intent("t2", "acc_1", customer, _FIVE_DOLLARS)
    assert (await payments.confirm_intent("t1", paid.intent_id, card, 1)).status == "succeeded"
    assert (await payments.retrieve_intent(paid.intent_id)).status == "succeeded"
    found = await payments.find_intent(customer, "t2", datetime.now(UTC))
    assert found is not None
    assert found.intent_id == left.intent_id
    controls.change_card(card, "pm_card_authenticationRequired")
    asked = await payments.ask_owner("t2", left.intent_id, card, 1)
    assert asked.action_url is not None
    assert (await payments.cancel_intent("t2", left.intent_id)).status == "canceled"
    assert await payments.find_intent(customer, "t2", datetime.now(UTC)) is None
    made = controls.requests(account.key)
    assert len(made) == 10
    assert faults_of(made) == []


async def test_an_answer_that_is_repeated_is_not_taken_for_how_the_intent_is(
    account: Account, controls: Controls
) -> None:
    connection = StripeConnection(account.key, account.url)
    payments, cards = StripePayments(connection), StripeCards(connection)
    customer = await cards.create_customer("acc_1")
    card = (await cards.attach(customer, "pm_card_visa")).card_id
    intent = await payments.create_intent("t1", "acc_1", customer, _FIVE_DOLLARS)
    controls.fault("hold")
    first = await payments.confirm_intent("t1", intent.intent_id, card, 1)
    controls.release(intent.intent_id, "succeed")
    again = await payments.confirm_intent("t1", intent.intent_id, card, 1)
    assert (first.status, again.status) == ("processing", "succeeded")
