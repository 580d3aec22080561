"""A process that looks alive and does no work is noticed; one that waits for a server is left in peace."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import aio_pika
import pytest
from messaging_books import event, open_books
from messaging_proxy import Proxy
from messaging_stages import PRICING, Acting, Collected, enqueue, running, to_pricing
from polling import eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.supervisor import Supervisor
from shared.liveness import Liveness
from shared.messaging.amqp_transport import AmqpTransport
from shared.messaging.topology import INTAKE_QUEUE, Stage
from shared.messaging.transport import TransportError

QUIET_S = 1.0  # more than a consumer takes from one look into its queue to the next


def test_a_loop_that_stands_still_is_trouble() -> None:
    async def stand_still(liveness: Liveness) -> None:
        async with liveness.beating():
            await asyncio.sleep(0)
            assert liveness.trouble() is None
            time.sleep(0.1)  # noqa: ASYNC251 - what must not happen
            assert liveness.trouble() == "the event loop stands still"

    asyncio.run(stand_still(Liveness(60, quiet_s=0.05)))


async def test_a_batch_that_never_ends_is_trouble_and_one_that_failed_is_none() -> None:
    async def handle(end: asyncio.Event) -> None:
        await end.wait()
        raise OSError("the database is away")

    liveness, end = Liveness(0.05), asyncio.Event()
    batch = asyncio.create_task(liveness.watched(handle)(end))
    await eventually(lambda: liveness.trouble() == "a batch takes over 0 s")
    end.set()
    with suppress(OSError):
        await batch
    assert liveness.trouble() is None


@pytest.mark.usefixtures("quick_reconnects")
async def test_a_consumer_that_the_broker_refuses_is_trouble_and_a_broker_that_is_away_is_none(
    broker_url: str,
) -> None:
    await _declare_otherwise(broker_url, PRICING)
    liveness = Liveness(60, quiet_s=QUIET_S)
    with (
        Proxy(broker_url) as proxy,
        running(proxy.url, Acting(Stage.PRICING, Collected(), PRICING)) as broker,
    ):
        liveness.check_consumed(broker.pulled_at, [PRICING], proxy.url)
        assert liveness.trouble() is None
        await eventually(lambda: liveness.trouble() == "a queue is not consumed")
        proxy.refuse()
        proxy.cut()
        assert liveness.trouble() is None
        proxy.accept()


async def _declare_otherwise(url: str, queue: str) -> None:
    """Put a queue in the place of ours that ours cannot be declared over: who wants to consume is refused."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})


async def test_usage_whose_queue_was_deleted_is_asked_for_anew(broker_url: str) -> None:
    async with AmqpTransport(broker_url) as transport, transport.consume_usage(10) as consumer:
        waiting = asyncio.create_task(consumer.receive())
        async with await aio_pika.connect(broker_url) as connection:
            await (await connection.channel()).queue_delete(INTAKE_QUEUE)
        with pytest.raises(TransportError, match="delivers no more"):
            await asyncio.wait_for(waiting, 10)


async def test_a_worker_whose_batch_is_stuck_leaves_its_file_alone(
    engine: AsyncEngine, payg_env: dict[str, str], broker_url: str, tmp_path: Path
) -> None:
    account_id, file = await open_books(engine), tmp_path / "alive"
    env = {**payg_env, "PAYG_ALIVE_FILE": str(file), "PAYG_STUCK_S": "1"}
    with Supervisor({"pricing": "payg worker pricing"}, env, logs=tmp_path) as workers:
        await eventually(file.exists)
        async with engine.begin() as connection:
            await connection.execute(text("LOCK TABLE accounts, api_keys IN ACCESS EXCLUSIVE MODE"))
            enqueue(broker_url, to_pricing(event("stuck", account_id)))
            log = tmp_path / "pricing.log"
            await eventually(lambda: "a batch takes over 1 s" in log.read_text())
            assert file.stat().st_mtime < time.time() - 1
        assert workers.pids()  # all the while the process was there
