"""Every request of the gateway is one Stripe would accept."""

from stripe_account import Account
from stripe_spec import faults_of

from sandbox.stripe.controls import Controls
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments

_FIVE_DOLLARS = 5_000_000_000


async def test_the_gateway_asks_only_what_stripe_accepts(account: Account, controls: Controls) -> None:
    payments = StripePayments(StripeConnection(account.key, account.url))
    customer = await payments.create_customer("acc_1")
    card = await payments.attach_card(customer, "pm_card_visa")
    paid = await payments.create_intent("t1", "acc_1", customer, _FIVE_DOLLARS)
    left = await payments.create_intent("t2", "acc_1", customer, _FIVE_DOLLARS)
    assert (await payments.confirm_intent("t1", paid.intent_id, card, 1)).status == "succeeded"
    assert (await payments.retrieve_intent(paid.intent_id)).status == "succeeded"
    assert (await payments.cancel_intent("t2", left.intent_id)).status == "canceled"
    made = controls.requests(account.key)
    assert len(made) == 7
    assert faults_of(made) == []
