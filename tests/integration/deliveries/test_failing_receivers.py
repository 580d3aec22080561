"""Receivers that are down, slow, busy or gone: tried for three days, and nobody else waits for them."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hook_alerts import Hooks
from hook_receiver import Receiver, answers
from polling import eventually

from shared.domain.alerts import AlertType
from shared.domain.deliveries import BACK_OFF
from shared.domain.errors import RefusedError
from shared.operations.delivery import delivery_loop
from shared.operations.delivery import webhook_endpoints as endpoints

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


async def test_three_days_of_attempts_with_one_id_then_the_endpoint_is_disabled(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.behaviour = answers(500, b"no")
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    (event_id,) = await hooks.alert(account_id)
    began = hooks.now()
    hooks.at = began
    for _ in range(len(BACK_OFF)):
        await hooks.send_due()
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


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("3000", 3000), ("Fri, 20 Nov 2026 12:50:00 GMT", 3000), ("1", 5), ("soon", 5), ("9" * 500, 86_400)],
)
async def test_a_receiver_that_asks_for_time_gets_it(
    hooks: Hooks, receiver: Receiver, asked: str, seconds: int
) -> None:
    receiver.behaviour = answers(429, Retry_After=asked)
    hooks.at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    await hooks.alert(account_id)
    await hooks.send_due()
    wait = (await hooks.delivery())["next_attempt_at"] - hooks.at
    assert seconds * _SECOND <= wait <= 1.1 * seconds * _SECOND


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
    await eventually(lambda: len(receiver.posts) == 1)
    event_ids = await hooks.alert(quick, count=5)
    await eventually(lambda: other.event_ids == event_ids)
    assert len(receiver.posts) == 1
    waits.set()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_what_failed_before_takes_no_place_of_what_is_new(
    hooks: Hooks, receiver: Receiver, other: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_loop, "FIRST_ATTEMPTS_AT_ONCE", 1)
    waits = threading.Event()
    slow, quick = await hooks.account(), await hooks.account()
    receiver.behaviour = answers(500)
    await hooks.endpoint(slow, receiver.url)
    await hooks.endpoint(quick, other.url)
    await hooks.alert(slow)
    await hooks.send_due()
    receiver.behaviour = lambda _: bool(waits.wait(20))  # type: ignore[assignment,return-value]
    hooks.ahead = 10 * _SECOND
    sending = asyncio.create_task(hooks.deliveries().run())
    await eventually(lambda: len(receiver.posts) == 2)
    event_ids = await hooks.alert(quick)
    await eventually(lambda: other.event_ids == event_ids)
    waits.set()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
