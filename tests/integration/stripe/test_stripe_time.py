"""Keys and events grow old, and objects can be altered behind our back."""

import time

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, intent_parameters

from sandbox.stripe.controls import Controls

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S


def test_a_key_is_forgotten_after_a_day(stripe: StripeClient, account: Account, controls: Controls) -> None:
    parameters = intent_parameters(account.customer())
    first = stripe.v1.payment_intents.create(parameters, {"idempotency_key": "k"})
    controls.advance_clock(_DAY_S - _HOUR_S)
    assert stripe.v1.payment_intents.create(parameters, {"idempotency_key": "k"}).id == first.id
    controls.advance_clock(_HOUR_S)
    assert stripe.v1.payment_intents.create(parameters, {"idempotency_key": "k"}).id != first.id


def test_events_are_kept_for_thirty_days(stripe: StripeClient, account: Account, controls: Controls) -> None:
    account.customer()
    (event,) = stripe.v1.events.list().data
    controls.advance_clock(29 * _DAY_S)
    assert stripe.v1.events.retrieve(event.id).id == event.id
    controls.advance_clock(2 * _DAY_S)
    assert stripe.v1.events.list().data == []
    with pytest.raises(sdk.InvalidRequestError) as missing:
        stripe.v1.events.retrieve(event.id)
    assert missing.value.http_status == 404


def test_objects_are_stamped_with_the_moved_clock(account: Account, controls: Controls) -> None:
    controls.advance_clock(_DAY_S)
    assert account.intent(account.customer()).created >= time.time() + _DAY_S - 60


def test_metadata_can_be_altered_without_an_event(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.intent(account.customer(), metadata={"account_id": "a", "topup_id": "t"})
    before = account.event_types()
    controls.alter(intent.id, metadata={"account_id": "another"})
    after = stripe.v1.payment_intents.retrieve(intent.id)
    assert after.metadata.to_dict() == {"account_id": "another"}
    assert account.event_types() == before


def test_requests_are_recorded_with_their_parameters(account: Account, controls: Controls) -> None:
    customer = account.customer()
    created, listed = account.intent(customer, metadata={"a": "1"}), account.event_types()
    assert created.id
    assert listed
    made = controls.requests(account.key)
    assert [(request["method"], request["path"]) for request in made] == [
        ("POST", "/v1/customers"),
        ("POST", "/v1/payment_intents"),
        ("GET", "/v1/events"),
    ]
    assert ["metadata[a]", "1"] in made[1]["parameters"]
    assert made[1]["idempotency_key"]
    assert made[1]["version"] == sdk.api_version
