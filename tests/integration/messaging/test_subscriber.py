"""What a subscriber of alerts is promised, on RabbitMQ and on Redis alike."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from messaging_brokers import BrokerOfTest
from messaging_proxy import Proxy
from polling import eventually

from shared.clock import utc_now
from shared.domain.alert_events import AlertEvent
from shared.messaging.subscriber import Handler, Subscriber
from shared.messaging.transport import PublishedAlert

QUEUE = "my-service"


class Handled(list[int]):
    """The numbers of the events that were handled, in that order."""

    async def __call__(self, event: AlertEvent) -> None:
        self.append(event.sequence)


def event(sequence: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "payg.balance.low.v1",
        "source": "payg",
        "id": f"alert-{sequence}",
        "time": utc_now(),
        "datacontenttype": "application/json",
        "subject": "acct_1",
        "sequence": sequence,
        "data": {"account_id": "acct_1"},
    }


async def publish(broker: BrokerOfTest, *sequences: int, routing_key: str = "balance.low") -> None:
    async with broker.transport() as transport:
        bodies = [msgspec.json.encode(event(sequence)) for sequence in sequences]
        await transport.publish_alerts([PublishedAlert(routing_key, body) for body in bodies])


@asynccontextmanager
async def running(subscriber: Subscriber, handle: Handler) -> AsyncIterator[None]:
    task = asyncio.create_task(subscriber.run(handle))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def subscribed(broker: BrokerOfTest, **options: Any) -> None:
    """Open the subscription once, so that what is published waits in it."""
    async with broker.transport() as transport, transport.consume_alerts(QUEUE, **options):
        pass


async def test_events_wait_while_nobody_is_there(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    await publish(broker, 1, 2, 3)
    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE), handled):
        await eventually(lambda: handled == [1, 2, 3])


async def test_handled_events_do_not_come_again(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    first, second = Handled(), Handled()
    async with running(Subscriber(broker.url, QUEUE), first):
        await publish(broker, 1, 2)
        await eventually(lambda: first == [1, 2])
    async with running(Subscriber(broker.url, QUEUE), second):
        await publish(broker, 3)
        await eventually(lambda: second == [3])


async def test_an_event_that_is_delivered_twice_is_handled_once(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE), handled):
        await publish(broker, 1, 1, 2)
        await eventually(lambda: handled == [1, 2])
        await publish(broker, 2, 1, 3)
        await eventually(lambda: handled == [1, 2, 3])


async def test_events_that_overtook_each_other_are_handled_in_order(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    await publish(broker, 3, 1, 2)
    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE), handled):
        await eventually(lambda: handled == [1, 2, 3])


async def test_an_event_whose_handler_failed_comes_again(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    await publish(broker, 1, 2, 3)
    handled = Handled()

    async def fail_at_two(event: AlertEvent) -> None:
        if event.sequence == 2:
            raise KeyError(event.id)
        await handled(event)

    with pytest.raises(KeyError):
        await Subscriber(broker.url, QUEUE).run(fail_at_two)
    assert handled == [1]
    async with running(Subscriber(broker.url, QUEUE), handled):
        await eventually(lambda: handled == [1, 2, 3])


async def test_only_what_the_routing_key_matches_comes(broker: BrokerOfTest) -> None:
    await subscribed(broker, routing_key="topup.*")
    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE, routing_key="topup.*"), handled):
        await publish(broker, 1, routing_key="balance.low")
        await publish(broker, 2, routing_key="topup.failed")
        await eventually(lambda: handled == [2])


async def test_what_is_no_event_is_passed_over(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    good = msgspec.json.encode(event(2) | {"data": {"account_id": "@"}})
    deep, no_text = b"[" * 50_000 + b"]" * 50_000, b'"\xff"'
    async with broker.transport() as transport:
        bodies = (b"not JSON", good.replace(b'"@"', deep), good.replace(b'"@"', no_text))
        await transport.publish_alerts([PublishedAlert("balance.low", body) for body in bodies])
    await publish(broker, 1)
    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE), handled):
        await eventually(lambda: handled == [1])


async def test_the_past_comes_first_and_nothing_comes_twice(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    await publish(broker, 3, 4)

    async def past() -> AsyncIterator[AlertEvent]:
        for sequence in (1, 2, 3):
            yield msgspec.convert(event(sequence), AlertEvent)

    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE, replay=past), handled):
        await eventually(lambda: handled == [1, 2, 3, 4])


async def test_the_ids_that_are_known_are_bounded(broker: BrokerOfTest) -> None:
    await subscribed(broker)
    handled = Handled()
    async with running(Subscriber(broker.url, QUEUE, known_ids=2), handled):
        await publish(broker, 1, 2, 3)
        await eventually(lambda: handled == [1, 2, 3])
        # However these are batched, and so sorted: 2 and 3 are known still, and 4 takes the place of one.
        await publish(broker, 3, 2, 4)
        await eventually(lambda: handled == [1, 2, 3, 4])
        await publish(broker, 1)
        await eventually(lambda: handled == [1, 2, 3, 4, 1])


@pytest.fixture
def proxied(broker: BrokerOfTest) -> Iterator[tuple[BrokerOfTest, Proxy]]:
    with Proxy(broker.url) as proxy:
        yield broker, proxy


async def test_a_connection_that_broke_is_opened_again(proxied: tuple[BrokerOfTest, Proxy]) -> None:
    broker, proxy = proxied
    await subscribed(broker)
    handled = Handled()
    async with running(Subscriber(proxy.url, QUEUE), handled):
        await publish(broker, 1)
        await eventually(lambda: handled == [1])
        proxy.refuse()
        proxy.cut()
        await publish(broker, 2)
        proxy.accept()
        await publish(broker, 3)
        await eventually(lambda: handled == [1, 2, 3])
