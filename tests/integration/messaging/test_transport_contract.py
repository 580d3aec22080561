"""What the entrance and the view of the queues promise, on RabbitMQ and on Redis alike."""

import asyncio
import gc
from collections import Counter

import pytest
from messaging_brokers import BrokerOfTest
from messaging_stages import PRICING, Acting, Collected, enqueue, running, to_pricing
from polling import eventually, not_within

from sandbox.servers import Redis
from shared.messaging.topology import INTAKE_QUEUE, Stage
from shared.messaging.transport import Delivery, QueueState, Transport, TransportError, UsageConsumer

JSON = "application/cloudevents+json"


@pytest.fixture(params=["amqp", "redis"])
def restartable(request: pytest.FixtureRequest) -> BrokerOfTest:
    if request.param == "redis":
        redis: Redis = request.getfixturevalue("restartable_redis")
        return BrokerOfTest(redis.url, redis)
    url = next(request.getfixturevalue("restartable_hosts"))
    return BrokerOfTest(url, request.getfixturevalue("restartable_rabbitmq"))


async def receive(consumer: UsageConsumer, messages: int = 1) -> list[Delivery]:
    """Receive so many messages at least."""
    received: list[Delivery] = []
    async with asyncio.timeout(15):
        while len(received) < messages:
            received += await consumer.receive()
    return received


async def ready(transport: Transport, queue: str = INTAKE_QUEUE) -> int:
    return sum(state.ready for state in await transport.queue_states([queue]))


async def test_looking_at_queues_for_months_takes_no_memory(broker: BrokerOfTest) -> None:
    """The clock looks every two seconds; where a queue does not exist the broker closes the channel."""

    async def look(times: int) -> int:
        for _ in range(times):
            await transport.queue_states([INTAKE_QUEUE, "nowhere.0", "nowhere.1"])
            await transport.count_dead_letters([INTAKE_QUEUE, "nowhere.0"])
        gc.collect()
        return len(gc.get_objects())

    async with broker.transport() as transport:
        before = await look(10)
        assert await look(100) < before + 500


