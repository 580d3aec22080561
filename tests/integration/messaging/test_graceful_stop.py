"""SIGTERM under load: the processes stop in time, nothing that was done comes again, and nothing is lost."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from time import monotonic

import aio_pika
import pytest
from messaging_books import debited, event, open_books
from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.messaging.publisher import Publisher
from shared.messaging.topology import INTAKE_QUEUE, Stage, stage_queues

STAGES = (Stage.INTAKE, Stage.PRICING, Stage.DEBIT)
DEBIT_QUEUES = stage_queues(Stage.DEBIT, 4)
RECORDS = 3_000
SHUTDOWN_S = 10.0

#: Every stage passes the event on as it came, whatever it puts around it.
_ID = re.compile(r'"id":"(record-\d+)"')

Workers = dict[Stage, subprocess.Popen[bytes]]


@pytest.fixture
def workers(payg_env: dict[str, str], tmp_path: Path) -> Iterator[Workers]:
    # Small batches: many messages are under way in each process when it is told to stop.
    env = {**payg_env, "PAYG_BATCH_RECORDS": "5", "PAYG_INTAKE_PREFETCH": "20"}
    env["PAYG_SHUTDOWN_S"] = f"{SHUTDOWN_S:.0f}"
    payg = Path(sys.executable).parent / "payg"
    started = {}
    for stage in STAGES:
        with (tmp_path / f"{stage}.log").open("wb") as log:
            started[stage] = subprocess.Popen([payg, "worker", stage], env=env, stderr=log)
    yield started
    for process in started.values():
        process.kill()
        process.wait()


async def test_sigterm_under_load_repeats_nothing_and_loses_nothing(
    engine: AsyncEngine, broker_url: str, workers: Workers
) -> None:
    accounts = [await open_books(engine) for _ in range(8)]
    ids = {f"record-{number}" for number in range(RECORDS)}
    async with Publisher(broker_url, max_events=10) as publisher:
        await publisher.publish_all([event(each, accounts[int(each[-1]) % 8]) for each in sorted(ids)])

    async def under_way() -> bool:
        return len(await debited(engine)) > RECORDS // 20

    await eventually(under_way)
    told = monotonic()
    for process in workers.values():
        process.send_signal(signal.SIGTERM)
    ended = [await asyncio.to_thread(process.wait, 30) for process in workers.values()]
    assert monotonic() - told < SHUTDOWN_S
    assert ended == [0] * len(STAGES)

    places = {"the books": await debited(engine)}
    for name, queues in (("intake", [INTAKE_QUEUE]), ("pricing", ["pricing"]), ("debit", DEBIT_QUEUES)):
        places[name] = {each for queue in queues for each in await _ids_in(broker_url, queue)}
    assert len(places["the books"]) < RECORDS  # it was under load
    for (one, here), (other, there) in combinations(places.items(), 2):
        assert not here & there, f"done twice: in {one} and in {other}"
    assert set().union(*places.values()) == ids


async def _ids_in(url: str, queue: str) -> list[str]:
    """Return the ids of the records in a queue; what is not acknowledged goes back."""
    found: list[str] = []
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        waiting = await channel.declare_queue(queue, passive=True)
        async with waiting.iterator(timeout=10) as messages:
            for _ in range(waiting.declaration_result.message_count or 0):
                found.extend(_ID.findall((await anext(messages)).body.decode()))
    return found
