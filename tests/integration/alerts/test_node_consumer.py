"""The example consumer in Node gets each alert once and in order, and loses none when it is killed."""

import json
import signal
import subprocess

from node_example import NodeExample

from shared.messaging.connect import open_transport
from shared.messaging.transport import PublishedAlert


async def publish(url: str, *sequences: int, routing_key: str = "balance.low") -> None:
    async with open_transport(url) as transport:
        events = [
            {"id": f"alert-{sequence}", "type": f"payg.{routing_key}.v1", "sequence": sequence}
            for sequence in sequences
        ]
        await transport.publish_alerts(
            [PublishedAlert(routing_key, json.dumps(event).encode()) for event in events]
        )


def numbers(process: "subprocess.Popen[str]", count: int) -> list[int]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline())["sequence"] for _ in range(count)]


async def test_alerts_come_once_and_in_order(node_example: NodeExample, broker_url: str) -> None:
    with node_example.consuming(broker_url, "my-node-service") as consumer:
        await publish(broker_url, 1)
        assert numbers(consumer, 1) == [1]
        await publish(broker_url, 1, 3, 2, 3)
        assert numbers(consumer, 2) == [2, 3]
        await publish(broker_url, 4)
        assert numbers(consumer, 1) == [4]


async def test_what_was_handled_is_acknowledged_and_what_came_meanwhile_waits(
    node_example: NodeExample, broker_url: str
) -> None:
    with node_example.consuming(broker_url, "my-node-service") as consumer:
        await publish(broker_url, 1)
        assert numbers(consumer, 1) == [1]
        consumer.send_signal(signal.SIGTERM)
        assert consumer.wait(10) == 0
    await publish(broker_url, 2, 3)
    with node_example.consuming(broker_url, "my-node-service") as consumer:
        assert numbers(consumer, 2) == [2, 3]


async def test_a_pattern_chooses_the_types(node_example: NodeExample, broker_url: str) -> None:
    with node_example.consuming(broker_url, "my-node-service", "topup.*") as consumer:
        await publish(broker_url, 1, routing_key="balance.low")
        await publish(broker_url, 2, routing_key="topup.failed")
        assert numbers(consumer, 1) == [2]
