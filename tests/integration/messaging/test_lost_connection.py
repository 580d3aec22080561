"""A connection that breaks is a TransportError to whoever uses it, at whatever moment it breaks."""

import asyncio
import socket
import threading
from contextlib import suppress

import pytest
import uvloop
from messaging_books import event
from messaging_brokers import BrokerOfTest
from messaging_proxy import Proxy
from polling import not_within

from shared.messaging.connect import open_transport
from shared.messaging.publisher import Publisher
from shared.messaging.topology import INTAKE_QUEUE
from shared.messaging.transport import Transport, TransportError

JSON = "application/cloudevents+json"


async def test_a_lost_connection_is_a_transport_error_to_all_who_use_it(broker: BrokerOfTest) -> None:
    with Proxy(broker.url) as proxy:
        cut_off = BrokerOfTest(proxy.url)
        async with cut_off.transport() as transport:
            await transport.publish_usage(b"{}", JSON)
            await _lose_the_connection_of_a_consumer(transport, proxy)
            with pytest.raises(TransportError):
                await transport.publish_usage(b"{}", JSON)
            with pytest.raises(TransportError):
                await transport.queue_states([INTAKE_QUEUE])
            with pytest.raises(TransportError):
                await transport.replay_dead_letters([INTAKE_QUEUE])


async def _lose_the_connection_of_a_consumer(transport: Transport, proxy: Proxy) -> None:
    with suppress(TransportError):  # Leaving the block may tell it once more.
        async with transport.consume_usage(10) as consumer:
            [delivery] = await consumer.receive()
            waiting = asyncio.create_task(consumer.receive())
            assert await not_within(0.1, asyncio.shield(waiting))
            proxy.refuse()
            proxy.cut()
            with pytest.raises(TransportError):
                await asyncio.wait_for(waiting, 10)
            with pytest.raises(TransportError):
                await consumer.acknowledge([delivery])


def test_a_connection_that_is_closed_as_soon_as_it_is_open_is_a_transport_error() -> None:
    def close_all(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listening.accept()[0].close()

    async def connect(port: int) -> None:
        for _ in range(20):  # uvloop, on which the processes run, sees the end first most times
            with pytest.raises(TransportError):
                await open_transport(f"amqp://127.0.0.1:{port}/").__aenter__()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=close_all, args=(listening,), daemon=True).start()
        uvloop.run(connect(listening.getsockname()[1]))


async def test_a_connection_that_breaks_while_it_is_busy_is_a_transport_error(broker: BrokerOfTest) -> None:
    async def publish(transport: Transport) -> None:
        while True:
            await transport.publish_usage(b"{}", JSON)

    async def look(transport: Transport) -> None:
        while True:
            await transport.queue_states([INTAKE_QUEUE])

    async def consume(transport: Transport) -> None:
        async with transport.consume_usage(10) as consumer:
            while True:
                await consumer.acknowledge(await consumer.receive())

    with Proxy(broker.url) as proxy:
        for number in range(12):
            proxy.accept()
            async with BrokerOfTest(proxy.url).transport() as transport:
                work = (publish, publish, publish, look, consume)
                tasks = [asyncio.create_task(each(transport)) for each in work]
                await asyncio.sleep(number * 0.005)  # Another moment each time.
                proxy.refuse()
                proxy.cut()
                ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
            assert {type(end) for end in ends} == {TransportError}


async def test_a_failure_of_its_user_is_no_failure_of_the_transport(broker: BrokerOfTest) -> None:
    async with broker.transport() as transport:
        for failure in (RuntimeError, TimeoutError, Exception):
            with pytest.raises(failure) as caught:
                async with transport.consume_usage(10):
                    raise failure("not the broker's doing")
            assert not isinstance(caught.value, TransportError)


async def test_a_publisher_goes_on_over_a_lost_connection(broker: BrokerOfTest) -> None:
    with Proxy(broker.url) as proxy:
        async with Publisher(proxy.url) as publisher:
            await publisher.publish(event("1"))
            proxy.refuse()
            proxy.cut()
            publishing = asyncio.create_task(publisher.publish(event("2")))
            assert await not_within(0.2, asyncio.shield(publishing))
            proxy.accept()
            await asyncio.wait_for(publishing, 15)
            proxy.cut()  # This time while nobody publishes.
            await asyncio.wait_for(publisher.publish(event("3")), 15)
    async with broker.transport() as transport:
        [state] = await transport.queue_states([INTAKE_QUEUE])
        assert state.ready == 3
