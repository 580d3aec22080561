"""Debit queues have one consumer at a time; a worker that starts later gets its share all the same."""

import asyncio
from pathlib import Path
from time import monotonic

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.supervisor import Supervisor
from shared.clock import utc_now
from shared.domain.events import reread_event
from shared.domain.usage import PricedUsage
from shared.messaging.envelope import StageMessage
from shared.messaging.publisher import usage_event
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage, stage_queues
from shared.operations.accounts import create_account
from shared.settings import Settings

_RECEIVED = text("SELECT process_id, received FROM processes WHERE stage = 'debit'")


async def test_a_debit_worker_that_starts_later_gets_queues_under_load(
    settings: Settings, engine: AsyncEngine, payg_env: dict[str, str], tmp_path: Path
) -> None:
    account_id, _ = await create_account(engine)
    broker = stage_broker(settings.broker_url)
    queues = stage_queues(Stage.DEBIT, settings.debit_queues)

    def send(number: int) -> None:
        for queue in queues:
            event = usage_event(id=f"{queue}-{number}", model="m", account_id=account_id, time=utc_now())
            raw = msgspec.json.encode(event)
            broker.enqueue(
                StageMessage(
                    Stage.DEBIT, queue, [PricedUsage.of(reread_event(raw), raw, account_id, 1, 1)]
                ).encode()
            )

    with Supervisor({"first": "payg worker debit"}, payg_env, logs=tmp_path):
        await _until(engine, send, workers=1)
        with Supervisor({"second": "payg worker debit"}, payg_env, logs=tmp_path):
            await _until(engine, send, workers=2)
    broker.close()


async def _until(engine: AsyncEngine, send: object, *, workers: int) -> None:
    """Keep sending until that many processes have received something."""
    deadline = monotonic() + 40
    for number in range(10_000):
        await asyncio.to_thread(send, workers * 100_000 + number)  # type: ignore[arg-type]
        async with engine.connect() as connection:
            received = [count for _, count in await connection.execute(_RECEIVED)]
        if sum(1 for count in received if count) >= workers:
            return
        assert monotonic() < deadline, f"received so far: {received}"
        await asyncio.sleep(0.05)
