"""Alerts reach the endpoints that want them, signed, at least once, with one id."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from hook_alerts import Hooks
from hook_receiver import Receiver, answers
from standardwebhooks import WebhookVerificationError

from shared.domain.alerts import AlertType
from shared.domain.deliveries import BACK_OFF
from shared.domain.errors import RefusedError
from shared.operations import webhook_endpoints as endpoints

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


async def test_three_days_of_attempts_with_one_id_then_the_endpoint_is_disabled(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.behaviour = answers(500, b"no")
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    (event_id,) = await hooks.alert(account_id)
    began = hooks.now()
    hooks.at = began
    while (await hooks.delivery())["state"] == "waiting":
        hooks.at = (await hooks.delivery())["next_attempt_at"]
        await hooks.send_due()
    assert receiver.event_ids == [event_id] * (len(BACK_OFF) + 1)
    assert timedelta(days=3) < hooks.at - began < timedelta(days=4)
    (told,) = await hooks.told(AlertType.WEBHOOK_DISABLED)
    assert (told["account_id"], told["endpoint_id"]) == (account_id, endpoint["endpoint_id"])
    assert "took nothing since" in told["detail"]
    (shown,) = await endpoints.list_endpoints(hooks.engine, account_id)
    assert not shown["enabled"]
    await hooks.publish()  # the alert that says so finds no endpoint
    assert await hooks.states() == ["failed"]


async def test_a_receiver_that_takes_some_events_stays(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id)
    receiver.behaviour = answers(500)
    began = hooks.at = hooks.now()
    for day in range(4):
        hooks.at = began + day * _DAY
        await hooks.send_due()
        receiver.behaviour = answers(204)
        await hooks.alert(account_id)
        await hooks.send_due()
        receiver.behaviour = answers(500)
    assert await hooks.told(AlertType.WEBHOOK_DISABLED) == []


async def test_what_is_gone_is_disabled_at_once_with_one_alert(hooks: Hooks, receiver: Receiver) -> None:
    receiver.behaviour = answers(410)
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id, count=3)
    await hooks.send_due()
    assert len(receiver.posts) == 1
    assert await hooks.states() == ["failed"] * 3
    assert len(await hooks.told(AlertType.WEBHOOK_DISABLED)) == 1
    with pytest.raises(RefusedError, match="410 Gone; enable it first"):
        await endpoints.replay_since(
            hooks.engine, account_id, endpoint["endpoint_id"], hooks.now(), hooks.now()
        )


async def test_an_operators_endpoint_that_is_gone_is_told_too(hooks: Hooks, receiver: Receiver) -> None:
    receiver.behaviour = answers(410)
    await hooks.endpoint(None, receiver.url)
    await hooks.alert(None, AlertType.USAGE_QUARANTINED)
    await hooks.send_due()
    (told,) = await hooks.told(AlertType.WEBHOOK_DISABLED)
    assert (told["account_id"], told["balance_nanos"]) == (None, None)


async def test_a_receiver_that_asks_for_time_gets_it(hooks: Hooks, receiver: Receiver) -> None:
    receiver.behaviour = answers(429, Retry_After="3000")
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id)
    began = hooks.now()
    await hooks.send_due()
    wait = (await hooks.delivery())["next_attempt_at"] - began
    assert timedelta(seconds=3000) <= wait <= timedelta(seconds=3310)


async def test_an_event_that_fails_does_not_hold_up_the_next(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    receiver.behaviour = answers(500)
    (first,) = await hooks.alert(account_id)
    await hooks.send_due()
    receiver.behaviour = answers(200)
    (second,) = await hooks.alert(account_id)
    await hooks.send_due()
    await hooks.send_due(10 * _SECOND)
    assert receiver.event_ids == [first, second, first]
    assert await hooks.states() == ["sent", "sent"]


async def test_a_receiver_that_is_down_is_tried_again(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    with Receiver() as gone:
        endpoint = await hooks.endpoint(account_id, gone.url)
    (event_id,) = await hooks.alert(account_id)
    await hooks.send_due()
    row = await hooks.delivery()
    assert (row["state"], row["status"]) == ("waiting", None)
    assert "ConnectError" in row["detail"]
    changes = endpoints.Changes(url=receiver.url)
    await endpoints.change_endpoint(hooks.engine, account_id, endpoint["endpoint_id"], changes, loopback=True)
    await hooks.send_due(10 * _SECOND)
    assert receiver.event_ids == [event_id]


async def test_a_slow_receiver_delays_nobody_else(hooks: Hooks, receiver: Receiver, other: Receiver) -> None:
    waits = threading.Event()
    receiver.behaviour = lambda _: bool(waits.wait(20))  # type: ignore[assignment,return-value]
    slow, quick = await hooks.account(), await hooks.account()
    await hooks.endpoint(slow, receiver.url)
    await hooks.endpoint(quick, other.url)
    await hooks.alert(slow, count=5)
    sending = asyncio.create_task(hooks.deliveries().run())
    await _until(lambda: len(receiver.posts) == 1)
    event_ids = await hooks.alert(quick, count=5)
    await _until(lambda: other.event_ids == event_ids)
    assert len(receiver.posts) == 1
    waits.set()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


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


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.02)
