"""Sending again: one event, or all that happened since a time."""

from datetime import timedelta

import pytest
from hook_alerts import Hooks
from hook_receiver import Receiver, answers

from shared.domain.alerts import AlertType
from shared.domain.errors import NotFoundError, RefusedError
from shared.operations.delivery import webhook_endpoints as endpoints
from shared.operations.delivery.webhook_endpoints import Changes

_HOUR = timedelta(hours=1)


async def test_one_event_is_sent_again_with_its_id(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint_id = (await hooks.endpoint(account_id, receiver.url))["endpoint_id"]
    (event_id,) = await hooks.alert(account_id)
    await hooks.send_due()
    delivery_id = (await hooks.delivery())["delivery_id"]
    await endpoints.replay_delivery(hooks.engine, account_id, endpoint_id, delivery_id, hooks.now())
    await hooks.send_due()
    assert receiver.event_ids == [event_id, event_id]
    with pytest.raises(NotFoundError):
        await endpoints.replay_delivery(hooks.engine, account_id, endpoint_id, "dlv_none", hooks.now())


async def test_what_an_outage_cost_is_sent_again(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint_id = (await hooks.endpoint(account_id, receiver.url))["endpoint_id"]
    began = hooks.now()
    (arrived,) = await hooks.alert(account_id)
    await hooks.send_due()
    receiver.behaviour = answers(410)
    (lost,) = await hooks.alert(account_id)
    await hooks.send_due()
    (meanwhile,) = await hooks.alert(account_id)
    await endpoints.change_endpoint(hooks.engine, account_id, endpoint_id, Changes(enabled=True))
    receiver.behaviour, receiver.posts = answers(200), []
    replayed = await endpoints.replay_since(hooks.engine, account_id, endpoint_id, began, hooks.now())
    await hooks.send_due()
    assert replayed == 3  # the alert that the endpoint was disabled among them
    assert receiver.event_ids[0] == lost
    assert meanwhile in receiver.event_ids
    assert arrived not in receiver.event_ids
    assert await endpoints.replay_since(hooks.engine, account_id, endpoint_id, began, hooks.now()) == 0
    everything = await endpoints.replay_since(
        hooks.engine, account_id, endpoint_id, began, hooks.now(), sent_too=True
    )
    assert everything == 4


async def test_what_was_given_up_comes_by_replay_alone(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint_id = (await hooks.endpoint(account_id, receiver.url))["endpoint_id"]
    hooks.most_an_hour = 1
    event_ids = await hooks.alert(account_id, count=2)
    for enabled in (False, True):
        await endpoints.change_endpoint(hooks.engine, account_id, endpoint_id, Changes(enabled=enabled))
    await hooks.send_due(_HOUR)
    assert receiver.posts == []
    since = hooks.now() - 2 * _HOUR
    await endpoints.replay_since(hooks.engine, account_id, endpoint_id, since, hooks.now())
    await hooks.send_due()
    assert receiver.event_ids == event_ids


async def test_a_new_endpoint_gets_what_happened_before_it(
    hooks: Hooks, receiver: Receiver, other: Receiver
) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, other.url)
    event_ids = await hooks.alert(account_id, AlertType.TOPUP_FAILED, count=3)
    await hooks.alert(account_id, AlertType.QUOTA_RESET)
    await hooks.alert(await hooks.account(), AlertType.TOPUP_FAILED)
    await hooks.send_due()
    endpoint = await hooks.endpoint(account_id, receiver.url, AlertType.TOPUP_FAILED)
    since = hooks.now() - _HOUR
    await endpoints.replay_since(hooks.engine, account_id, endpoint["endpoint_id"], since, hooks.now())
    await hooks.send_due()
    assert receiver.event_ids == event_ids


async def test_another_account_can_do_nothing_with_an_endpoint(hooks: Hooks, receiver: Receiver) -> None:
    account_id, another = await hooks.account(), await hooks.account()
    endpoint_id = (await hooks.endpoint(account_id, receiver.url))["endpoint_id"]
    await hooks.alert(account_id)
    delivery_id = (await hooks.delivery())["delivery_id"]
    now, engine = hooks.now(), hooks.engine
    for account in (another, None):
        for attempt in (
            endpoints.change_endpoint(engine, account, endpoint_id, Changes(enabled=False)),
            endpoints.change_endpoint(engine, account, endpoint_id, Changes()),
            endpoints.rotate_secret(engine, account, endpoint_id, now),
            endpoints.remove_endpoint(engine, account, endpoint_id),
            endpoints.list_deliveries(engine, account, endpoint_id, 10),
            endpoints.replay_delivery(engine, account, endpoint_id, delivery_id, now),
            endpoints.replay_since(engine, account, endpoint_id, now, now),
        ):
            with pytest.raises(NotFoundError):
                await attempt
    await hooks.send_due()
    assert len(receiver.posts) == 1


async def test_a_removed_endpoint_gets_nothing(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    endpoint_id = (await hooks.endpoint(account_id, receiver.url))["endpoint_id"]
    await hooks.alert(account_id)
    await endpoints.remove_endpoint(hooks.engine, account_id, endpoint_id)
    await hooks.alert(account_id)
    await hooks.send_due()
    assert receiver.posts == []
    assert await hooks.states() == ["failed"]


async def test_an_account_has_so_many_endpoints_and_no_more(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    for _ in range(endpoints.MOST_ENDPOINTS):
        await hooks.endpoint(account_id, receiver.url)
    with pytest.raises(RefusedError, match="20 endpoints already"):
        await hooks.endpoint(account_id, receiver.url)
    await hooks.endpoint(await hooks.account(), receiver.url)
    with pytest.raises(NotFoundError):
        await hooks.endpoint("acct_unknown", receiver.url)
