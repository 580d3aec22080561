"""The servers a benchmark runs on, as durable as in production, and databases prepared once and cloned."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.accounts import populate
from bench.cpu import cpu_seconds
from sandbox.servers import Postgres, RabbitMQ, Redis
from shared.db.engine import create_engine
from shared.db.schema import migrate

#: fsync and synchronous_commit stay on. Commit times tell when a record was debited, to the microsecond.
_SETTINGS = {"track_commit_timestamp": "on", "shared_buffers": "1GB", "max_wal_size": "8GB"}


@dataclass(frozen=True, slots=True)
class Rig:
    """PostgreSQL, RabbitMQ and Redis of a benchmark, and a place for logs."""

    postgres: Postgres
    rabbitmq: RabbitMQ
    redis: Redis
    place: Path
    _templates: dict[int, str]
    _numbers: Iterator[int]

    def database(self, accounts: int) -> str:
        """Return the URL of a new database with so many accounts."""
        if accounts not in self._templates:
            self._templates[accounts] = self._prepare(accounts)
        name = f"bench_{next(self._numbers)}"
        return self.postgres.create_database(name, template=self._templates[accounts])

    def drop(self, url: str) -> None:
        self.postgres.drop_database(url.rpartition("/")[2])

    def server_cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each server has used so far."""
        return {
            "postgres": cpu_seconds(self.postgres.pids()),
            "rabbitmq": cpu_seconds(self.rabbitmq.pids()),
            "redis": cpu_seconds(self.redis.pids()),
        }

    def _prepare(self, accounts: int) -> str:
        name = f"template_{accounts}"
        url = self.postgres.create_database(name)

        async def fill() -> None:
            engine = create_engine(url)
            await migrate(engine)
            await populate(engine, accounts)
            await engine.dispose()

        asyncio.run(fill())
        return name


@contextmanager
def running_rig() -> Iterator[Rig]:
    """Start the servers of a benchmark; they and all they hold are gone in the end."""
    with tempfile.TemporaryDirectory(prefix="payg-bench-", ignore_cleanup_errors=True) as directory:
        place = Path(directory)
        place.chmod(0o755)
        with (
            Postgres(place / "postgres", settings=_SETTINGS) as postgres,
            RabbitMQ(place / "rabbitmq") as rabbit,
            Redis(place / "redis") as redis,
        ):
            yield Rig(postgres, rabbit, redis, place, {}, count())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine, and dispose of it."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()
