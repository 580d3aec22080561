"""A PaymentIntent goes through Stripe's states, and its charge is made once."""

import time

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, charges_of, intent_parameters

from sandbox.stripe.controls import Controls


def test_create_then_confirm_off_session_takes_the_money(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    intent = account.intent(customer, card, metadata={"topup": "t1"})
    assert intent.status == "requires_confirmation"
    done = stripe.v1.payment_intents.confirm(
        intent.id, {"off_session": True, "payment_method": card, "expand": ["latest_charge"]}
    )
    charge = done.latest_charge
    assert (done.status, done.amount_received) == ("succeeded", 2_000)
    assert isinstance(charge, sdk.Charge)
    assert (charge.status, charge.amount, charge.metadata["topup"]) == ("succeeded", 2_000, "t1")
    assert charge.receipt_url is not None
    assert stripe.v1.charges.list({"payment_intent": intent.id}).data[0].id == charge.id
    assert account.event_types()[-3:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


async def test_the_asynchronous_sdk_does_the_same(stripe: StripeClient) -> None:
    customer = await stripe.v1.customers.create_async({"email": "async@example.com"})
    card = await stripe.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    intent = await stripe.v1.payment_intents.create_async(
        intent_parameters(customer.id, payment_method=card.id, confirm=True, off_session=True)
    )
    assert (await stripe.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"


def test_without_a_card_it_waits_for_one(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intent = account.intent(customer)
    assert intent.status == "requires_payment_method"
    with pytest.raises(sdk.InvalidRequestError, match="missing a payment method") as refused:
        stripe.v1.payment_intents.confirm(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    confirmed = stripe.v1.payment_intents.confirm(intent.id, {"payment_method": account.saved_card(customer)})
    assert confirmed.status == "succeeded"


def test_a_succeeded_intent_is_confirmed_and_canceled_no_more(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    intent = account.intent(customer, account.saved_card(customer), confirm=True)
    for refuse in (stripe.v1.payment_intents.confirm, stripe.v1.payment_intents.cancel):
        with pytest.raises(sdk.InvalidRequestError) as refused:
            refuse(intent.id)
        assert refused.value.code == "payment_intent_unexpected_state"
        assert refused.value.error.payment_intent.status == "succeeded"
    assert len(charges_of(controls, customer)) == 1


def test_a_canceled_intent_stays_canceled(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intent = account.intent(customer, account.saved_card(customer))
    canceled = stripe.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(sdk.InvalidRequestError, match="status of canceled"):
        stripe.v1.payment_intents.confirm(intent.id)
    assert account.event_types()[-1] == "payment_intent.canceled"


def test_too_many_confirmations_cancel_it(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_chargeCustomerFail")
    intent = account.intent(customer)
    confirmed: list[type[Exception]] = []
    while account.status(intent.id) != "canceled":
        with pytest.raises((sdk.CardError, sdk.InvalidRequestError)) as refused:
            stripe.v1.payment_intents.confirm(intent.id, {"payment_method": card})
        confirmed.append(refused.type)
    assert confirmed == [sdk.CardError] * 10 + [sdk.InvalidRequestError]


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
def test_processing_lasts_until_released(
    outcome: str, stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    controls.fault("hold", method="POST", path="/v1/payment_intents/*/confirm")
    intent = account.intent(customer, card)
    held = stripe.v1.payment_intents.confirm(intent.id, {"off_session": True})
    assert held.status == "processing"
    assert len(charges_of(controls, customer, "pending")) == 1
    with pytest.raises(sdk.InvalidRequestError, match="status of processing"):
        stripe.v1.payment_intents.confirm(intent.id)
    controls.release(intent.id, outcome, card="pm_card_chargeDeclinedLostCard")
    released = stripe.v1.payment_intents.retrieve(intent.id)
    if outcome == "succeed":
        assert released.status == "succeeded"
        assert len(charges_of(controls, customer)) == 1
    else:
        assert released.status == "requires_payment_method"
        assert released.last_payment_error.decline_code == "lost_card"
        assert charges_of(controls, customer) == []
    assert charges_of(controls, customer, "pending") == []


def test_an_intent_can_be_changed_until_its_money_moves(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intent = account.intent(customer, metadata={"a": "1"})
    card = account.saved_card(customer)
    updated = stripe.v1.payment_intents.update(intent.id, {"amount": 700, "payment_method": card})
    assert (updated.status, updated.amount) == ("requires_confirmation", 700)
    paid = stripe.v1.payment_intents.confirm(intent.id)
    assert paid.amount_received == 700
    noted = stripe.v1.payment_intents.update(intent.id, {"metadata": {"a": "", "b": "2"}})
    assert (noted.status, noted.metadata.to_dict()) == ("succeeded", {"b": "2"})
    with pytest.raises(sdk.InvalidRequestError, match="amount could not be updated") as refused:
        stripe.v1.payment_intents.update(intent.id, {"amount": 800})
    assert refused.value.code == "payment_intent_unexpected_state"


def test_intents_are_listed_by_time_and_customer_page_by_page(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    made = [account.intent(customer).id for _ in range(5)]
    account.intent(account.customer())
    since = int(time.time()) - 60
    listed = stripe.v1.payment_intents.list({"customer": customer, "created": {"gte": since}, "limit": 2})
    assert [intent.id for intent in listed.data] == made[:-3:-1]
    assert listed.has_more
    assert [intent.id for intent in listed.auto_paging_iter()] == made[::-1]
    before = stripe.v1.payment_intents.list({"customer": customer, "ending_before": made[2]})
    assert [intent.id for intent in before.data] == [made[4], made[3]]
    assert stripe.v1.payment_intents.list({"created": {"lt": since}}).data == []


def test_events_are_listed_by_type_and_time(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    account.intent(customer, account.saved_card(customer), confirm=True)
    succeeded = stripe.v1.events.list({"type": "payment_intent.succeeded"}).data
    assert [event.data.object["status"] for event in succeeded] == ["succeeded"]
    since = {"gte": int(time.time()) - 60}
    of_intents = stripe.v1.events.list({"type": "payment_intent.*", "created": since}).data
    assert [event.type for event in of_intents] == ["payment_intent.succeeded", "payment_intent.created"]
    of_two = stripe.v1.events.list({"types": ["customer.created", "charge.succeeded"]}).data
    assert [event.type for event in of_two] == ["charge.succeeded", "customer.created"]
    assert stripe.v1.events.retrieve(succeeded[0].id).request.idempotency_key
