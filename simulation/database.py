"""A real database whose clock is ours, whose connections break when told, and where statements take turns."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from sandbox.servers import Postgres
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.domain.pricing import TokenRates
from shared.operations.accounts import create_plan
from shared.operations.periods import keep_periods
from shared.operations.prices import set_price
from simulation.model import ACCOUNTS, MODEL, NEW_PRICE, OLD_PRICE, PROVIDER, START
from simulation.scheduler import Scheduler

NAME = "simulation"
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_LOST_PERCENT = 1
_CONNECTIONS = 16

# Functions of these names that stand before PostgreSQL's own in the search path: all SQL reads our clock.
_CLOCK = """
    CREATE SCHEMA simulated;
    CREATE TABLE simulated.clock (now timestamptz NOT NULL);
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS 'SELECT now FROM simulated.clock';
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now FROM simulated.clock';
    ALTER DATABASE simulation SET search_path = public, simulated, pg_catalog;
"""
# Defaults were bound to PostgreSQL's functions when the tables were made.
_DEFAULTS = """
    SELECT d.adrelid::regclass::text AS relation, quote_ident(a.attname) AS column_name
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE pg_get_expr(d.adbin, d.adrelid) IN ('now()', 'clock_timestamp()')
"""
_EMPTIED = """
    TRUNCATE accounts, api_keys, cycles, transfers, usage_ids, usage_records, evaluations, due_evaluations,
             alerts, quarantine RESTART IDENTITY CASCADE
"""


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """Start a PostgreSQL that holds the prices and plans of every run; yield the URL of its database."""
    with Postgres(directory, settings=_SETTINGS) as postgres:
        url = postgres.create_database(NAME)
        asyncio.run(_prepare(url))
        yield url


async def _prepare(url: str) -> None:
    engine = create_engine(url)
    await migrate(engine)
    await engine.dispose()
    connection = await asyncpg.connect(url)
    await connection.execute(_CLOCK)
    await connection.execute("INSERT INTO simulated.clock VALUES ($1)", START)
    for relation, column in await connection.fetch(_DEFAULTS):
        default = f"ALTER TABLE {relation} ALTER COLUMN {column} SET DEFAULT simulated.clock_timestamp()"
        await connection.execute(default)
    await connection.close()
    engine = create_engine(url)
    await keep_periods(engine, START)
    for start, price in ((None, OLD_PRICE), (START, NEW_PRICE)):
        rates = TokenRates.inherit({"input": price * 10**6})
        await set_price(engine, PROVIDER, MODEL, rates, start)
    for account in ACCOUNTS:
        if account.quota is not None:
            name = plan_of(account.account_id)
            await create_plan(
                engine, name, quota_nanos=account.quota, price_nanos=0, discount_ppm=0, zone="UTC"
            )
    await engine.dispose()


def plan_of(account_id: str) -> str:
    """Return the name of the plan that an account with a quota has."""
    return f"plan of {account_id}"


class SimulatedClock:
    """The time of a run. Only its own move it; the database reads it too."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection
        self.now = START

    async def set(self, now: datetime) -> None:
        """Make it that time."""
        self.now = now
        await self._connection.execute("UPDATE simulated.clock SET now = $1", now)

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.set(self.now + timedelta(seconds=seconds))


@dataclass
class SimulatedDatabase:
    """Connections of the stages, each statement of which takes its turn, and one that only looks on."""

    engine: AsyncEngine
    observer: "asyncpg.Connection"
    scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Empty the books for a run, in which this scheduler says whose turn it is."""
        self.scheduler = scheduler
        await self.observer.execute(_EMPTIED)


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[SimulatedDatabase]:
    """Connect for any number of runs, one after another."""
    engine = create_engine(url, application="payg simulation", pool_size=_CONNECTIONS)
    database = SimulatedDatabase(engine, await asyncpg.connect(url))
    _take_turns(database)
    try:
        yield database
    finally:
        await engine.dispose()
        await database.observer.close()


def _take_turns(database: SimulatedDatabase) -> None:
    """Make each statement a point where work stands still, may die, or loses its connection."""

    def before_begin(_connection: Connection) -> None:
        if database.scheduler and (work := database.scheduler.running):
            work.holds_locks = False
            await_only(database.scheduler.point("a transaction"))

    def before_statement(connection: Connection, _cursor: object, statement: str, *_more: object) -> None:
        scheduler = database.scheduler
        if scheduler is None or (work := scheduler.running) is None:
            return
        name = " ".join(statement.split())[:50]
        work.holds_locks = work.holds_locks or _takes_locks(statement)
        await_only(scheduler.point(name))
        if scheduler.fault(_LOST_PERCENT, f"connection lost before {name}"):
            driver: asyncpg.Connection = connection.connection.driver_connection
            driver.terminate()

    def before_commit(_connection: Connection) -> None:
        if database.scheduler:
            await_only(database.scheduler.point("commit"))
            database.scheduler.changed = True
            database.scheduler.commits += 1

    def after_transaction(*_: object) -> None:
        if database.scheduler and (work := database.scheduler.running):
            work.holds_locks = False

    engine = database.engine.sync_engine
    event.listen(engine, "begin", before_begin)
    event.listen(engine, "before_cursor_execute", before_statement)
    event.listen(engine, "commit", before_commit)
    event.listen(engine.pool, "checkin", after_transaction)


def _takes_locks(statement: str) -> bool:
    return not statement.lstrip().startswith("SELECT") or " FOR " in statement
