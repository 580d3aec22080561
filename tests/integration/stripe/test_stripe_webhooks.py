"""Events reach a receiver signed, again until it says 2xx, and in every disorder that can be ordered."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe as sdk
from polling import until
from stripe import StripeClient
from stripe_account import Account
from webhook_receiver import SECRET, Receiver

from sandbox.stripe.controls import Controls


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def register(account: Account, receiver: Receiver, controls: Controls) -> Iterator[Callable[..., str]]:
    endpoints: list[str] = []

    def register(*secrets: str, **settings: Any) -> str:
        endpoint = controls.add_webhook(receiver.url, *secrets or (SECRET,), api_key=account.key, **settings)
        endpoints.append(endpoint)
        return endpoint

    yield register
    for endpoint in endpoints:
        controls.remove_webhook(endpoint)


def test_each_event_is_posted_with_a_signature_the_sdk_accepts(
    account: Account, receiver: Receiver, register: Callable[..., str], stripe: StripeClient
) -> None:
    register()
    customer = account.customer()
    (post,) = receiver.wait_for(1)
    event = post.event()
    assert (event.type, event.livemode, event.data.object["id"]) == ("customer.created", False, customer)
    assert event.api_version == sdk.api_version
    until(lambda: stripe.v1.events.retrieve(event.id).pending_webhooks == 0)


def test_only_the_types_asked_for_are_sent(
    account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register(events=["payment_intent.*"])
    account.intent(account.customer())
    until(lambda: [each["state"] for each in controls.deliveries(endpoint)] == ["delivered"])
    assert receiver.types() == ["payment_intent.created"]


def test_events_of_other_accounts_stay_there(
    account: Account, receiver: Receiver, register: Callable[..., str]
) -> None:
    register()
    Account(account.url, f"{account.key}_stranger").customer()
    customer = account.customer()
    assert [post.event().data.object["id"] for post in receiver.wait_for(1)] == [customer]


def test_two_secrets_sign_while_one_is_replaced(
    account: Account, receiver: Receiver, register: Callable[..., str]
) -> None:
    register("whsec_new", "whsec_old")
    account.customer()
    (post,) = receiver.wait_for(1)
    assert post.signature.count("v1=") == 2
    assert post.event("whsec_new").id == post.event("whsec_old").id
    with pytest.raises(sdk.SignatureVerificationError):
        post.event("whsec_other")


def test_what_is_not_answered_with_2xx_comes_again(
    account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register(retry_ms=10)
    receiver.answers = [500, 302, 404]
    account.customer()
    assert len({post.event().id for post in receiver.wait_for(4)}) == 1
    until(lambda: controls.deliveries(endpoint)[0]["statuses"] == [500, 302, 404, 200])


def test_a_receiver_that_is_not_there_is_tried_again(
    account: Account, register: Callable[..., str], controls: Controls, receiver: Receiver
) -> None:
    endpoint = register(retry_ms=10)
    controls.set_webhook(endpoint, url="http://127.0.0.1:9/nobody")
    account.customer()
    until(lambda: controls.deliveries(endpoint)[0]["statuses"][:2] == [0, 0])
    controls.set_webhook(endpoint, url=receiver.url)
    receiver.wait_for(1)


@pytest.mark.parametrize("order", ["given", "reversed"])
def test_held_events_are_released_in_an_order(
    order: Any, account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register(hold=True)
    customer = account.customer()
    account.intent(customer)
    assert receiver.posts == []
    assert controls.release_webhooks(endpoint, order) == [200, 200]
    types = ["customer.created", "payment_intent.created"]
    assert receiver.types() == (types if order == "given" else types[::-1])


def test_one_held_event_can_overtake_the_others(
    account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register(hold=True)
    account.intent(account.customer())
    last = controls.deliveries(endpoint)[-1]["event"]
    controls.release_webhooks(endpoint, [last])
    assert [post.event().id for post in receiver.posts] == [last]
    controls.set_webhook(endpoint, hold=False)
    assert len(receiver.wait_for(2)) == 2


def test_events_come_twice_or_many_times_at_once(
    account: Account, receiver: Receiver, register: Callable[..., str]
) -> None:
    register(copies=5, at_once=True)
    receiver.pause_s = 0.2
    account.customer()
    assert len({post.event().id for post in receiver.wait_for(5)}) == 1
    assert receiver.at_once_max > 1


def test_an_event_can_be_late(account: Account, receiver: Receiver, register: Callable[..., str]) -> None:
    register(delay_ms=300)
    began = time.monotonic()
    account.customer()
    receiver.wait_for(1)
    assert time.monotonic() - began >= 0.3


def test_what_happens_while_the_receiver_is_down_is_only_listed(
    account: Account,
    receiver: Receiver,
    register: Callable[..., str],
    controls: Controls,
    stripe: StripeClient,
) -> None:
    endpoint = register(down=True)
    missed = account.customer()
    controls.set_webhook(endpoint, down=False)
    seen = account.customer()
    assert [post.event().data.object["id"] for post in receiver.wait_for(1)] == [seen]
    until(lambda: [each["state"] for each in controls.deliveries(endpoint)] == ["dropped", "delivered"])
    (event,) = stripe.v1.events.list({"delivery_success": False, "type": "customer.created"}).data
    assert event.data.object["id"] == missed


def test_days_later_the_missed_events_can_still_be_listed(
    account: Account, register: Callable[..., str], controls: Controls, stripe: StripeClient
) -> None:
    register(down=True)
    since = int(time.time()) - 60
    missed = account.customer()
    now = controls.advance_clock(3 * 24 * 3600)
    account.customer()
    listed = stripe.v1.events.list({"created": {"gte": since, "lt": now}, "types": ["customer.*"]}).data
    assert [event.data.object["id"] for event in listed] == [missed]


def test_a_clock_that_was_moved_on_still_signs_for_the_receiver(
    account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    register()
    controls.advance_clock(24 * 3600)
    account.customer()
    assert receiver.wait_for(1)[0].event().created > time.time() + 23 * 3600


@pytest.mark.parametrize("signature", ["forged", "stale", "missing"])
def test_a_signature_can_be_wrong(
    signature: str, account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register(hold=True)
    account.customer()
    (held,) = controls.deliveries(endpoint)
    assert controls.send_webhook(endpoint, held["event"], signature=signature) == [200]
    with pytest.raises(sdk.SignatureVerificationError):
        receiver.posts[0].event()
    assert json.loads(receiver.posts[0].body)["id"] == held["event"]


def test_a_signed_body_need_not_be_json(
    receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register()
    controls.send_webhook(endpoint, body="not JSON")
    with pytest.raises(json.JSONDecodeError):
        receiver.posts[0].event()


def test_an_old_event_can_be_sent_again(
    account: Account,
    receiver: Receiver,
    register: Callable[..., str],
    controls: Controls,
    stripe: StripeClient,
) -> None:
    account.customer()
    (event,) = stripe.v1.events.list().data
    statuses = controls.send_webhook(register(), event.id, copies=3, at_once=True)
    assert statuses == [200] * 3
    assert {post.event().id for post in receiver.posts} == {event.id}


def test_a_disabled_endpoint_gets_nothing(
    account: Account, register: Callable[..., str], controls: Controls
) -> None:
    endpoint = register(enabled=False)
    account.customer()
    assert controls.deliveries(endpoint) == []


def test_a_skewed_clock_signs_with_its_own_time(
    account: Account, receiver: Receiver, register: Callable[..., str], controls: Controls
) -> None:
    register()
    controls.skew_clock(-3600)
    account.customer()
    (post,) = receiver.wait_for(1)
    with pytest.raises(sdk.SignatureVerificationError, match="tolerance"):
        post.event()
