"""What stock dramatiq loses when the broker goes away at the wrong moment, and that payg does not."""

import asyncio
import threading
from collections.abc import Sequence

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from messaging_brokers import messages_in
from messaging_proxy import Proxy
from messaging_stages import DEBIT, PRICING, Acting, Collected, enqueue, running, to_debit, to_pricing
from messaging_stock import STOCK_QUEUE, stock_counts, stock_enqueue, stock_worker
from polling import eventually
from structlog.testing import capture_logs

from sandbox.servers import RabbitMQ
from shared.messaging.connect import open_transport
from shared.messaging.envelope import StageMessage
from shared.messaging.topology import Stage

#: What a worker opens for a queue and its queue of delayed messages: to declare, and to consume.
CONSUMING_LINKS = 4


class Gate:
    """Holds a handler in the middle of its work."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self._open.wait(30), "nobody opened the gate"

    def open(self) -> None:
        self._open.set()


async def ready(url: str, queue: str) -> int:
    async with open_transport(url) as transport:
        return sum(state.ready for state in await transport.queue_states([queue]))


async def dead(url: str, queue: str) -> list[bytes]:
    async with open_transport(url) as transport:
        return [letter.body async for letter in transport.dead_letters([queue])]


async def take(url: str, queue: str, held: asyncio.Future[AbstractIncomingMessage]) -> None:
    """Hold the first message of a queue in another consumer until cancelled."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        found = await channel.get_queue(queue, ensure=False)
        held.set_result(await eventually(lambda: found.get(fail=False)))
        await asyncio.Event().wait()


async def test_stock_dramatiq_loses_a_message_when_its_retry_cannot_be_enqueued(broker_url: str) -> None:
    attempts, gate = [], Gate()

    def fail(record: int) -> None:
        attempts.append(record)
        gate.wait()
        raise ValueError("to be tried again")

    with Proxy(broker_url) as proxy:
        with stock_worker(proxy.url, fail):
            stock_enqueue(broker_url, 1)
            await eventually(gate.reached.is_set)
            proxy.refuse()  # The worker's consumer stays connected, its publisher finds nobody.
            gate.open()
        proxy.accept()
    # Neither waiting, nor delayed, nor dead; and the worker is gone, so nobody holds it.
    assert stock_counts(broker_url) == (0, 0, 0)
    assert attempts == [1]


async def test_a_record_given_up_on_while_nothing_can_be_published_is_a_dead_letter(broker_url: str) -> None:
    gate = Gate()

    async def fail(_: list[int]) -> Sequence[StageMessage]:
        await asyncio.to_thread(gate.wait)
        raise ValueError("this record cannot be handled")

    with Proxy(broker_url) as proxy, running(proxy.url, Acting(Stage.PRICING, fail, PRICING), threads=1):
        enqueue(broker_url, to_pricing(1))
        await eventually(gate.reached.is_set)
        proxy.refuse()  # As above: the consumer stays connected, the publisher finds nobody.
        gate.open()
        assert len(await eventually(lambda: dead(broker_url, PRICING))) == 1
    assert await ready(broker_url, PRICING) == 0


