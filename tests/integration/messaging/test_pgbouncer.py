"""Behind a real pgbouncer that lends connections for a transaction, on the PostgreSQL settings of deploy/."""

import configparser
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from messaging_books import debited, event, open_books
from polling import eventually
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, free_port
from sandbox.supervisor import Supervisor
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.messaging.publisher import Publisher
from shared.operations.audit import audit

DEPLOY = Path(__file__).parents[3] / "deploy"
STAGES = ("intake", "pricing", "debit", "thresholds", "notifications")
#: Of the sizes a small machine cannot have.
SMALLER = {"shared_buffers": "64MB", "maintenance_work_mem": "64MB"}


def configured() -> dict[str, str]:
    """Return the settings of deploy/postgres/postgresql.conf."""
    lines = (line.partition("#")[0].partition("=") for line in (DEPLOY / "postgres/postgresql.conf").open())
    return {name.strip(): value.strip().strip("'") for name, _, value in lines if value}


@pytest.fixture(scope="module")
def tuned(servers_directory: Path) -> Iterator[Postgres]:
    with Postgres(servers_directory / "tuned-postgres", settings=configured() | SMALLER) as server:
        server.create_database("payg")
        yield server


@pytest.fixture(scope="module")
def pooled_url(tuned: Postgres) -> Iterator[str]:
    """Two connections for whoever comes: transactions of many clients take turns on them."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(DEPLOY / "pgbouncer/pgbouncer.ini")
    port = free_port()
    config["databases"] = {"payg": f"host=127.0.0.1 port={tuned.port} dbname=payg user=payg"}
    config["pgbouncer"].update({"listen_addr": "127.0.0.1", "listen_port": str(port), "auth_type": "any"})
    config["pgbouncer"].update({"default_pool_size": "2", "reserve_pool_size": "0", "unix_socket_dir": ""})
    del config["pgbouncer"]["auth_file"]
    with tempfile.TemporaryDirectory(prefix="payg-pgbouncer-") as place:
        Path(place).chmod(0o755)  # it refuses to be root, and must read this
        ini = Path(place) / "pgbouncer.ini"
        with ini.open("w") as file:
            config.write(file)
        drop = ["-u", "nobody"] if os.geteuid() == 0 else []
        with (Path(place) / "log").open("wb") as log:
            process = subprocess.Popen(["/usr/sbin/pgbouncer", *drop, ini], stdout=log, stderr=log)
        yield f"postgresql://payg@127.0.0.1:{port}/payg?pgbouncer=true"
        process.terminate()
        process.wait()


async def test_postgresql_takes_every_setting(tuned: Postgres) -> None:
    connection = await asyncpg.connect(tuned.url)
    taken = await connection.fetch("SELECT name FROM pg_settings WHERE source = 'command line'")
    assert configured().keys() <= {row["name"].lower() for row in taken}
    await connection.close()


async def test_the_pipeline_works_where_no_connection_outlives_its_transaction(
    pooled_url: str, broker_url: str, tmp_path: Path
) -> None:
    engine = create_engine(pooled_url)
    await eventually(lambda: migrated(engine))
    accounts = [await open_books(engine) for _ in range(4)]
    ids = {f"pooled-{number}": accounts[number % 4] for number in range(400)}
    env = {"PAYG_DATABASE_URL": pooled_url, "PAYG_BROKER_URL": broker_url}
    with Supervisor({stage: f"payg worker {stage}" for stage in STAGES}, env, logs=tmp_path) as workers:
        async with Publisher(broker_url, max_events=5) as publisher:
            await publisher.publish_all([event(each, payer) for each, payer in ids.items()])

        async def done() -> bool:
            return await debited(engine) == ids.keys()

        await eventually(done)
    assert (await audit(engine)).fault is None
    assert not [name for name, deaths in workers.deaths.items() if deaths]
    for stage in STAGES:
        assert "prepared statement" not in (tmp_path / f"{stage}.log").read_text()
    await engine.dispose()


async def migrated(engine: AsyncEngine) -> bool:
    """Return whether pgbouncer is there, with the schema made through it."""
    with suppress(OSError, asyncpg.PostgresError):
        await migrate(engine)
        return True
    return False


@pytest.mark.parametrize("said", ["?pgbouncer=true", ""])
async def test_a_statement_that_is_kept_is_not_there_on_another_connection(
    pooled_url: str, said: str
) -> None:
    url = pooled_url.removesuffix("?pgbouncer=true") + said
    one, other = create_engine(url), create_engine(url)
    again = text("SELECT 1 + :number")

    async def ask(engine: AsyncEngine) -> int:
        async with engine.connect() as connection:
            return int((await connection.execute(again, {"number": 1})).scalar_one())

    assert await ask(one) == 2
    async with other.connect() as connection:
        await connection.execute(text("SELECT 2"))  # it has the connection now that the first one had
        if said:
            assert await ask(one) == 2
        else:
            with pytest.raises(DBAPIError, match="prepared statement"):
                await ask(one)
    await one.dispose()
    await other.dispose()
