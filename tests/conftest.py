"""Real servers on private ports, started when a test first needs them; a database and a broker a test."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
import redis
from node_example import NodeExample
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, RabbitMQ, Redis
from shared.db.engine import create_engine
from shared.db.roles import API, AUDITOR, WORKERS
from shared.db.schema import migrate
from shared.settings import Settings

_TEMPLATE = "payg_template"
_numbers = count()

# Three tests and their servers share two processors: five seconds without an answer say nothing.
httpx._config.DEFAULT_TIMEOUT_CONFIG.read = 30  # noqa: SLF001 - what is given up for is no part of these tests


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="payg-tests-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres(servers_directory: Path) -> Iterator[Postgres]:
    """PostgreSQL from the wheel, with an empty migrated database to clone."""
    # Nothing kills this one (tests that do start their own), and a database a test means a thousand copies.
    with Postgres(servers_directory / "postgres", settings={"fsync": "off"}) as server:
        server.create_database(_TEMPLATE)

        async def prepare() -> None:
            engine = create_engine(server.url_of(_TEMPLATE))
            await migrate(engine)
            await engine.dispose()

        asyncio.run(prepare())
        # The processes of tests log in as these, and may no more than their roles.
        for user, role in (("workers", WORKERS), ("api", API), ("auditor", AUDITOR)):
            server.create_user(user, role)
        yield server


@pytest.fixture(scope="session")
def rabbitmq(servers_directory: Path) -> Iterator[RabbitMQ]:
    with RabbitMQ(servers_directory / "rabbitmq") as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(servers_directory: Path) -> Iterator[Redis]:
    with Redis(servers_directory / "redis") as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A migrated database of this test's own."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name, template=_TEMPLATE)
    yield postgres.url_of(name)
    postgres.drop_database(name)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def virtual_hosts(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Virtual hosts that nobody used, by their URLs, made by the dozen."""

    def fresh() -> Iterator[str]:
        while True:
            yield from rabbitmq.create_virtual_hosts(*(f"test{next(_numbers)}" for _ in range(12)))

    return fresh()


@pytest.fixture
def broker_url(virtual_hosts: Iterator[str]) -> str:
    """A virtual host of this test's own."""
    return next(virtual_hosts)


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """An empty Redis."""
    redis.Redis.from_url(redis_server.url).flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> NodeExample:
    return NodeExample(tmp_path_factory.mktemp("node"))


@pytest.fixture
def settings(database_url: str, broker_url: str) -> Settings:
    return Settings(database_url=database_url, broker_url=broker_url)


@pytest.fixture
def payg_env(database_url: str, broker_url: str) -> dict[str, str]:
    """The environment in which the command line finds this test's servers."""
    return {**os.environ, "PAYG_DATABASE_URL": database_url, "PAYG_BROKER_URL": broker_url}