async def test_usage_arrives_with_its_body_and_content_type(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport, transport.consume_usage(10) as consumer:
        await transport.publish_usage(b'{"odd": "\\u0000\xff"}', "application/json")
        [delivery] = await receive(consumer)
        assert delivery.body == b'{"odd": "\\u0000\xff"}'
        assert delivery.content_type == "application/json"


async def test_usage_without_a_content_type_has_none(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport, transport.consume_usage(10) as consumer:
        await transport.publish_usage(b"{}", "")
        [delivery] = await receive(consumer)
        assert not delivery.content_type


async def test_a_published_message_is_with_the_broker_when_publish_returns(broker: BrokerOfTest) -> None:
    async with broker.transport() as publishing, broker.transport() as looking:
        for number in range(1, 20):
            await publishing.publish_usage(b"{}", JSON)
            assert await ready(looking) == number


async def test_messages_of_one_publisher_arrive_in_order(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport, transport.consume_usage(50) as consumer:
        for number in range(30):
            await transport.publish_usage(b"%d" % number, JSON)
        assert [int(each.body) for each in await receive(consumer, 30)] == list(range(30))


async def test_unacknowledged_messages_come_again_once_their_consumer_is_gone(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport:
        for number in range(3):
            await transport.publish_usage(b"%d" % number, JSON)
        async with broker.transport() as first, first.consume_usage(10) as dying:
            await receive(dying, 3)
        async with broker.transport() as second, second.consume_usage(10) as heir:
            again = await receive(heir, 3)
            assert sorted(each.body for each in again) == [b"0", b"1", b"2"]


async def test_messages_of_a_living_consumer_stay_with_it(broker: BrokerOfTest) -> None:
    async with broker.transport() as first, first.consume_usage(10) as holding:
        await first.publish_usage(b"held", JSON)
        await receive(holding)
        async with broker.transport() as second, second.consume_usage(10) as other:
            assert await not_within(0.15, other.receive())


async def test_acknowledged_messages_do_not_come_again(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport:
        for number in range(4):
            await transport.publish_usage(b"%d" % number, JSON)
        async with broker.transport() as first, first.consume_usage(2) as consumer:
            done = await receive(consumer, 2)
            await consumer.acknowledge(done)
            await receive(consumer, 2)
        async with broker.transport() as second, second.consume_usage(10) as heir:
            again = await receive(heir, 2)
            assert {each.body for each in again} == {b"0", b"1", b"2", b"3"} - {each.body for each in done}
            await heir.acknowledge(again)
        assert await ready(transport) == 0


async def test_prefetch_bounds_what_a_consumer_holds(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport, transport.consume_usage(2) as consumer:
        for number in range(5):
            await transport.publish_usage(b"%d" % number, JSON)
        held = await receive(consumer, 2)
        assert len(held) == consumer.in_flight == 2
        assert await ready(transport) == 3
        await consumer.acknowledge(held)
        assert len(await receive(consumer, 2)) == 2


async def test_a_consumer_counts_what_it_received_and_holds(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport, transport.consume_usage(10) as consumer:
        for _ in range(3):
            await transport.publish_usage(b"{}", JSON)
        deliveries = await receive(consumer, 3)
        assert (consumer.received, consumer.in_flight) == (3, 3)
        await consumer.acknowledge(deliveries)
        assert (consumer.received, consumer.in_flight) == (3, 0)


async def test_publishers_and_consumers_share_without_loss_or_duplicates(broker: BrokerOfTest) -> None:
    expected = Counter(f"{publisher}-{number}".encode() for publisher in range(3) for number in range(60))
    arrived: Counter[bytes] = Counter()

    async def publish(publisher: int) -> None:
        async with broker.transport() as transport:
            await asyncio.gather(
                *(transport.publish_usage(f"{publisher}-{number}".encode(), JSON) for number in range(60))
            )

    async def consume() -> None:
        async with broker.transport() as transport, transport.consume_usage(7) as consumer:
            while True:
                deliveries = await consumer.receive()
                arrived.update(each.body for each in deliveries)
                await consumer.acknowledge(deliveries)

    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    await asyncio.gather(*(publish(number) for number in range(3)))
    await eventually(lambda: len(arrived) == len(expected))
    async with broker.transport() as transport:
        await eventually(lambda: _is_empty(transport))
    for task in consumers:
        task.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    # No consumer lived long enough idle for anything to be taken over: every message came once.
    assert arrived == expected


async def _is_empty(transport: Transport) -> bool:
    states = await transport.queue_states([INTAKE_QUEUE])
    return all(state.ready == 0 and not state.held for state in states)


async def test_queue_states_count_what_is_ready(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport:
        for _ in range(3):
            await transport.publish_usage(b"{}", JSON)
        enqueue(broker.url, to_pricing(1), to_pricing(2))
        states = {state.queue: state for state in await transport.queue_states([INTAKE_QUEUE, PRICING])}
        assert (states[INTAKE_QUEUE].ready, states[PRICING].ready) == (3, 2)
        assert not states[INTAKE_QUEUE].held
        assert not states[PRICING].held


async def test_queue_states_tell_held_messages_or_the_consumer_that_may_hold_them(
    broker: BrokerOfTest,
) -> None:
    async with broker.transport() as transport, transport.consume_usage(10) as consumer:
        await transport.publish_usage(b"{}", JSON)
        await receive(consumer)
        held = None if broker.is_amqp else 1
        assert await transport.queue_states([INTAKE_QUEUE]) == [QueueState(INTAKE_QUEUE, 0, held, 1)]


async def test_queues_that_do_not_exist_hold_nothing(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport:
        assert await ready(transport, "debit.77") == 0


async def test_a_broker_that_cannot_be_reached_is_a_transport_error(broker: BrokerOfTest) -> None:
    nobody = BrokerOfTest(broker.url.replace("127.0.0.1", "127.0.0.9"))
    with pytest.raises(TransportError):
        async with nobody.transport():
            pass


async def test_messages_survive_a_restart_of_the_broker(restartable: BrokerOfTest) -> None:
    assert restartable.server is not None
    async with restartable.transport() as transport:
        for number in range(5):
            await transport.publish_usage(b"%d" % number, JSON)
    enqueue(restartable.url, to_pricing(1, 2), to_pricing(3))
    restartable.server.stop()
    restartable.server.start()
    async with restartable.transport() as transport, transport.consume_usage(10) as consumer:
        assert sorted(each.body for each in await receive(consumer, 5)) == [b"0", b"1", b"2", b"3", b"4"]
    handled = Collected()
    with running(restartable.url, Acting(Stage.PRICING, handled, PRICING)):
        await eventually(lambda: handled.records == [1, 2, 3])
