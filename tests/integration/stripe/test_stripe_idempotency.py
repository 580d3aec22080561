"""An idempotency key gives the first answer again, as docs.stripe.com/api/idempotent_requests says."""

import asyncio
from collections import Counter
from typing import Any

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, charges_of, intent_parameters

from sandbox.stripe.controls import Controls


def _create(stripe: StripeClient, customer: str, key: str, **more: Any) -> sdk.PaymentIntent:
    return stripe.v1.payment_intents.create(intent_parameters(customer, **more), {"idempotency_key": key})


def test_the_first_answer_is_given_again(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    first, again = (_create(stripe, customer, "k") for _ in range(2))
    assert again.id == first.id
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.request_id
    assert len(stripe.v1.payment_intents.list().data) == 1


def test_a_decline_is_given_again_even_when_the_card_is_good_by_then(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    card = account.card_that(customer, "pm_card_chargeDeclinedInsufficientFunds", controls)
    for _ in range(2):
        with pytest.raises(sdk.CardError):
            _create(stripe, customer, "k", payment_method=card, confirm=True, off_session=True)
        controls.change_card(card, "pm_card_visa")
    assert len(charges_of(controls, customer, "failed")) == 1
    assert charges_of(controls, customer) == []


def test_the_order_of_parameters_does_not_matter(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    first = _create(stripe, customer, "k")
    turned = dict(reversed(intent_parameters(customer).items()))
    assert stripe.v1.payment_intents.create(turned, {"idempotency_key": "k"}).id == first.id  # type: ignore[arg-type]


def test_other_parameters_under_the_key_are_an_error(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intent = _create(stripe, customer, "k")
    with pytest.raises(sdk.IdempotencyError, match="same parameters"):
        _create(stripe, customer, "k", amount=2_001)
    with pytest.raises(sdk.IdempotencyError, match="same endpoint"):
        stripe.v1.payment_intents.cancel(intent.id, options={"idempotency_key": "k"})


def test_what_fails_validation_does_not_use_the_key_up(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    with pytest.raises(sdk.InvalidRequestError):
        _create(stripe, customer, "k", nonsense=1)
    assert _create(stripe, customer, "k").status == "requires_payment_method"


def test_a_key_belongs_to_its_account(account: Account) -> None:
    stranger = Account(account.url, f"{account.key}_stranger")
    intents = [_create(who.client, who.customer(), "k").id for who in (account, stranger)]
    assert len(set(intents)) == 2


def test_a_forgotten_key_does_it_again(stripe: StripeClient, account: Account, controls: Controls) -> None:
    customer = account.customer()
    key = f"{account.key}-key"
    first = _create(stripe, customer, key)
    assert controls.forget_keys(key) == 1
    assert _create(stripe, customer, key).id != first.id


async def test_a_key_in_flight_is_a_conflict(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    parameters = intent_parameters(account.customer())
    controls.fault("delay", method="POST", path="/v1/payment_intents", delay_ms=400, times=1)
    answers = await asyncio.gather(
        *(stripe.v1.payment_intents.create_async(parameters, {"idempotency_key": "k"}) for _ in range(5)),
        return_exceptions=True,
    )
    failed = [answer for answer in answers if isinstance(answer, sdk.APIError)]
    assert [(error.http_status, error.error.code) for error in failed] == [
        (409, "idempotency_key_in_use")
    ] * 4
    assert len(stripe.v1.payment_intents.list().data) == 1


async def test_fifty_creates_with_one_key_make_one_intent(stripe: StripeClient, account: Account) -> None:
    parameters = intent_parameters(account.customer())
    answers = await asyncio.gather(
        *(stripe.v1.payment_intents.create_async(parameters, {"idempotency_key": "k"}) for _ in range(50)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, sdk.APIError)]
    intents = [answer for answer in answers if isinstance(answer, sdk.PaymentIntent)]
    assert {error.http_status for error in refused} <= {409}
    assert len(refused) + len(intents) == 50
    assert len({intent.id for intent in intents}) == 1
    assert len(stripe.v1.payment_intents.list().data) == 1


async def test_fifty_confirmations_of_one_intent_make_one_charge(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    intent = account.intent(customer, account.saved_card(customer))
    controls.fault("delay", times=None, path="/v1/payment_intents/*/confirm", delay_ms=50)
    answers = await asyncio.gather(
        *(
            stripe.v1.payment_intents.confirm_async(
                intent.id, {"off_session": True}, {"idempotency_key": f"confirm-{n}"}
            )
            for n in range(50)
        ),
        return_exceptions=True,
    )
    outcomes = Counter(getattr(answer, "code", getattr(answer, "status", None)) for answer in answers)
    assert outcomes == {"succeeded": 1, "payment_intent_unexpected_state": 49}
    assert len(charges_of(controls, customer)) == 1
