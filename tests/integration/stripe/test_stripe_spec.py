"""The checker tells what Stripe accepts from what it does not, and knows all that the fake serves."""

import re
from typing import Any

import pytest
from stripe_sdk_types import faults_by_types
from stripe_spec import faults, schema_of, template_of

from sandbox.stripe.routes import ENDPOINTS

_INTENT = {"amount": "500", "currency": "usd"}

_WRONG: dict[str, tuple[dict[str, str], str]] = {
    "unknown": ({"amuont": "5"}, "amuont: unknown parameter"),
    "unknown below": (
        {"payment_method_options[card][nonsense]": "x"},
        "payment_method_options[card][nonsense]: unknown parameter",
    ),
    "not a number": ({"amount": "5.5"}, "amount: not of type integer"),
    "not a choice": ({"setup_future_usage": "sometimes"}, "setup_future_usage: must be one of"),
    "not an object": ({"automatic_payment_methods": "yes"}, "automatic_payment_methods: not of type object"),
    "removed since": ({"payment_method_types[0]": "card"}, "payment_method_types: unknown parameter"),
    "too long": ({"statement_descriptor": "x" * 23}, "statement_descriptor: longer than 22"),
}


@pytest.mark.parametrize(("change", "fault"), _WRONG.values(), ids=_WRONG.keys())
def test_what_stripe_would_refuse_is_named(change: dict[str, str], fault: str) -> None:
    found = faults("POST", "/v1/payment_intents", (_INTENT | change).items())
    assert [each for each in found if each.startswith(fault)], found


def test_a_missing_parameter_is_named() -> None:
    assert faults("POST", "/v1/payment_intents", [("amount", "500")]) == ["currency: missing"]


def test_a_good_request_has_no_fault() -> None:
    parameters = _INTENT | {
        "confirm": "true",
        "off_session": "true",
        "metadata[any]": "thing",
        "expand[0]": "latest_charge",
        "payment_method_options[card][request_three_d_secure]": "automatic",
    }
    assert faults("POST", "/v1/payment_intents", parameters.items()) == []


def test_what_is_newer_than_the_description_is_judged_by_the_sdk() -> None:
    newer = _INTENT | {"allowed_payment_method_types[0]": "card"}
    assert "allowed_payment_method_types" not in schema_of("POST", "/v1/payment_intents")["properties"]
    assert faults("POST", "/v1/payment_intents", newer.items()) == []


def test_queries_are_checked_too() -> None:
    good: list[Any] = [("created[gte]", "5"), ("types[0]", "charge.*"), ("limit", "3")]
    assert faults("GET", "/v1/events", good) == []
    assert faults("GET", "/v1/events", [("created[since]", "5")]) != []


def test_a_path_is_no_endpoint_unless_stripe_has_it() -> None:
    assert faults("POST", "/v1/payment_intents/pi_1/nonsense", []) == ["no such endpoint"]
    assert faults("DELETE", "/v1/payment_intents/pi_1", []) == ["no such endpoint"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_all_that_the_stand_in_serves_and_accepts_is_stripes(endpoint: Any) -> None:
    template = template_of(endpoint.method, re.sub(r"{\w+}", "x", endpoint.path))
    assert template is not None
    described = set(schema_of(endpoint.method, template)["properties"])
    for name in endpoint.accepts:
        nothing = f"{name}: unknown parameter"
        in_sdk = nothing not in faults_by_types(endpoint.method, template, {name: "x"})
        assert in_sdk, f"{name} is in the description: {name in described}"
