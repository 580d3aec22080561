"""A whole system that has met everything an operator watches, for the tests that look at it."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from gate_api import Client
from messaging_books import MODEL, event
from polling import answers, eventually
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import free_port
from sandbox.supervisor import Supervisor
from shared.db.engine import create_engine
from shared.db.operations_view import last_looks
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.messaging.connect import open_transport
from shared.messaging.envelope import StageMessage
from shared.messaging.publisher import Publisher
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage, dead_letter_queue
from shared.operations.accounts import create_account
from shared.operations.audit import audit, note_audit
from shared.operations.drain import drain
from shared.operations.money import credit_account
from shared.operations.prices import set_price
from shared.settings import Settings

DEBIT_QUEUES = 2

#: Values by name and labels.
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Seen:
    """The system: how a command reaches it, where it shows its metrics, and the account it debits."""

    env: Mapping[str, str]
    targets: tuple[str, ...]
    account_id: str
    api_key: str

    def scrape(self) -> Samples:
        """Return what all processes show now, summed where several show the same."""
        found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for target in self.targets:
            page = httpx.get(f"http://{target}/metrics").text
            for sample in (s for f in text_string_to_metric_families(page) for s in f.samples):
                key = (sample.name, frozenset(sample.labels.items()))
                found[key] = found.get(key, 0.0) + sample.value
        return found


def sample(found: Samples, name: str, **labels: str) -> float | None:
    """Return the value of one series, None where there is none."""
    return found.get((name, frozenset(labels.items())))


@contextmanager
def seen_system(database_url: str, broker_url: str, logs: Path) -> Iterator[Seen]:
    """Run every process; debit three records of one account, and let every other kind go wrong once."""
    base, api_port = free_port(), free_port()
    env = {
        "PAYG_DATABASE_URL": database_url,
        "PAYG_BROKER_URL": broker_url,
        "PAYG_DEBIT_QUEUES": str(DEBIT_QUEUES),
        "PAYG_METRICS_PORT": str(base),
        "PAYG_API_PORT": str(api_port),
    }
    commands = {"clock": "payg clock"} | {stage: f"payg worker {stage}" for stage in map(str, Stage)}
    settings = Settings(database_url=database_url, broker_url=broker_url, debit_queues=DEBIT_QUEUES)
    api = f"127.0.0.1:{api_port}"
    with Supervisor(commands | {"api": "payg api"}, env, logs=logs):
        account_id, api_key, ports = asyncio.run(
            _meet_everything(settings, f"http://{api}", base, len(commands))
        )
        targets = (*(f"127.0.0.1:{port}" for port in ports), api)
        yield Seen(env, targets, account_id, api_key)


async def _meet_everything(
    settings: Settings, url: str, base: int, processes: int
) -> tuple[str, str, list[int]]:
    engine = create_engine(settings.database_url)
    rates = TokenRates.inherit({"input": 10**13, "output": 10**13})  # a cent a token
    await set_price(engine, None, MODEL, rates, None)
    account_id, key = await create_account(engine)
    await credit_account(engine, account_id, 25 * NANOS_PER_DOLLAR, "opening", timedelta(hours=1))
    ports = await eventually(lambda: _ports(base, processes))
    await eventually(lambda: answers(f"{url}/readyz"))
    hold = await _hold(url, key.api_key)
    await _publish(settings.broker_url, account_id, hold)
    _leave_a_dead_letter(settings.broker_url)
    async with open_transport(settings.broker_url) as transport:
        assert await drain(engine, transport, DEBIT_QUEUES, 60) is None
    await note_audit(engine, await audit(engine))
    await eventually(lambda: _looked_again(engine))
    await engine.dispose()
    return account_id, key.api_key, ports


async def _hold(url: str, api_key: str) -> str:
    gateway = Client(url, api_key)
    answer = await gateway.http.post(
        "/v1/authorize", json={"model": MODEL, "input_tokens": 1, "max_output_tokens": 1}
    )
    await gateway.http.aclose()
    hold_id: str = answer.json()["hold_id"]
    return hold_id


def _ports(base: int, processes: int) -> list[int]:
    """Return where the processes show their metrics, once all do."""
    found = []
    for port in range(base, base + 2 * processes):
        try:
            if "payg_" in httpx.get(f"http://127.0.0.1:{port}/metrics").text:
                found.append(port)
        except httpx.HTTPError:
            continue
    return found if len(found) == processes else []


async def _publish(broker_url: str, account_id: str, hold_id: str) -> None:
    good = event("req_1", account_id, input_tokens=200, hold_id=hold_id)
    async with Publisher(broker_url) as publisher:
        await publisher.publish_all(
            [good, *(event(f"req_{n}", account_id, input_tokens=200) for n in (2, 3))]
        )
        await publisher.publish(good)
        await publisher.publish(event("req_1", account_id, input_tokens=999))
        await publisher.publish(event("req_4", account_id, model="nobody-knows"))
        await publisher.publish({"specversion": "1.0", "id": "req_5"})


def _leave_a_dead_letter(broker_url: str) -> None:
    broker = stage_broker(broker_url)
    broker.declare_queue("pricing")
    message = StageMessage(Stage.PRICING, "pricing", ["nonsense"]).encode()
    broker.channel.basic_publish("", dead_letter_queue("pricing"), message.encode())  # type: ignore[attr-defined]
    broker.close()


async def _looked_again(engine: AsyncEngine) -> bool:
    """Return whether the clock saw what happened."""
    async with engine.connect() as connection:
        looks = await last_looks(connection)
    return bool(looks) and looks["pricing"]["dead"] == 1
