"""Alerts reach the endpoints that want them, signed, at least once, with one id."""

import asyncio
from datetime import timedelta

import pytest
from hook_alerts import Hooks
from hook_receiver import Receiver
from standardwebhooks import WebhookVerificationError

from shared.domain.alerts import AlertType
from shared.operations.delivery import webhook_endpoints as endpoints

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


async def test_an_alert_arrives_signed_and_is_recorded(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    (event_id,) = await hooks.alert(account_id)
    await hooks.send_due()
    (post,) = receiver.posts
    event = post.verified(endpoint["secret"])
    assert (post.event_id, event["id"], event["type"]) == (event_id, event_id, "payg.balance.low.v1")
    assert event["data"]["account_id"] == event["subject"] == account_id
    assert post.headers["content-type"] == "application/json"
    (logged,) = await endpoints.list_deliveries(hooks.engine, account_id, endpoint["endpoint_id"], 10)
    assert (logged["event_id"], logged["type"], logged["state"]) == (event_id, "balance.low", "sent")
    assert (logged["attempts"], logged["status"], logged["detail"]) == (1, 200, "thanks")
    await hooks.send_due(_DAY)
    assert len(receiver.posts) == 1


async def test_a_changed_body_or_another_secret_is_noticed(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    another = await hooks.endpoint(account_id, receiver.url, AlertType.QUOTA_RESET)
    await hooks.alert(account_id)
    await hooks.send_due()
    (post,) = receiver.posts
    with pytest.raises(WebhookVerificationError):
        post.verified(another["secret"])
    post.headers["webhook-id"] = "alert-0"
    with pytest.raises(WebhookVerificationError):
        post.verified(endpoint["secret"])


async def test_an_endpoint_gets_its_own_account_and_the_types_it_wants(
    hooks: Hooks, receiver: Receiver, other: Receiver
) -> None:
    mine, others = await hooks.account(), await hooks.account()
    await hooks.endpoint(mine, receiver.url, AlertType.TOPUP_FAILED, AlertType.QUOTA_RESET)
    await hooks.endpoint(others, other.url)
    await hooks.alert(mine, AlertType.BALANCE_LOW)
    (wanted,) = await hooks.alert(mine, AlertType.TOPUP_FAILED)
    (elsewhere,) = await hooks.alert(others, AlertType.TOPUP_FAILED)
    await hooks.send_due()
    assert (receiver.event_ids, other.event_ids) == ([wanted], [elsewhere])


async def test_an_operator_gets_everybodys_and_what_belongs_to_nobody(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.endpoint(None, receiver.url)
    (first,) = await hooks.alert(await hooks.account())
    (second,) = await hooks.alert(None, AlertType.USAGE_QUARANTINED)
    await hooks.send_due()
    assert receiver.event_ids == [first, second]
    assert receiver.posts[1].event["subject"] is None


async def test_events_arrive_one_at_a_time_in_order_whoever_sends(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    event_ids = await hooks.alert(account_id, count=20)
    await asyncio.gather(*(hooks.deliveries().send_due() for _ in range(3)))
    assert receiver.event_ids == event_ids
    assert receiver.at_once_max == 1


async def test_an_alert_published_twice_is_delivered_once(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await asyncio.gather(*(hooks.alert(account_id) for _ in range(5)), *(hooks.publish() for _ in range(5)))
    await hooks.send_due()
    assert len(receiver.posts) == len(set(receiver.event_ids)) == 5


async def test_for_a_day_after_a_rotation_both_secrets_sign(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    # The library believes signatures of now alone, so it is the rotation that lies a day back.
    now, endpoint_id = hooks.now(), endpoint["endpoint_id"]
    rotated = await endpoints.rotate_secret(hooks.engine, account_id, endpoint_id, now)
    await hooks.alert(account_id)
    await hooks.send_due()
    for secret in (endpoint["secret"], rotated["secret"]):
        receiver.posts[0].verified(secret)
    another = await endpoints.rotate_secret(hooks.engine, account_id, endpoint_id, now - _DAY - _SECOND)
    await hooks.alert(account_id)
    await hooks.send_due()
    receiver.posts[1].verified(another["secret"])
    for secret in (endpoint["secret"], rotated["secret"]):
        with pytest.raises(WebhookVerificationError):
            receiver.posts[1].verified(secret)
