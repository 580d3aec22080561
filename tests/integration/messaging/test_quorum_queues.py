"""The queues as RabbitMQ itself describes them, after everything that declares one has run."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from messaging_stages import DEBIT, PRICING, Acting, Collected, enqueue, running, to_debit, to_pricing
from polling import eventually

from sandbox.servers import RabbitMQ
from shared.messaging.connect import open_transport
from shared.messaging.topology import DELIVERY_LIMIT, Stage, stage_queues
from shared.messaging.transport import Transport

DEBIT_QUEUES = stage_queues(Stage.DEBIT, 3)
STAGE_QUEUES = [PRICING, *DEBIT_QUEUES]
WORKING = ["usage.intake", *STAGE_QUEUES]
DELAYED = [f"{name}.DQ" for name in STAGE_QUEUES]
DEAD = [f"{name}.XQ" for name in WORKING]

Row = dict[str, Any]


class Declared:
    """What a virtual host holds, as rabbitmqctl tells it."""

    def __init__(self, server: RabbitMQ, host: str) -> None:
        def rows(what: str, *columns: str) -> list[Row]:
            answer: list[Row] = json.loads(server.ctl(what, "-p", host, *columns, "--formatter", "json"))
            return answer

        columns = ("name", "type", "durable", "auto_delete", "exclusive", "arguments")
        self.queues = {row["name"]: row for row in rows("list_queues", *columns)}
        self.exchanges = {row["name"]: row for row in rows("list_exchanges", "name", "type", "durable")}
        self.bindings = rows("list_bindings")

    def arguments(self, queue: str) -> Row:
        given = self.queues[queue]["arguments"]
        return given if isinstance(given, dict) else {name: value for name, _, value in given}


@pytest.fixture(scope="module")
def host(virtual_hosts: Iterator[str]) -> str:
    """A virtual host where transports, publishers of every stage and workers have declared what they use."""
    return next(virtual_hosts)


@pytest.fixture(scope="module")
def declared(rabbitmq: RabbitMQ, host: str) -> Declared:
    asyncio.run(_declare_all(host))
    return Declared(rabbitmq, host.rpartition("/")[2])


async def _declare_all(host: str) -> None:
    async with open_transport(host) as transport:
        await transport.publish_usage(b"{}", "application/json")
    enqueue(host, to_pricing(1), to_debit(2))
    priced, debited = Collected(), Collected()
    with running(
        host,
        Acting(Stage.PRICING, priced, PRICING),
        Acting(Stage.DEBIT, debited, DEBIT, more=DEBIT_QUEUES[1:]),
    ):
        await eventually(lambda: priced and debited)
        async with open_transport(host) as transport:
            await eventually(lambda: _all_there(transport))


async def _all_there(transport: Transport) -> bool:
    return len(await transport.queue_states([*WORKING, *DELAYED, *DEAD])) == 3 * len(WORKING) - 1


def test_no_other_queues_are_declared(declared: Declared) -> None:
    assert sorted(declared.queues) == sorted(WORKING + DELAYED + DEAD)


def test_every_queue_is_a_durable_quorum_queue(declared: Declared) -> None:
    for name, queue in declared.queues.items():
        assert declared.arguments(name)["x-queue-type"] == "quorum", name
        assert "quorum" in queue["type"], name
        assert queue["durable"], name
        assert not queue["auto_delete"], name
        assert not queue["exclusive"], name


def test_what_is_rejected_goes_to_the_dead_letters_at_least_once(declared: Declared) -> None:
    for name in WORKING + DELAYED:
        arguments = declared.arguments(name)
        assert arguments["x-dead-letter-exchange"] == "", name
        assert arguments["x-dead-letter-routing-key"] == f"{name.removesuffix('.DQ')}.XQ", name
        assert arguments["x-dead-letter-strategy"] == "at-least-once", name
        # Without it RabbitMQ falls back to dead-lettering at most once.
        assert arguments["x-overflow"] == "reject-publish", name


def test_poison_is_given_up_on_after_the_delivery_limit(declared: Declared) -> None:
    for name in WORKING + DELAYED:
        assert declared.arguments(name)["x-delivery-limit"] == DELIVERY_LIMIT, name


def test_debit_queues_alone_have_a_single_active_consumer(declared: Declared) -> None:
    single = {name for name in declared.queues if declared.arguments(name).get("x-single-active-consumer")}
    assert single == set(DEBIT_QUEUES)


def test_nothing_expires_and_no_queue_overflows(declared: Declared) -> None:
    forbidden = {"x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes"}
    for name in declared.queues:
        assert not forbidden & set(declared.arguments(name)), name


def test_dead_letters_stay_however_often_they_are_looked_at(declared: Declared) -> None:
    for name in DEAD:
        assert declared.arguments(name) == {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}, name


def test_usage_and_alerts_are_durable_topic_exchanges(declared: Declared) -> None:
    for name in ("usage", "alerts"):
        exchange = declared.exchanges[name]
        assert (exchange["type"], exchange["durable"]) == ("topic", True), name


def test_recorded_usage_alone_is_routed_to_the_intake_queue(declared: Declared) -> None:
    bound = [
        (binding["source_name"], binding["routing_key"], binding["destination_name"])
        for binding in declared.bindings
        if binding["source_name"]
    ]
    assert bound == [("usage", "usage.recorded", "usage.intake")]


async def test_declaring_everything_again_is_no_conflict(declared: Declared, host: str) -> None:
    assert declared.queues
    handled = Collected()
    enqueue(host, to_debit(3))
    with running(host, Acting(Stage.DEBIT, handled, DEBIT, more=DEBIT_QUEUES[1:])):
        await eventually(lambda: handled.records == [3])
