"""End to end: how many records a second go from a prefilled intake queue into the books.

Own PostgreSQL (fsync and synchronous_commit on) and RabbitMQ (quorum queues, confirms), one process a stage.
Per case: publish with the workers stopped, start them, and time from the first debit until the last record is
debited and evaluated.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import aio_pika
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.accounts import seed_accounts
from sandbox.servers import Postgres, RabbitMQ
from sandbox.supervisor import Supervisor
from sandbox.trace import read_trace, replay
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.db.evaluations import count_due
from shared.db.schema import migrate
from shared.gateways.genai_prices import catalog
from shared.messaging.topology import USAGE_EXCHANGE, USAGE_ROUTING_KEY, Stage
from shared.messaging.transport import open_transport
from shared.operations.audit import audit
from shared.operations.prices import import_models
from shared.settings import Settings

ACCOUNTS = 1_000
_TIMEOUT_S = 300.0
_COUNT = text("SELECT count(*) FROM usage_ids")


@dataclass(frozen=True, slots=True)
class Case:
    """One way to send the same records."""

    name: str
    records: int
    events_per_message: int
    hot: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a case measured."""

    name: str
    records: int
    events_per_message: int
    seconds: float
    records_per_s: float
    audit_ok: bool


CASES = (
    Case("500 a message, 1,000 accounts", 100_000, 500),
    Case("50 a message, 1,000 accounts", 50_000, 50),
    Case("1 a message, 1,000 accounts", 20_000, 1),
    Case("500 a message, one hot account", 100_000, 500, hot=True),
)


def run_bench(console: Console) -> list[Result]:
    """Run all cases, each on an empty database."""
    results = []
    with tempfile.TemporaryDirectory(prefix="payg-bench-", ignore_cleanup_errors=True) as directory:
        place = Path(directory)
        with Postgres(place / "postgres") as postgres, RabbitMQ(place / "rabbitmq") as rabbitmq:
            for number, case in enumerate(CASES):
                console.print(f"{case.name}: {case.records:,} records …")
                settings = Settings(
                    database_url=postgres.create_database(f"bench_{number}"), broker_url=rabbitmq.url
                )
                results.append(asyncio.run(_run(case, settings, place / f"logs-{number}")))
                console.print(f"  {results[-1].records_per_s:,.0f} records/s")
    return results


async def _run(case: Case, settings: Settings, logs: Path) -> Result:
    engine = create_engine(settings.database_url)
    await migrate(engine)
    await import_models(engine, "genai-prices", catalog())
    seeded = await seed_accounts(engine, settings, 1 if case.hot else ACCOUNTS, seed=1)
    payers = [account.payers[0] for account in seeded]
    await _prefill(settings.broker_url, _events(case, payers), case.events_per_message)
    env = {"PAYG_DATABASE_URL": settings.database_url, "PAYG_BROKER_URL": settings.broker_url}
    stages = (Stage.INTAKE, Stage.PRICING, Stage.DEBIT, Stage.THRESHOLDS, Stage.NOTIFICATIONS)
    commands = {"clock": "payg clock"} | {str(stage): f"payg worker {stage}" for stage in stages}
    with Supervisor(commands, env, logs=logs):
        await _until(engine, 1)
        started, first = monotonic(), await _debited(engine)
        await _until(engine, case.records)
        await _until_evaluated(engine)
        seconds = monotonic() - started
    report = await audit(engine)
    await engine.dispose()
    return Result(
        case.name,
        case.records,
        case.events_per_message,
        round(seconds, 2),
        round((case.records - first) / seconds, 1),
        report.ok and report.usage_records == case.records,
    )


def _events(case: Case, payers: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    requests = read_trace()
    events: list[dict[str, Any]] = []
    seed = 0
    while len(events) < case.records:
        events += replay(requests, payers, utc_now(), seed)
        seed += 1
    return events[: case.records]


async def _prefill(broker_url: str, events: Sequence[dict[str, Any]], per_message: int) -> None:
    async with open_transport(broker_url):
        pass
    connection = await aio_pika.connect(broker_url)
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange(USAGE_EXCHANGE, ensure=False)
        bodies = [
            json.dumps(events[start : start + per_message], default=str).replace("+00:00", "Z").encode()
            for start in range(0, len(events), per_message)
        ]
        for start in range(0, len(bodies), 200):
            await asyncio.gather(
                *(
                    exchange.publish(aio_pika.Message(body, delivery_mode=2), USAGE_ROUTING_KEY)
                    for body in bodies[start : start + 200]
                )
            )


async def _until(engine: AsyncEngine, records: int) -> None:
    deadline = monotonic() + _TIMEOUT_S
    while await _debited(engine) < records:
        if monotonic() > deadline:
            raise TimeoutError(f"not debited within {_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.05)


async def _until_evaluated(engine: AsyncEngine) -> None:
    deadline = monotonic() + _TIMEOUT_S
    while True:
        async with engine.connect() as connection:
            if not await count_due(connection):
                return
        if monotonic() > deadline:
            raise TimeoutError(f"not evaluated within {_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.05)


async def _debited(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        count: int = (await connection.execute(_COUNT)).scalar_one()
    return count


def as_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the results as plain rows."""
    return [asdict(result) for result in results]
