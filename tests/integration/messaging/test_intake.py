"""Intake passes on every good event and parks every bad one, whatever dies in between."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from messaging_books import body, event, quarantined
from messaging_brokers import messages_in
from messaging_proxy import Proxy
from messaging_stages import PRICING, Acting, Collected, running
from polling import eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from sandbox.servers import RabbitMQ
from sandbox.supervisor import Supervisor
from shared.db.engine import create_engine
from shared.messaging.connect import open_transport
from shared.messaging.publisher import Publisher
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import INTAKE_QUEUE, Stage
from shared.settings import Settings
from workers.intake import Intake

BATCH = "application/cloudevents-batch+json"
BURST = 2_000


@asynccontextmanager
async def intake(database_url: str, broker_url: str, **settings: Any) -> AsyncIterator[Intake]:
    """Run the stage in this process, as its worker process does."""
    engine = create_engine(database_url)
    broker = stage_broker(broker_url)
    stage = Intake(broker, engine, Settings(database_url=database_url, broker_url=broker_url, **settings))
    task = asyncio.create_task(stage.run(partial(open_transport, broker_url)))
    try:
        yield stage
        await eventually(lambda: stage.counts()[0] == 0)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await engine.dispose()
        stage.close()
        broker.close()


async def publish(broker_url: str, *bodies: bytes, content_type: str = BATCH) -> None:
    async with open_transport(broker_url) as transport:
        for each in bodies:
            await transport.publish_usage(each, content_type)


async def passed_on(broker_url: str, enough: Callable[[set[str]], bool]) -> list[str]:
    """Take what intake emitted off the queue of pricing; return the ids once there are enough of them."""
    arrived = Collected()

    def ids() -> list[str]:
        return [msgspec.json.decode(raw)["id"] for batch in list(arrived) for raw in batch]

    with running(broker_url, Acting(Stage.PRICING, arrived, PRICING, msgspec.Raw)):
        await eventually(lambda: enough(set(ids())))
    return sorted(ids())


async def nothing_left(broker_url: str) -> None:
    """Wait until the intake queue is empty and nobody is left to hold anything of it."""

    async def empty() -> bool:
        async with open_transport(broker_url) as transport:
            [state] = await transport.queue_states([INTAKE_QUEUE])
        return state.ready == state.consumers == 0

    await eventually(empty)


async def waiting(broker_url: str) -> int:
    async with open_transport(broker_url) as transport:
        [state] = await transport.queue_states([INTAKE_QUEUE])
    return state.ready


async def test_single_events_and_arrays_are_passed_on_alike(database_url: str, broker_url: str) -> None:
    async with intake(database_url, broker_url):
        await publish(broker_url, body(event("1")), body(event("2"), event("3")), body([event("4")]))
        await publish(broker_url, body(event("5")), content_type="application/json")
        await publish(broker_url, body(event("6")), content_type="")
        expected = ["1", "2", "3", "4", "5", "6"]
        assert await passed_on(broker_url, lambda ids: len(ids) == 6) == expected


async def test_one_bad_event_among_good_ones_goes_alone(
    database_url: str, broker_url: str, engine: AsyncEngine
) -> None:
    bad = event("bad", input_tokens=-1)
    async with intake(database_url, broker_url):
        await publish(broker_url, body(event("1"), bad, event("2")))
        assert await passed_on(broker_url, lambda ids: len(ids) == 2) == ["1", "2"]
        assert await eventually(lambda: quarantined(engine)) == [body(bad)]


async def test_bodies_that_cannot_be_read_are_parked_as_they_came(
    database_url: str, broker_url: str, engine: AsyncEngine
) -> None:
    bodies = [b"\xff\x00", b"not JSON", b"[", b"[]", b""]
    async with intake(database_url, broker_url):
        await publish(broker_url, *bodies, body(event("good")))
        assert await passed_on(broker_url, lambda ids: "good" in ids) == ["good"]
        await eventually(lambda: _as_many(engine, bodies))
    assert sorted(await quarantined(engine)) == sorted(bodies)
    await nothing_left(broker_url)


async def _as_many(engine: AsyncEngine, bodies: list[bytes]) -> bool:
    return len(await quarantined(engine)) >= len(bodies)


async def test_a_large_message_leaves_in_batches_of_the_size_that_is_set(
    database_url: str, broker_url: str
) -> None:
    events = [event(f"{number:03}") for number in range(250)]
    arrived = Collected()
    async with intake(database_url, broker_url, batch_records=100):
        await publish(broker_url, body(*events))
        with running(broker_url, Acting(Stage.PRICING, arrived, PRICING, msgspec.Raw)):
            await eventually(lambda: sum(map(len, arrived)) == 250)
    # What waits for the stage is merged there again, but never taken apart.
    assert all(len(batch) % 100 in (0, 50) for batch in arrived)


async def test_events_are_passed_on_byte_for_byte(database_url: str, broker_url: str) -> None:
    raw = body(event("1")).replace(b'"id"', b' "extra" : 1.50,\n"id"')
    arrived = Collected()
    async with intake(database_url, broker_url):
        await publish(broker_url, b"[" + raw + b"]")
        with running(broker_url, Acting(Stage.PRICING, arrived, PRICING, msgspec.Raw)):
            await eventually(lambda: arrived)
    assert [bytes(element) for [element] in arrived] == [raw]


async def test_a_killed_intake_process_loses_nothing(
    payg_env: dict[str, str], rabbitmq: RabbitMQ, broker_url: str, tmp_path: Path
) -> None:
    expected = {f"{number}" for number in range(BURST)}
    env = payg_env | {"PAYG_INTAKE_PREFETCH": "4"}  # Small bites, so that it dies in the middle of the burst.
    with Supervisor({"intake": "payg worker intake"}, env, logs=tmp_path) as workers:
        async with Publisher(broker_url, max_events=5) as publisher:
            await publisher.publish(event("0"))
            await eventually(lambda: _emitted(broker_url, 1))
            burst = asyncio.gather(*(publisher.publish(event(each)) for each in sorted(expected)))
            for already in (10, 60):
                await eventually(lambda already=already: _emitted(broker_url, already))
                workers.kill("intake")
                await eventually(lambda: waiting(broker_url))
                await eventually(lambda: workers.pids("intake"))
            await burst
        assert set(await passed_on(broker_url, lambda ids: len(ids) == BURST)) == expected
        assert len(workers.deaths["intake"]) == 2
        await eventually(lambda: messages_in(rabbitmq, broker_url, INTAKE_QUEUE) == 0)


async def _emitted(broker_url: str, messages: int) -> bool:
    async with open_transport(broker_url) as transport:
        return sum(state.ready for state in await transport.queue_states([PRICING])) >= messages


async def test_an_intake_process_killed_before_it_parked_a_bad_record_parks_it_later(
    payg_env: dict[str, str], rabbitmq: RabbitMQ, broker_url: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    with Supervisor({"intake": "payg worker intake"}, payg_env, logs=tmp_path) as workers:
        async with engine.begin() as connection:
            await connection.execute(text("LOCK TABLE quarantine IN EXCLUSIVE MODE"))
            await publish(broker_url, b"bad")
            await eventually(lambda: _blocked(engine))
            workers.kill("intake")
        await eventually(lambda: _as_many(engine, [b"bad"]))
        await eventually(lambda: messages_in(rabbitmq, broker_url, INTAKE_QUEUE) == 0)


async def test_a_broker_that_restarts_in_the_middle_of_a_burst_loses_nothing(
    database_url: str, restartable_rabbitmq: RabbitMQ, restartable_hosts: Iterator[str]
) -> None:
    broker_url = next(restartable_hosts)
    expected = {f"{number}" for number in range(BURST)}
    async with intake(database_url, broker_url), Publisher(broker_url, max_events=5) as publisher:
        burst = asyncio.gather(*(publisher.publish(event(each)) for each in expected))
        await eventually(lambda: _emitted(broker_url, 10))
        await asyncio.to_thread(restartable_rabbitmq.stop)
        assert not burst.done()
        await asyncio.to_thread(restartable_rabbitmq.start)
        await burst
        assert set(await passed_on(broker_url, lambda ids: len(ids) == BURST)) == expected
    await nothing_left(broker_url)


async def test_nothing_is_acknowledged_before_the_quarantine_is_committed(
    database_url: str, broker_url: str, engine: AsyncEngine
) -> None:
    async with intake(database_url, broker_url) as stage:
        async with engine.begin() as connection:
            await connection.execute(text("LOCK TABLE quarantine IN EXCLUSIVE MODE"))
            await publish(broker_url, b"bad")
            await eventually(lambda: _blocked(engine))
            assert stage.counts()[:2] == (1, 1)
        await eventually(lambda: quarantined(engine))
        await eventually(lambda: stage.counts()[:2] == (0, 1))
    assert await quarantined(engine) == [b"bad"]


async def _blocked(engine: AsyncEngine) -> bool:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with engine.connect() as connection:
        return bool((await connection.execute(query)).scalar_one())


async def test_a_bad_record_waits_for_a_database_that_is_away(
    database_url: str, broker_url: str, engine: AsyncEngine
) -> None:
    with Proxy(database_url) as proxy:
        proxy.refuse()
        with capture_logs() as logs:
            async with intake(proxy.url, broker_url) as stage:
                await publish(broker_url, body(event("good"), {"id": "bad"}))
                await eventually(lambda: sum(line["event"] == "intake waits" for line in logs) > 3)
                # It was delivered once, and is in hand: a hundred deliveries would make it a dead letter.
                assert stage.counts()[:2] == (1, 1)
                assert await quarantined(engine) == []
                proxy.accept()
                await eventually(lambda: quarantined(engine))
                await eventually(lambda: stage.counts()[:2] == (0, 1))
    assert await quarantined(engine) == [body({"id": "bad"})]
    assert await passed_on(broker_url, lambda ids: "good" in ids) == ["good"]
    await nothing_left(broker_url)


async def test_intake_stops_at_once_while_it_waits_for_the_database_and_what_it_held_comes_again(
    database_url: str, payg_env: dict[str, str], broker_url: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    with Proxy(database_url) as proxy:
        proxy.refuse()
        env = payg_env | {"PAYG_DATABASE_URL": proxy.url}
        with Supervisor({"intake": "payg worker intake"}, env, logs=tmp_path) as workers:
            await publish(broker_url, b"bad")
            log = tmp_path / "intake.log"
            await eventually(lambda: log.exists() and "intake waits" in log.read_text())
            [pid] = workers.pids().values()
            os.kill(pid, signal.SIGTERM)
            await eventually(lambda: workers.deaths["intake"] == [0], 10)
            proxy.accept()
            await eventually(lambda: quarantined(engine))
    assert await quarantined(engine) == [b"bad"]
