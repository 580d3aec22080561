"""Processes killed at random moments, the broker and the database crashed: the books are none the worse.

The number of kills is fixed; ``make chaos`` runs a longer campaign with PAYG_CHAOS_KILLS and other seeds.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_reference import assert_books_match
from e2e_traffic import drained, messages, prepare, publish
from sqlalchemy import text

from sandbox.servers import Postgres, RabbitMQ
from sandbox.supervisor import Supervisor, read_procfile
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.operations.audit import audit
from shared.settings import Settings

_KILLS = int(os.environ.get("PAYG_CHAOS_KILLS", "50"))
_SEED = int(os.environ.get("PAYG_CHAOS_SEED", "1"))
_BETWEEN_KILLS_S = 0.6
_RECORDS = 19_366
_PROCFILE = Path(__file__).parents[2] / "Procfile"


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path / "rabbitmq") as server:
        yield server


@pytest.mark.slow
async def test_fifty_kills_and_both_servers_crashed_lose_and_double_nothing(
    own_postgres: Postgres, own_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    settings = Settings(database_url=own_postgres.create_database("payg"), broker_url=own_rabbitmq.url)
    engine = create_engine(settings.database_url)
    await migrate(engine)
    events = await prepare(settings, accounts=60, records=_RECORDS, seed=_SEED)
    env = {"PAYG_DATABASE_URL": settings.database_url, "PAYG_BROKER_URL": settings.broker_url}
    stages = {name: command for name, command in read_procfile(_PROCFILE).items() if name != "api"}
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
    await assert_books_match(engine, events)
    assert (await audit(engine)).fault is None
    await engine.dispose()


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
