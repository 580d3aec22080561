"""The notifications process sends webhooks; killed at any point it loses none."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hook_alerts import Hooks
from hook_receiver import Receiver, answers
from polling import eventually
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from shared.db import alerts
from shared.db.alerts import NewAlert
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import Level
from shared.messaging.connect import open_transport
from shared.messaging.envelope import messages_to
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage
from shared.operations.delivery.delivery_loop import LEASE
from workers.notifications import Notifications

_SENDING = Path(__file__).with_name("send_deliveries.py")


async def test_a_process_that_dies_between_sending_and_recording_sends_again_with_the_same_id(
    hooks: Hooks, receiver: Receiver
) -> None:
    account_id = await hooks.account()
    endpoint = await hooks.endpoint(account_id, receiver.url)
    (event_id,) = await hooks.alert(account_id)
    process = await asyncio.create_subprocess_exec(sys.executable, _SENDING, hooks.database_url)

    def kill(request: BaseHTTPRequestHandler) -> None:
        process.send_signal(signal.SIGKILL)
        answers(200)(request)

    receiver.behaviour = kill
    assert await process.wait() == -signal.SIGKILL
    assert (await hooks.delivery())["state"] == "waiting"
    receiver.behaviour = answers(200)
    await hooks.send_due()
    assert len(receiver.posts) == 1  # it may still be sent by whoever took it
    await hooks.send_due(LEASE)
    assert receiver.event_ids == [event_id, event_id]
    assert receiver.posts[0].verified(endpoint["secret"]) == receiver.posts[1].verified(endpoint["secret"])
    assert (await hooks.delivery())["state"] == "sent"


async def test_the_worker_tells_the_exchange_and_the_endpoints_of_each_alert(
    hooks: Hooks, receiver: Receiver, payg_env: dict[str, str], broker_url: str
) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    sequences = await _write_alerts(hooks, account_id, 5)
    event_ids = [f"alert-{sequence}" for sequence in sequences]
    broker = stage_broker(broker_url)
    for message in messages_to(Stage.NOTIFICATIONS, sequences):
        broker.declare_queue(message.queue)
        await asyncio.to_thread(broker.enqueue, message.encode())
    async with open_transport(broker_url) as transport, transport.subscribe_alerts() as told:
        with _worker(payg_env):
            for event_id in event_ids:
                delivery = await asyncio.wait_for(anext(told), 20)
                assert f'"{event_id}"'.encode() in delivery.body
            await eventually(lambda: receiver.event_ids == event_ids)
    broker.close()


async def test_a_mark_and_its_deliveries_are_committed_together(
    hooks: Hooks, receiver: Receiver, broker_url: str
) -> None:
    account_id = await hooks.account()
    await hooks.endpoint(account_id, receiver.url)
    sequences = await _write_alerts(hooks, account_id, 1)
    notifications = Notifications(hooks.engine, partial(open_transport, broker_url), hooks.deliveries())
    await _execute(hooks, "ALTER TABLE alert_deliveries ADD CONSTRAINT full_disk CHECK (false)")
    with pytest.raises(IntegrityError, match="full_disk"):
        await notifications.handle(sequences)
    (row,) = await hooks.rows("SELECT delivered_at FROM alerts")
    assert row["delivered_at"] is None
    await _execute(hooks, "ALTER TABLE alert_deliveries DROP CONSTRAINT full_disk")
    await notifications.handle(sequences)
    await notifications.handle(sequences)
    await notifications.close()
    await hooks.send_due()
    assert len(receiver.posts) == 1


async def _write_alerts(hooks: Hooks, account_id: str, count: int) -> list[int]:
    data = alert_data(account_id, 15, hooks.now(), Level.LOW)
    new = NewAlert(account_id, AlertType.BALANCE_LOW, data, hooks.now())
    async with hooks.engine.begin() as connection:
        return await alerts.insert_alerts(connection, [new] * count)


async def _execute(hooks: Hooks, statement: str) -> None:
    async with hooks.engine.begin() as connection:
        await connection.execute(text(statement))


@contextmanager
def _worker(env: dict[str, str]) -> Iterator[None]:
    """Run the real process of the notifications stage; it stops when it is told to."""
    payg = Path(sys.executable).with_name("payg")
    with subprocess.Popen(
        [payg, "worker", "notifications"], env=env | {"PAYG_WEBHOOK_LOOPBACK": "true"}
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            status = process.wait(20)
        assert status == 0
