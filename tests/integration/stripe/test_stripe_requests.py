"""Requests Stripe would refuse are refused, in its words."""

from typing import Any

import httpx
import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, intent_parameters

_WRONG = {
    "unknown": ({"amuont": 5}, "parameter_unknown", "amuont"),
    "unknown below": (
        {"payment_method_options": {"card": {"nonsense": "x"}}},
        "parameter_unknown",
        "payment_method_options[card][nonsense]",
    ),
    "removed": (
        {"payment_method_types": ["card"]},
        "payment_method_types_no_longer_supported",
        "payment_method_types",
    ),
    "too small": ({"amount": 49}, "amount_too_small", "amount"),
    "too large": ({"amount": 100_000_000}, "amount_too_large", "amount"),
    "negative": ({"amount": -5}, "parameter_invalid_integer", "amount"),
    "float": ({"amount": 20.5}, "parameter_invalid_integer", "amount"),
    "empty": ({"currency": ""}, "parameter_invalid_empty", "currency"),
    "currency": ({"currency": "xxx"}, None, "currency"),
    "customer": ({"customer": "cus_none"}, "resource_missing", "customer"),
    "card": ({"payment_method": "pm_none"}, "resource_missing", "payment_method"),
    "metadata key": ({"metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
    "metadata value": ({"metadata": {"k": "v" * 501}}, None, "metadata[k]"),
    "metadata keys": ({"metadata": {str(n): "v" for n in range(51)}}, None, "metadata"),
    "off_session alone": ({"off_session": True}, None, "off_session"),
}


@pytest.mark.parametrize(("change", "code", "param"), _WRONG.values(), ids=_WRONG.keys())
def test_a_wrong_intent_is_refused(
    change: dict[str, Any], code: str | None, param: str, stripe: StripeClient, account: Account
) -> None:
    parameters = intent_parameters(account.customer()) | change
    with pytest.raises(sdk.InvalidRequestError) as refused:
        stripe.v1.payment_intents.create(parameters)
    assert (refused.value.code, refused.value.param, refused.value.http_status) == (code, param, 400)
    assert refused.value.request_id.startswith("req_")
    assert stripe.v1.payment_intents.list().data == []


def test_a_missing_parameter_is_named(stripe: StripeClient) -> None:
    with pytest.raises(sdk.InvalidRequestError) as refused:
        stripe.v1.payment_intents.create({"amount": 500})  # type: ignore[typeddict-item]
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "currency")


def test_nothing_is_done_when_the_answer_cannot_be_expanded(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    with pytest.raises(sdk.InvalidRequestError, match="cannot be expanded"):
        account.intent(customer, account.saved_card(customer), confirm=True, expand=["nonsense"])
    assert stripe.v1.payment_intents.list().data == []


def test_a_missing_object_is_not_found(stripe: StripeClient) -> None:
    with pytest.raises(sdk.InvalidRequestError, match="No such payment_intent: 'pi_none'") as missing:
        stripe.v1.payment_intents.retrieve("pi_none")
    assert (missing.value.code, missing.value.http_status) == ("resource_missing", 404)


@pytest.mark.parametrize("key", ["sk_live_1", "nonsense", "sk_test_"])
def test_a_wrong_key_is_refused(key: str, account: Account) -> None:
    with pytest.raises(sdk.AuthenticationError) as refused:
        Account(account.url, key).customer()
    assert refused.value.http_status == 401


def test_errors_have_stripes_shape(account: Account) -> None:
    answer = httpx.get(f"{account.url}/v1/nonsense", headers={"Authorization": f"Bearer {account.key}"})
    assert answer.status_code == 404
    assert answer.headers["request-id"].startswith("req_")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{account.url}/v1/events").status_code == 401
