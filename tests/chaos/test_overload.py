"""More than the processes can take: it queues, in bounded memory, and drains; the HTTP tier refuses in time.

All processes run for real, on a PostgreSQL of their own that goes away meanwhile.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import aio_pika
import httpx
import pytest
from e2e_traffic import drained, publish
from polling import answers, eventually, until
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, free_port
from sandbox.supervisor import Supervisor, read_procfile
from shared.db.engine import create_engine
from shared.db.processes import list_processes
from shared.db.schema import migrate
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.messaging.connect import open_transport
from shared.messaging.lane import MERGED_MESSAGES
from shared.messaging.publisher import usage_event
from shared.messaging.topology import Stage, stage_queues
from shared.operations.accounts import create_account
from shared.operations.audit import audit
from shared.operations.money import credit_account
from shared.operations.prices import set_price
from shared.settings import Settings
from workers.reports import REPORT_EVERY_S

_PROCFILE = Path(__file__).parents[2] / "Procfile"
_MODEL = "test-model"
_ACCOUNTS = 40
_A_MESSAGE = 50
_MEASURED = 2_000
_INTAKE_PREFETCH = 20
_TIMES_CAPACITY = 10
_AWAY_S = 3.0
_MAX_GROWTH_BYTES = 64 * 2**20
_IN_FLIGHT = 10
_CLIENTS = 150
#: In a process of its own, as a kubelet's: the flood's clients take their time too.
_PROBES = """
import sys, time, urllib.request
slowest = 0.0
for _ in range(10):
    time.sleep(0.1)
    began = time.monotonic()
    assert urllib.request.urlopen(sys.argv[1], timeout=30).status == 200
    slowest = max(slowest, time.monotonic() - began)
