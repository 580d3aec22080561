"""Processes killed at random moments, broker and database crashed: books, top-ups and alerts hold.

The number of kills is fixed; ``make kills`` runs a longer campaign with PAYG_CHAOS_KILLS and other seeds.
"""

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from e2e_reference import assert_books_match
from e2e_traffic import drained, messages, prepare, publish, subscribed
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.model import expected_alerts, topup_faults
from sandbox.servers import Postgres, RabbitMQ
from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls
from sandbox.supervisor import Supervisor, read_procfile
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.operations.audit import audit
from shared.settings import Settings

_KILLS = int(os.environ.get("PAYG_CHAOS_KILLS", "30"))
_SEED = int(os.environ.get("PAYG_CHAOS_SEED", "1"))
_BETWEEN_KILLS_S = 0.6
_RECORDS = 19_366
_TOPUPS = text("SELECT count(*) FROM transfers WHERE kind = 'topup'")
_PROCFILE = Path(__file__).parents[2] / "Procfile"


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def own_stripe(tmp_path: Path) -> Iterator[FakeStripe]:
    with FakeStripe(tmp_path / "stripe") as server:
        yield server


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path / "rabbitmq") as server:
        yield server


@pytest.mark.slow
async def test_fifty_kills_and_both_servers_crashed_lose_and_double_nothing(
    own_postgres: Postgres, own_rabbitmq: RabbitMQ, own_stripe: FakeStripe, tmp_path: Path
) -> None:
    env = {
        "PAYG_DATABASE_URL": own_postgres.create_database("payg"),
        "PAYG_BROKER_URL": own_rabbitmq.url,
        "PAYG_STRIPE_API_KEY": "sk_test_chaos",
        "PAYG_STRIPE_API_BASE": own_stripe.url,
    }
    settings = Settings(**{name.removeprefix("PAYG_").lower(): value for name, value in env.items()})
    engine = create_engine(settings.database_url)
    await migrate(engine)
    events = await prepare(settings, accounts=60, records=_RECORDS, seed=_SEED)
    stages = {name: command for name, command in read_procfile(_PROCFILE).items() if name != "api"}
    async with subscribed(settings.broker_url) as heard:
        with Supervisor(stages, env, scale={"debit": 2}, logs=tmp_path / "logs") as processes:
            bodies = messages(events, seed=_SEED)
            publishing = asyncio.create_task(
                publish(settings.broker_url, bodies, over_s=_KILLS * _BETWEEN_KILLS_S)
            )
            await _disturb(processes, own_postgres, own_rabbitmq)
            await publishing
            assert await drained(engine, settings, timeout_s=180) is None
            async with engine.connect() as connection:
                assert (
                    await connection.execute(text("SELECT count(*) FROM usage_records"))
                ).scalar_one() == _RECORDS
            assert sum(map(len, processes.deaths.values())) >= _KILLS
        await _assert_heard(engine, heard)
    await assert_books_match(engine, events)
    assert (await audit(engine)).fault is None
    assert await topup_faults(engine) == []
    async with engine.connect() as connection:
        topups = (await connection.execute(_TOPUPS)).scalar_one()
    with Controls(own_stripe.url) as controls:
        charged = [charge for charge in controls.charges() if charge["status"] == "succeeded"]
    assert len(charged) == topups > 0
    await engine.dispose()


async def _assert_heard(engine: AsyncEngine, heard: Sequence[dict[str, Any]]) -> None:
    """After dropping known ids and sorting by sequence, a consumer has exactly what the books lead to."""
    expected = await expected_alerts(engine)
    wanted = sum(map(len, expected.values()))
    for _ in range(100):
        if len({event["id"] for event in heard}) >= wanted:
            break
        await asyncio.sleep(0.1)  # acknowledged by the broker, on its way to us
    told: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for event in sorted({event["id"]: event for event in heard}.values(), key=itemgetter("sequence")):
        kind = event["type"].removeprefix("payg.").removesuffix(".v1")
        told[event["data"]["account_id"]].append((kind, event["data"]["transfer_seq"]))
    assert {a: sorted(t) for a, t in told.items() if t} == {a: sorted(t) for a, t in expected.items() if t}


async def _disturb(processes: Supervisor, postgres: Postgres, rabbitmq: RabbitMQ) -> None:
    choose = random.Random(_SEED)
    for kill in range(_KILLS):
        await asyncio.sleep(_BETWEEN_KILLS_S * (0.5 + choose.random()))
        if kill == _KILLS // 3:
            await asyncio.to_thread(_crash, postgres)
        if kill == 2 * _KILLS // 3:
            await asyncio.to_thread(_crash, rabbitmq)
        processes.kill(choose.choice(await _running(processes)))


async def _running(processes: Supervisor) -> list[str]:
    """Return the processes that run, once there are any."""
    for _ in range(200):
        if running := list(processes.pids()):
            return running
        await asyncio.sleep(0.05)  # the supervisor starts them again
    raise AssertionError("no process was started again within ten seconds")


def _crash(server: Postgres | RabbitMQ) -> None:
    server.kill()
    server.start()