@pytest.mark.usefixtures("quick_reconnects")
@pytest.mark.parametrize("during", ["retry", "emit"])
@pytest.mark.parametrize("cut", ["publisher", "everything"])
async def test_a_record_survives_a_broker_that_is_away(broker_url: str, during: str, cut: str) -> None:
    gate, attempts = Gate(), []

    async def pass_on(batch: list[int]) -> Sequence[StageMessage]:
        if batch == [1]:
            attempts.append(during)
            await asyncio.to_thread(gate.wait)
            if attempts == ["retry"]:
                raise ConnectionError("the database is away too")
        return [to_debit(*batch)]

    with Proxy(broker_url) as proxy, capture_logs() as logs:
        with running(proxy.url, Acting(Stage.PRICING, pass_on, PRICING), threads=1):
            await eventually(lambda: len(proxy.links) == CONSUMING_LINKS)
            consuming = proxy.links
            enqueue(broker_url, to_pricing(0))
            await eventually(lambda: ready(broker_url, DEBIT))
            publishing = proxy.links - consuming
            assert publishing

            enqueue(broker_url, to_pricing(1))
            await eventually(gate.reached.is_set)
            proxy.refuse()
            proxy.cut(publishing if cut == "publisher" else None)
            gate.open()
            await eventually(lambda: sum("ConnectionClosed" in str(line) for line in logs) >= 4)
            assert await ready(broker_url, DEBIT) == 1
            proxy.accept()
            await eventually(lambda: _has(broker_url, DEBIT, 2))
        if cut == "publisher":
            assert await ready(broker_url, PRICING) == 0  # Acknowledged, once what follows was emitted.
    assert await dead(broker_url, PRICING) == []
    debited = Collected()
    with running(broker_url, Acting(Stage.PRICING, pass_on, PRICING), Acting(Stage.DEBIT, debited, DEBIT)):
        await eventually(lambda: set(debited.records) == {0, 1})
        await eventually(lambda: _has(broker_url, PRICING, 0))


async def _has(url: str, queue: str, at_least: int) -> bool:
    found = await ready(url, queue)
    return found >= at_least if at_least else found == 0


async def test_stock_dramatiq_acknowledges_a_message_that_nobody_handled(
    broker_url: str, rabbitmq: RabbitMQ
) -> None:
    gates = {1: Gate(), 2: Gate()}
    with Proxy(broker_url) as proxy, stock_worker(proxy.url, lambda record: gates[record].wait()):
        stock_enqueue(broker_url, 1)
        await eventually(gates[1].reached.is_set)
        elsewhere = await _redeliver_elsewhere(broker_url, STOCK_QUEUE, proxy)
        stock_enqueue(broker_url, 2)
        proxy.accept()
        await eventually(lambda: _stock_took_all(broker_url))
        gates[1].open()
        await eventually(gates[2].reached.is_set)
        # Message 1 is with the other consumer; message 2 is in the middle of its handler, and already gone.
        await eventually(lambda: messages_in(rabbitmq, broker_url, STOCK_QUEUE) == 1)
        proxy.refuse()
        proxy.cut()
        gates[2].open()
    assert stock_counts(broker_url) == (0, 0, 0)
    elsewhere.cancel()


def _stock_took_all(url: str) -> bool:
    return stock_counts(url)[0] == 0


@pytest.mark.usefixtures("quick_reconnects")
async def test_an_acknowledgement_never_reaches_another_message_on_a_new_connection(broker_url: str) -> None:
    gates = {1: Gate(), 2: Gate()}

    async def wait(batch: list[int]) -> Sequence[StageMessage]:
        await asyncio.to_thread(gates[batch[0]].wait)
        return []

    with Proxy(broker_url) as proxy:
        with running(proxy.url, Acting(Stage.PRICING, wait, PRICING), threads=1):
            enqueue(broker_url, to_pricing(1))
            await eventually(gates[1].reached.is_set)
            elsewhere = await _redeliver_elsewhere(broker_url, PRICING, proxy)
            enqueue(broker_url, to_pricing(2))
            proxy.accept()
            await eventually(lambda: _has(broker_url, PRICING, 0))
            gates[1].open()
            await eventually(gates[2].reached.is_set)
            proxy.refuse()
            proxy.cut()
            await eventually(lambda: _has(broker_url, PRICING, 1))  # Not acknowledged: it comes again.
            gates[2].open()
        elsewhere.cancel()
    handled = Collected()
    with running(broker_url, Acting(Stage.PRICING, handled, PRICING)):
        await eventually(lambda: handled.records == [1, 2])


async def _redeliver_elsewhere(url: str, queue: str, proxy: Proxy) -> asyncio.Task[None]:
    """Cut the worker off, so that the message in its hands goes to another consumer and stays there."""
    proxy.refuse()
    proxy.cut()
    held: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(take(url, queue, held))
    await held
    return task