print(slowest)
"""
_COUNT = text("SELECT count(*) FROM usage_records")


@dataclass(frozen=True)
class Running:
    """All processes, the server they can be parted from, and the accounts that pay."""

    settings: Settings
    postgres: Postgres
    processes: Supervisor
    api_url: str
    api_key: str
    account_ids: Sequence[str]

    def events(self, count: int, name: str) -> list[bytes]:
        """Return the bodies of messages that carry so many records between them."""
        events = [
            usage_event(
                id=f"{name}-{number}",
                model=_MODEL,
                account_id=self.account_ids[number % _ACCOUNTS],
                input_tokens=1 + number % 1_000,
            )
            for number in range(count)
        ]
        parts = (events[start : start + _A_MESSAGE] for start in range(0, count, _A_MESSAGE))
        return [json.dumps(part, default=str).encode() for part in parts]

    async def publish(self, bodies: Sequence[bytes]) -> None:
        await publish(self.settings.broker_url, bodies)

    async def drained(self, engine: AsyncEngine) -> None:
        assert await drained(engine, self.settings, timeout_s=60) is None

    def memory_peaks(self) -> dict[str, int]:
        """Return the most memory each process ever had, in bytes."""
        return {name: _peak_bytes(pid) for name, pid in self.processes.pids().items()}


@pytest.fixture(scope="module")
def running(virtual_hosts: Iterator[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("overload")
    with Postgres(place / "postgres") as postgres:
        port = free_port()
        env = {
            "PAYG_DATABASE_URL": postgres.create_database("payg"),
            "PAYG_BROKER_URL": next(virtual_hosts),
            "PAYG_API_PORT": str(port),
            "PAYG_INTAKE_PREFETCH": str(_INTAKE_PREFETCH),
            "PAYG_BATCH_RECORDS": str(_A_MESSAGE),
            "PAYG_MAX_IN_FLIGHT": str(_IN_FLIGHT),
            "PAYG_RATE_LIMIT_PER_S": "0",
        }
        settings = Settings(**{name.removeprefix("PAYG_").lower(): value for name, value in env.items()})
        api_key, account_ids = asyncio.run(_prepare(settings))
        commands = {name: line for name, line in read_procfile(_PROCFILE).items() if name != "topup"}
        with Supervisor(commands, env, logs=place / "logs") as processes:
            yield Running(settings, postgres, processes, f"http://127.0.0.1:{port}", api_key, account_ids)


async def _prepare(settings: Settings) -> tuple[str, list[str]]:
    engine = create_engine(settings.database_url)
    await migrate(engine)
    rates = {"input": 1_000 * 10**6, "output": 1_000 * 10**6}
    await set_price(engine, None, _MODEL, TokenRates.inherit(rates), None)
    opened = [await create_account(engine, name=f"account {number}") for number in range(_ACCOUNTS)]
    for account_id, _ in opened:
        await credit_account(
            engine, account_id, 1_000 * NANOS_PER_DOLLAR, "opening", settings.late_record_grace
        )
    await engine.dispose()
    # The queue exists before the first message: an exchange drops what it cannot route.
    async with open_transport(settings.broker_url):
        pass
    return opened[0][1].api_key, [account_id for account_id, _ in opened]


@pytest.fixture
async def books(running: Running) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(running.settings.database_url)
    yield engine
    await engine.dispose()


@pytest.mark.slow
async def test_ten_times_what_can_be_debited_queues_and_drains_while_the_database_goes_away(
    running: Running, books: AsyncEngine
) -> None:
    await running.publish(running.events(_A_MESSAGE, "warm"))
    await running.drained(books)
    started = monotonic()
    await running.publish(running.events(_MEASURED, "measured"))
    await running.drained(books)
    burst = int(_TIMES_CAPACITY * _MEASURED / (monotonic() - started))
    before = running.memory_peaks()

    publishing = asyncio.create_task(running.publish(running.events(burst, "burst")))
    await asyncio.sleep(1)
    await asyncio.to_thread(running.postgres.kill)
    await asyncio.sleep(_AWAY_S)
    await asyncio.to_thread(running.postgres.start)
    await publishing
    await books.dispose()  # our connections broke as well
    held = await _most_held(books, running.drained(books))

    assert await _debited(books) == _A_MESSAGE + _MEASURED + burst
    assert (await audit(books)).fault is None
    assert not any(running.processes.deaths.values()), running.processes.deaths
    growth = {name: peak - before[name] for name, peak in running.memory_peaks().items()}
    for stage, messages in held.items():
        queues = len(stage_queues(Stage(stage), running.settings.debit_queues))
        most = _INTAKE_PREFETCH if stage == Stage.INTAKE else 2 * MERGED_MESSAGES * queues
        assert messages <= most, held
    assert max(growth.values()) < _MAX_GROWTH_BYTES, growth


@pytest.mark.slow
async def test_poison_never_blocks_a_queue(running: Running, books: AsyncEngine) -> None:
    queues = [queue for stage in Stage for queue in stage_queues(stage, running.settings.debit_queues)]
    stage_of = {
        queue: stage for stage in Stage for queue in stage_queues(stage, running.settings.debit_queues)
    }
    debited_before = await _debited(books)
    poisoned = [queue for queue in queues if queue not in ("usage.intake", "topup")]
    for _ in range(3):
        for queue in poisoned:
            await _send(running.settings.broker_url, queue, b"\xffgarbage")
            await _send(
                running.settings.broker_url, queue, _message(stage_of[queue], queue, {"poison": True})
            )
        await running.publish([b"\xffgarbage", b"[" * 10_000, b'{"specversion": "1.0"}'])
    await running.publish(running.events(500, "behind poison"))
    await running.drained(books)
    assert await _debited(books) == debited_before + 500
    async with open_transport(running.settings.broker_url) as transport:
        dead = Counter([letter.queue async for letter in transport.dead_letters(queues)])
    assert dead == dict.fromkeys(poisoned, 6)


async def _most_held(engine: AsyncEngine, work: Coroutine[Any, Any, None]) -> dict[str, int]:
    """Return the most messages that a process of each stage said it held, until the work is done."""
    most: Counter[str] = Counter()
    task = asyncio.create_task(work)
    while not task.done():
        async with engine.connect() as connection:
            for row in await list_processes(connection):
                most[row["stage"]] = max(most[row["stage"]], row["in_flight"])
        await asyncio.wait([task], timeout=REPORT_EVERY_S)
    await task
    return dict(most)


def _message(stage: Stage, queue: str, element: object) -> bytes:
    envelope = {
        "queue_name": queue,
        "actor_name": str(stage),
        "args": [[element]],
        "kwargs": {},
        "options": {},
        "message_id": "poison",
        "message_timestamp": 0,
    }
    return json.dumps(envelope).encode()


async def _send(broker_url: str, queue: str, body: bytes) -> None:
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        await channel.default_exchange.publish(aio_pika.Message(body), queue)


@pytest.mark.slow
async def test_the_http_tier_refuses_what_is_too_much_and_stays_up(running: Running) -> None:
    key = {"Authorization": f"Bearer {running.api_key}"}
    limits = httpx.Limits(max_connections=None)
    until(lambda: answers(f"{running.api_url}/readyz"))
    async with httpx.AsyncClient(base_url=running.api_url, timeout=30, limits=limits) as client:
        assert (await client.get("/v1/billing/balance", headers=key)).status_code == 200
        before = running.memory_peaks()["api"]
        running.postgres.pause()
        try:
            flood = [
                asyncio.create_task(client.get("/v1/billing/balance", headers=key)) for _ in range(_CLIENTS)
            ]
            slowest_s = await _slowest_probe_s(running.api_url)
            await eventually(lambda: sum(asked.done() for asked in flood) >= _CLIENTS - _IN_FLIGHT)
            refused = [asked.result() for asked in flood if asked.done()]
        finally:
            running.postgres.resume()
        for answer in refused:
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        assert {answer.status_code for answer in await asyncio.gather(*flood)} == {200, 503}
        assert slowest_s < 2
        assert (await client.get("/v1/billing/balance", headers=key)).status_code == 200
    assert running.memory_peaks()["api"] - before < _MAX_GROWTH_BYTES


async def _slowest_probe_s(api_url: str) -> float:
    probes = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROBES, f"{api_url}/healthz"), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await probes.communicate()
    assert probes.returncode == 0
    return float(said)


async def _debited(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(_COUNT)).scalar_one())


def _peak_bytes(pid: int) -> int:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024
