"""Drain says that all is done only when all is done."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import aio_pika
import pytest
from messaging_books import debited, event, open_books, quarantined
from messaging_pipeline import Pipeline, pipeline
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres
from shared.messaging.connect import open_transport
from shared.messaging.publisher import Publisher
from shared.messaging.topology import INTAKE_QUEUE
from shared.operations.accounts import create_account
from shared.operations.drain import drain

DEBIT_QUEUES = 4
ROUNDS = 20
BURST = 300
#: Longer than a report counts as fresh, so that drain must tell who does not report.
PATIENCE_S = 3.0


@pytest.fixture(scope="module")
def running(
    postgres: Postgres, virtual_hosts: Iterator[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A pipeline with two debit workers, for the tests that leave it as they found it."""
    url = postgres.create_database("drained", template="payg_template")
    with pipeline(url, next(virtual_hosts), tmp_path_factory.mktemp("drain"), debit=2) as started:
        asyncio.run(started.started())
        yield started


@pytest.fixture
async def books(running: Pipeline) -> AsyncIterator[AsyncEngine]:
    engine = running.engine()
    yield engine
    await engine.dispose()


async def drained(engine: AsyncEngine, broker_url: str, timeout_s: float = 30.0) -> str | None:
    async with open_transport(broker_url) as transport:
        return await drain(engine, transport, DEBIT_QUEUES, timeout_s)


async def publish(broker_url: str, *events: dict[str, object]) -> None:
    async with Publisher(broker_url) as publisher:
        await publisher.publish_all(events)


@asynccontextmanager
async def locked(engine: AsyncEngine, account_id: str) -> AsyncIterator[None]:
    """Keep the debit of an account waiting in the middle of its transaction."""
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT 1 FROM accounts WHERE account_id = :id FOR UPDATE"), {"id": account_id}
        )
        yield


@asynccontextmanager
async def stopped(*pids: int) -> AsyncIterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_without_workers_it_names_the_queue_that_is_not_empty(
    engine: AsyncEngine, broker_url: str
) -> None:
    async with open_transport(broker_url):
        pass
    assert await drained(engine, broker_url) is None
    await publish(broker_url, event("1"), event("2"))
    assert await drained(engine, broker_url, 1.0) == f"1 messages in {INTAKE_QUEUE}"


async def test_it_waits_for_a_message_that_a_foreign_consumer_holds(
    engine: AsyncEngine, broker_url: str
) -> None:
    await publish(broker_url, event("1"))
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(INTAKE_QUEUE, ensure=False)
        arrived: asyncio.Future[aio_pika.abc.AbstractIncomingMessage] = asyncio.Future()

        async def keep(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            arrived.set_result(message)

        await queue.consume(keep)
        message = await arrived
        waiting = await drained(engine, broker_url, PATIENCE_S)
        assert waiting == f"a consumer of {INTAKE_QUEUE} whose process does not report"
        await message.ack()
    assert await drained(engine, broker_url) is None


async def test_an_idle_system_is_drained_at_once(running: Pipeline, books: AsyncEngine) -> None:
    started = monotonic()
    assert await drained(books, running.broker_url) is None
    assert monotonic() - started < 3.0


async def test_it_waits_for_a_message_in_the_middle_of_its_debit(
    running: Pipeline, books: AsyncEngine
) -> None:
    account_id = await open_books(books)
    async with locked(books, account_id):
        await publish(running.broker_url, event("slow", account_id))
        await running.holder(books)
        assert await drained(books, running.broker_url, PATIENCE_S) == "1 messages that processes hold"
    assert await drained(books, running.broker_url) is None
    assert "slow" in await debited(books)


async def test_it_waits_for_a_process_that_was_stopped_with_a_message(
    running: Pipeline, books: AsyncEngine
) -> None:
    account_id = await open_books(books)
    async with locked(books, account_id):
        await publish(running.broker_url, event("stopped", account_id))
        holder = await running.holder(books)
        os.kill(holder, signal.SIGSTOP)
    async with stopped(holder):
        # The other debit process lives, waits for its turn, and reports that it holds nothing.
        waiting = await drained(books, running.broker_url, PATIENCE_S)
        assert waiting
        assert "does not report" in waiting
        assert "stopped" not in await debited(books)
    assert await drained(books, running.broker_url) is None
    assert "stopped" in await debited(books)


async def test_it_waits_for_a_message_that_a_stopped_process_has_not_read(
    running: Pipeline, books: AsyncEngine
) -> None:
    account_id = await open_books(books)
    async with stopped(*running.workers.pids("debit").values()):
        await publish(running.broker_url, event("unread", account_id))
        waiting = await drained(books, running.broker_url, PATIENCE_S)
        assert waiting
        assert "does not report" in waiting
    assert await drained(books, running.broker_url) is None
    assert "unread" in await debited(books)


async def test_all_is_in_the_books_each_time_it_returns(running: Pipeline, books: AsyncEngine) -> None:
    accounts = [await open_books(books), *[(await create_account(books))[0] for _ in range(9)]]
    expected: set[str] = set()
    for number in range(ROUNDS):
        burst = [f"burst-{number}-{each}" for each in range(BURST)]
        await publish(
            running.broker_url,
            *(event(each, accounts[index % 10]) for index, each in enumerate(burst)),
            event(f"unpriced-{number}", accounts[0], model="nobody-has-a-price"),
        )
        assert await drained(books, running.broker_url) is None
        expected.update(burst)
        missing = expected - await debited(books)
        assert not missing, f"round {number}: {len(missing)} not in the books"
        assert len(await quarantined(books)) == number + 1


async def test_all_is_in_the_books_with_redis_as_the_broker(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with pipeline(database_url, redis_url, tmp_path) as workers:
        await workers.started()
        engine = workers.engine()
        account_id = await open_books(engine)
        for number in range(1, 4):
            await publish(redis_url, *(event(f"{number}-{each}", account_id) for each in range(BURST)))
            assert await drained(engine, redis_url) is None
            assert len(await debited(engine)) == number * BURST
        await engine.dispose()
