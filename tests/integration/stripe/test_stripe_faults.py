"""What can be ordered to go wrong does, once each, and only where it was ordered."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, charges_of, intent_parameters

from sandbox.stripe.controls import Controls

_CREATE = {"method": "POST", "path": "/v1/payment_intents"}


def _charge(account: Account, customer: str, card: str, key: str = "k") -> str:
    parameters = intent_parameters(customer, payment_method=card, confirm=True, off_session=True)
    return account.client.v1.payment_intents.create(parameters, {"idempotency_key": key}).status


def test_a_lost_request_does_nothing(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    controls.fault("lose_request", **_CREATE)
    with pytest.raises(sdk.APIConnectionError):
        _charge(account, customer, card)
    assert charges_of(controls, customer) == []
    assert _charge(account, customer, card) == "succeeded"


def test_a_lost_response_has_charged_and_its_key_finds_it(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    controls.fault("lose_response", **_CREATE)
    with pytest.raises(sdk.APIConnectionError):
        _charge(account, customer, card)
    assert len(charges_of(controls, customer)) == 1
    assert _charge(account, customer, card) == "succeeded"
    assert len(charges_of(controls, customer)) == 1


async def test_the_asynchronous_sdk_sees_the_lost_response_too(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    parameters = intent_parameters(account.customer())
    controls.fault("lose_response", **_CREATE)
    with pytest.raises(sdk.APIConnectionError):
        await stripe.v1.payment_intents.create_async(parameters)
    assert len(stripe.v1.payment_intents.list().data) == 1


def test_a_lost_response_whose_key_is_forgotten_charges_twice(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    key = f"{account.key}-key"
    controls.fault("lose_response", **_CREATE)
    with pytest.raises(sdk.APIConnectionError):
        _charge(account, customer, card, key)
    controls.forget_keys(key)
    _charge(account, customer, card, key)
    assert len(charges_of(controls, customer)) == 2


def test_too_many_requests_are_not_remembered(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    controls.fault("error", status=429, code="lock_timeout", times=2, **_CREATE)
    for _ in range(2):
        with pytest.raises(sdk.RateLimitError) as limited:
            _charge(account, customer, card)
        assert limited.value.error.code == "lock_timeout"
    assert _charge(account, customer, card) == "succeeded"


def test_a_500_is_remembered_under_its_key(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    controls.fault("error", **_CREATE)
    for _ in range(2):
        with pytest.raises(sdk.APIError) as failed:
            _charge(account, customer, card)
        assert failed.value.http_status == 500
    assert charges_of(controls, customer) == []
    assert _charge(account, customer, card, key="another") == "succeeded"


def test_a_500_may_have_charged_all_the_same(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    controls.fault("error", phase="after", **_CREATE)
    for _ in range(2):
        with pytest.raises(sdk.APIError):
            _charge(account, customer, card)
    assert len(charges_of(controls, customer)) == 1


_CREATES: dict[str, Callable[[Account], object]] = {
    "/v1/checkout/sessions": lambda account: account.client.v1.checkout.sessions.create(
        {"mode": "setup", "currency": "usd", "success_url": "https://example.com/"}
    ),
    "/v1/customers": lambda account: account.client.v1.customers.create(),
    "/v1/setup_intents": lambda account: account.client.v1.setup_intents.create(),
    "/v1/refunds": lambda account: account.client.v1.refunds.create({"payment_intent": account.paid().id}),
}


@pytest.mark.parametrize("path", _CREATES)
@pytest.mark.parametrize(
    ("settings", "error", "status"),
    [
        ({"kind": "lose_request"}, sdk.APIConnectionError, None),
        ({"kind": "lose_response"}, sdk.APIConnectionError, None),
        ({"kind": "error", "status": 429}, sdk.RateLimitError, 429),
        ({"kind": "error", "status": 409}, sdk.APIError, 409),
        ({"kind": "error", "status": 500}, sdk.APIError, 500),
        ({"kind": "error", "status": 500, "phase": "after"}, sdk.APIError, 500),
    ],
)
def test_each_fault_can_hit_each_path(
    path: str,
    settings: dict[str, Any],
    error: type[sdk.StripeError],
    status: int | None,
    account: Account,
    controls: Controls,
) -> None:
    controls.fault(path=path, method="POST", **settings)
    with pytest.raises(error) as failed:
        _CREATES[path](account)
    assert failed.value.http_status == status


def test_a_delay_takes_its_time(stripe: StripeClient, controls: Controls) -> None:
    controls.fault("delay", method="GET", path="/v1/events", delay_ms=300)
    began = time.monotonic()
    stripe.v1.events.list()
    assert time.monotonic() - began >= 0.3


def test_a_fault_concerns_only_its_path_and_method(account: Account, controls: Controls) -> None:
    controls.fault("error", method="GET", path="/v1/payment_intents")
    customer = account.customer()
    intent = account.intent(customer)
    with pytest.raises(sdk.APIError):
        account.status(intent.id)
    assert account.status(intent.id) == "requires_payment_method"


def test_the_charges_can_be_compared_with_the_books(account: Account, controls: Controls) -> None:
    customer = account.customer()
    intent = account.intent(
        customer, account.saved_card(customer), confirm=True, amount=1_234, metadata={"topup": "9"}
    )
    (charge,) = charges_of(controls, customer)
    assert (charge["amount_cents"], charge["payment_intent"]) == (1_234, intent.id)
    assert charge["id"] == intent.latest_charge
    assert charge["metadata"] == {"topup": "9"}
