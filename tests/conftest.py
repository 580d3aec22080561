"""Real servers on private ports, started when a test first needs them; a database and a broker a test."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import redis
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, RabbitMQ, Redis
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.settings import Settings

_TEMPLATE = "payg_template"
_numbers = count()


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="payg-tests-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres(servers_directory: Path) -> Iterator[Postgres]:
    """PostgreSQL from the wheel, with an empty migrated database to clone."""
    with Postgres(servers_directory / "postgres") as server:
        server.create_database(_TEMPLATE)

        async def prepare() -> None:
            engine = create_engine(server.url_of(_TEMPLATE))
            await migrate(engine)
            await engine.dispose()

        asyncio.run(prepare())
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


@pytest.fixture
def broker_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """A virtual host of this test's own."""
    name = f"test{next(_numbers)}"
    rabbitmq.ctl("add_vhost", name)
    rabbitmq.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield f"{rabbitmq.url}{name}"
    rabbitmq.ctl("delete_vhost", name)


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """An empty Redis."""
    redis.Redis.from_url(redis_server.url).flushall()
    return redis_server.url


@pytest.fixture
def settings(database_url: str, broker_url: str) -> Settings:
    return Settings(database_url=database_url, broker_url=broker_url)


@pytest.fixture
def payg_env(database_url: str, broker_url: str) -> dict[str, str]:
    """The environment in which the command line finds this test's servers."""
    return {**os.environ, "PAYG_DATABASE_URL": database_url, "PAYG_BROKER_URL": broker_url}
