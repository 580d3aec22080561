"""A RabbitMQ with the configuration and the definitions of deploy/: every process works as its own user."""

import json
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aiormq.exceptions import ChannelAccessRefused
from messaging_books import debited, event, open_books
from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import RabbitMQ
from sandbox.supervisor import Supervisor, read_procfile
from shared.messaging.connect import open_transport
from shared.messaging.definitions import users
from shared.messaging.publisher import Publisher
from shared.messaging.topology import Stage, dead_letter_queue, queue_arguments, stage_queues

ROOT = Path(__file__).parents[3]
DEBIT_QUEUES = 4
QUEUES = [queue for stage in Stage for queue in stage_queues(stage, DEBIT_QUEUES)]
OUTSIDE = {"upstream", "subscriber", "operator"}
PROCESSES = {name: command for name, command in read_procfile(ROOT / "Procfile").items() if name != "api"}

Channel = aio_pika.abc.AbstractChannel


@pytest.fixture(scope="module")
def server(servers_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    passwords = tmp_path_factory.mktemp("passwords")
    for name in users(DEBIT_QUEUES):
        (passwords / name).write_text(f"{name}-secret\n")
    payg = Path(sys.executable).parent / "payg"
    printed = subprocess.run(
        [payg, "broker", "definitions", "--passwords", passwords], capture_output=True, check=True
    )
    place = passwords / "definitions.json"
    place.write_bytes(printed.stdout)
    config = (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text()
    config = config.replace("/etc/rabbitmq/definitions.json", str(place))
    with RabbitMQ(servers_directory / "defined-rabbitmq", config=config) as started:
        yield started


def url(server: RabbitMQ, user: str) -> str:
    return server.url.replace("guest:guest", f"{user}:{user}-secret")


def test_there_is_a_user_for_each_process_and_for_those_outside() -> None:
    procfile = read_procfile(ROOT / "Procfile")
    assert users(DEBIT_QUEUES).keys() == procfile.keys() | OUTSIDE
    assert not [name for name in procfile if users(DEBIT_QUEUES)[name].configure != "^$"]


def test_the_node_is_configured_and_has_the_queues_of_the_topology(server: RabbitMQ) -> None:
    environment = server.ctl("environment")
    for setting in ("{cluster_partition_handling,pause_minority}", "{consumer_timeout,21600000}"):
        assert setting in environment
    rows = json.loads(server.ctl("list_queues", "name", "arguments", "--formatter", "json"))
    declared = {row["name"]: dict(_pairs(row["arguments"])) for row in rows}
    assert {queue: declared[queue] for queue in QUEUES} == {queue: queue_arguments(queue) for queue in QUEUES}
    assert {dead_letter_queue(queue) for queue in QUEUES} < declared.keys()


def _pairs(arguments: Any) -> Iterator[tuple[str, Any]]:
    yield from (
        arguments.items() if isinstance(arguments, dict) else ((name, value) for name, _, value in arguments)
    )


async def test_every_process_works_as_its_own_user(
    server: RabbitMQ, engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    account_id = await open_books(engine)
    commands = {
        name: f"env PAYG_BROKER_URL={shlex.quote(url(server, name))} {command}"
        for name, command in PROCESSES.items()
    }
    async with (
        open_transport(url(server, "subscriber")) as transport,
        transport.subscribe_alerts("#", queue="alerts.mine") as alerts,
    ):
        with Supervisor(commands, {"PAYG_DATABASE_URL": database_url}, logs=tmp_path) as workers:
            async with Publisher(url(server, "upstream")) as publisher:
                await publisher.publish_all(
                    [event("one", account_id), event("bad", account_id, input_tokens=-1)]
                )

            async def done() -> bool:
                return await debited(engine) == {"one"}

            await eventually(done)
            told = {json.loads((await anext(alerts)).body)["type"] for _ in range(2)}
            assert told == {"payg.balance.exhausted.v1", "payg.usage.quarantined.v1"}
            assert not [name for name, deaths in workers.deaths.items() if deaths]


@pytest.fixture
async def channel(server: RabbitMQ, request: pytest.FixtureRequest) -> AsyncIterator[Channel]:
    """A channel of the user that the test is about."""
    async with await aio_pika.connect(url(server, request.param)) as connection:
        yield await connection.channel(on_return_raises=True)


async def _publish(channel: Channel, exchange: str, routing_key: str) -> None:
    target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await target.publish(aio_pika.Message(b"{}"), routing_key)


async def _consume(channel: Channel, queue: str) -> None:
    async def ignore(_message: object) -> None:
        pass

    await (await channel.get_queue(queue, ensure=False)).consume(ignore)


async def _delete(channel: Channel, queue: str) -> None:
    await channel.queue_delete(queue)


async def _purge(channel: Channel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).purge()


FORBIDDEN = [
    ("pricing", _consume, ("usage.intake",)),
    ("pricing", _consume, ("debit.0",)),
    ("pricing", _publish, ("alerts", "balance.low")),
    ("pricing", _publish, ("usage", "usage.recorded")),
    ("debit", _delete, ("debit.0",)),
    ("debit", _purge, ("topup",)),
    ("thresholds", _consume, ("topup",)),
    ("notifications", _consume, ("topup",)),
    ("clock", _consume, ("pricing",)),
    ("api", _consume, ("usage.intake",)),
    ("upstream", _publish, ("", "debit.0")),
    ("upstream", _publish, ("alerts", "topup.succeeded")),
    ("upstream", _publish, ("usage", "something.else")),
    ("upstream", _consume, ("usage.intake",)),
    ("subscriber", _publish, ("usage", "usage.recorded")),
    ("subscriber", _publish, ("alerts", "topup.succeeded")),
    ("subscriber", _consume, ("notifications",)),
    ("subscriber", _delete, ("notifications",)),
]


@pytest.mark.parametrize(("channel", "operation", "names"), FORBIDDEN, indirect=["channel"])
async def test_what_a_user_has_no_business_with_is_refused(
    channel: Channel, operation: Any, names: Any
) -> None:
    with pytest.raises(ChannelAccessRefused):
        await operation(channel, *names)


@pytest.mark.parametrize("channel", ["subscriber"], indirect=True)
async def test_a_subscriber_that_is_gone_fills_no_disk(server: RabbitMQ, channel: Channel) -> None:
    await channel.declare_queue("alerts.gone", durable=True, arguments={"x-queue-type": "quorum"})
    rows = server.ctl("list_queues", "name", "policy")
    assert "alerts.gone\tsubscriptions" in rows
