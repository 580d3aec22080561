"""More alerts than an hour may bring come as one digest; none is lost."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hook_alerts import Hooks
from hook_receiver import Post, Receiver, answers

from shared.domain import deliveries as domain
from shared.domain.alerts import AlertType
from shared.operations.delivery import deliveries as operations
from shared.operations.delivery import webhook_endpoints as endpoints
from shared.operations.delivery.deliveries import make_digests

_HOUR = timedelta(hours=1)


@pytest.fixture
def stormy(hooks: Hooks) -> Iterator[Hooks]:
    """At most three alerts an hour; it is ten past."""
    hooks.most_an_hour = 3
    hooks.at = datetime.now(UTC).replace(minute=10)
    return hooks


def carried(post: Post) -> list[str]:
    return [event["id"] for event in post.event["data"]["alerts"]]


async def test_what_is_too_much_for_an_hour_comes_as_one_digest_when_it_is_over(
    stormy: Hooks, receiver: Receiver
) -> None:
    account_id = await stormy.account()
    endpoint = await stormy.endpoint(account_id, receiver.url)
    event_ids = await stormy.alert(account_id, count=5)
    event_ids += await stormy.alert(account_id, AlertType.TOPUP_FAILED, count=2)
    await stormy.send_due()
    assert receiver.event_ids == event_ids[:3]
    await stormy.send_due(timedelta(minutes=49))
    assert len(receiver.posts) == 3
    await stormy.send_due(_HOUR)
    digest = receiver.posts[3]
    assert len(receiver.posts) == 4
    assert digest.event["type"] == "payg.alerts.digest.v1"
    assert digest.event["id"] == digest.event_id
    assert digest.event["data"]["account_id"] == account_id
    assert digest.event["data"]["counts"] == {"balance.low": 2, "topup.failed": 2}
    assert carried(digest) == event_ids[3:]
    logged = await endpoints.list_deliveries(stormy.engine, account_id, endpoint["endpoint_id"], 10)
    assert [each["state"] for each in logged].count("digested") == 4
    assert {each["digest_id"] for each in logged} == {None, digest.event_id}


async def test_in_the_next_hour_alerts_come_one_by_one_again(stormy: Hooks, receiver: Receiver) -> None:
    account_id = await stormy.account()
    await stormy.endpoint(account_id, receiver.url)
    held = (await stormy.alert(account_id, count=5))[3:]
    await stormy.send_due()
    stormy.ahead = _HOUR
    later = await stormy.alert(account_id, count=3)
    await stormy.send_due()
    assert receiver.event_ids[3:6] == later
    assert carried(receiver.posts[6]) == held


async def test_what_one_endpoint_gets_does_not_count_for_another(
    stormy: Hooks, receiver: Receiver, other: Receiver
) -> None:
    account_id = await stormy.account()
    await stormy.endpoint(account_id, receiver.url)
    await stormy.endpoint(account_id, other.url, AlertType.TOPUP_FAILED)
    await stormy.alert(account_id, count=10)
    (wanted,) = await stormy.alert(account_id, AlertType.TOPUP_FAILED)
    await stormy.send_due()
    assert (len(receiver.posts), other.event_ids) == (3, [wanted])


async def test_an_operator_gets_one_digest_of_all_accounts(stormy: Hooks, receiver: Receiver) -> None:
    await stormy.endpoint(None, receiver.url, AlertType.USAGE_QUARANTINED)
    event_ids = await stormy.alert(None, AlertType.USAGE_QUARANTINED, count=4)
    event_ids += await stormy.alert(await stormy.account(), AlertType.USAGE_QUARANTINED, count=4)
    await stormy.send_due()
    await stormy.send_due(_HOUR)
    assert receiver.event_ids[:3] == event_ids[:3]
    assert carried(receiver.posts[3]) == event_ids[3:]
    assert receiver.posts[3].event["data"]["account_id"] is None


async def test_a_digest_that_fails_is_tried_again_with_its_id(stormy: Hooks, receiver: Receiver) -> None:
    account_id = await stormy.account()
    await stormy.endpoint(account_id, receiver.url)
    await stormy.alert(account_id, count=5)
    await stormy.send_due()
    receiver.behaviour = answers(503)
    await stormy.send_due(_HOUR)
    receiver.behaviour = answers(200)
    await stormy.send_due(_HOUR + timedelta(seconds=10))
    first, second = receiver.posts[3:]
    assert first.event_id == second.event_id
    assert first.body == second.body


async def test_several_processes_and_publishers_make_one_digest(stormy: Hooks, receiver: Receiver) -> None:
    account_id = await stormy.account()
    await stormy.endpoint(account_id, receiver.url)
    await asyncio.gather(*(stormy.alert(account_id) for _ in range(10)))
    stormy.ahead = _HOUR
    channels = [domain.Channel.WEBHOOK]
    made = await asyncio.gather(*(make_digests(stormy.engine, channels, stormy.now()) for _ in range(4)))
    assert sum(made) == 1
    await stormy.send_due()
    assert len(receiver.posts) == 4
    assert sorted(receiver.event_ids[:3] + carried(receiver.posts[3])) == sorted(
        f"alert-{row['sequence']}" for row in await stormy.rows("SELECT sequence FROM alerts")
    )


async def test_who_writes_at_the_same_time_counts_what_the_other_wrote(stormy: Hooks) -> None:
    account_id = await stormy.account()
    await stormy.endpoint(account_id, "http://127.0.0.1:1024/")
    first, second = await stormy.unpublished(account_id, 3), await stormy.unpublished(account_id, 3)
    async with stormy.engine.begin() as connection:
        await stormy.deliveries().write(connection, first)
        writing = asyncio.create_task(stormy.write(second))
        done, _ = await asyncio.wait({writing}, timeout=0.3)
        assert not done
    await writing
    assert await stormy.states() == ["waiting"] * 3 + ["held"] * 3


async def test_a_digest_too_large_comes_in_parts(
    stormy: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "DIGEST_ALERTS", 4)
    account_id = await stormy.account()
    await stormy.endpoint(account_id, receiver.url)
    event_ids = await stormy.alert(account_id, count=13)
    await stormy.send_due()
    await stormy.send_due(_HOUR)
    assert sorted(len(carried(post)) for post in receiver.posts[3:]) == [2, 4, 4]
    assert (
        receiver.event_ids[:3] + [each for post in receiver.posts[3:] for each in carried(post)] == event_ids
    )


async def test_with_a_limit_of_none_there_are_no_digests(hooks: Hooks, receiver: Receiver) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    event_ids = await hooks.alert(account_id, count=40)
    await hooks.send_due()
    assert receiver.event_ids == event_ids
