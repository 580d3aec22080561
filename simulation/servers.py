"""The servers of runs: PostgreSQL, Redis and Stripe's stand-in, each private, with one clock."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sandbox.servers import Postgres, Redis
from simulation.database import SimulatedDatabase, open_database, prepare
from simulation.model import START
from simulation.redis import SimulatedRedis
from simulation.scheduler import Scheduler
from simulation.stripe import SimulatedStripe

_TEMPLATE = "simulation"
# The same rows in the same order, run after run: nothing tidies up at a time of its own, and how a statement
# is executed depends on what the tables hold, not on what was executed before.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "plan_cache_mode": "force_custom_plan",
}
_IN_MEMORY, _NEEDED_BYTES = Path("/dev/shm"), 2**30  # noqa: S108 - a directory of our own in it


class Place(NamedTuple):
    """Where one process runs: no two share a place."""

    database_url: str
    redis_url: str


@contextmanager
def places(number: int = 1) -> Iterator[list[Place]]:
    """Start servers that hold the prices and plans of every run; yield so many places.

    They are in memory where there is room: to empty a database is work for the file system.
    """
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _NEEDED_BYTES
    root = tempfile.TemporaryDirectory(
        prefix="payg-simulation-", dir=_IN_MEMORY if roomy else None, ignore_cleanup_errors=True
    )
    with root as directory:
        Path(directory).chmod(0o755)
        with (
            Postgres(Path(directory) / "postgres", settings=_SETTINGS) as postgres,
            Redis(Path(directory) / "redis") as redis,
        ):
            asyncio.run(prepare(postgres.create_database(_TEMPLATE)))
            yield [_place(postgres, redis, each) for each in range(number)]


def _place(postgres: Postgres, redis: Redis, number: int) -> Place:
    database = postgres.create_database(f"simulation_{number}", template=_TEMPLATE)
    return Place(database, f"{redis.url.rpartition('/')[0]}/{number}")


@dataclass
class Clock:
    """The time of a run. Only its own move it; the servers read it too."""

    database: SimulatedDatabase
    redis: SimulatedRedis
    now: datetime = START

    async def set(self, now: datetime) -> None:
        """Make it that time."""
        self.now = now
        await self.database.set_clock(now)
        self.redis.set_clock(now)

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.set(self.now + timedelta(seconds=seconds))


@dataclass(frozen=True, slots=True)
class Servers:
    """What a run needs, for any number of runs one after another."""

    database: SimulatedDatabase
    redis: SimulatedRedis
    stripe: SimulatedStripe
    clock: Clock

    async def start(self, scheduler: Scheduler) -> None:
        """Empty all of them for a run in which this scheduler says whose turn it is."""
        await self.database.start(scheduler)
        self.redis.start(scheduler)
        self.stripe.start(scheduler, lambda: self.clock.now)


@asynccontextmanager
async def open_servers(place: Place) -> AsyncIterator[Servers]:
    """Connect to the servers of a place."""
    redis = SimulatedRedis(place.redis_url)
    try:
        async with open_database(place.database_url) as database:
            yield Servers(database, redis, SimulatedStripe(), Clock(database, redis))
    finally:
        await redis.close()
