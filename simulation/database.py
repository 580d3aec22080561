"""A real database whose clock is ours, whose connections break when told, and where statements take turns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.domain.pricing import TokenRates
from shared.operations.accounts import create_plan
from shared.operations.periods import keep_periods
from shared.operations.prices import set_price
from simulation.connections import Connections, LentConnection, connect
from simulation.model import ACCOUNTS, MODEL, NEW_PRICE, OLD_PRICE, PROVIDER, START
from simulation.scheduler import Scheduler

_LOST_PERCENT = 1
_CONNECTIONS = 16

# Functions of these names that stand before PostgreSQL's own in the search path: all SQL reads our clock.
_CLOCK = """
    CREATE SCHEMA simulated;
    CREATE TABLE simulated.clock (now timestamptz NOT NULL);
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS 'SELECT now FROM simulated.clock';
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now FROM simulated.clock';
"""
# Defaults were bound to PostgreSQL's functions when the tables were made.
_DEFAULTS = """
    SELECT d.adrelid::regclass::text AS relation, quote_ident(a.attname) AS column_name
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE pg_get_expr(d.adbin, d.adrelid) IN ('now()', 'clock_timestamp()')
"""
# What is empty before the first run is emptied before each.
_MAKE_EMPTY = """
    CREATE PROCEDURE simulated.make_empty() LANGUAGE sql
        AS 'TRUNCATE {tables} RESTART IDENTITY CASCADE'
"""
_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


async def prepare(url: str) -> None:
    """Make the database of a run: the schema, our clock, prices and plans."""
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
    await _remember_what_is_empty(url)


async def _remember_what_is_empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    tables = [row[0] for row in await connection.fetch(_TABLES)]
    empty = [t for t in tables if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {t})")]  # noqa: S608 - names of ours
    await connection.execute(_MAKE_EMPTY.format(tables=", ".join(empty)))
    await connection.close()


def plan_of(account_id: str) -> str:
    """Return the name of the plan that an account with a quota has."""
    return f"plan of {account_id}"


@dataclass
class SimulatedDatabase:
    """Connections of the stages, each statement of which takes its turn, and one that only looks on."""

    engine: AsyncEngine
    observer: "asyncpg.Connection"
    scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Empty the books for a run, in which this scheduler says whose turn it is."""
        self.scheduler = scheduler
        await self.observer.execute("CALL simulated.make_empty()")

    async def set_clock(self, now: datetime) -> None:
        """Make it that time."""
        await self.observer.execute("UPDATE simulated.clock SET now = $1", now)


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[SimulatedDatabase]:
    """Connect for any number of runs, one after another."""

    def faulty(what: str) -> bool:
        scheduler = database.scheduler
        return (
            scheduler is not None and scheduler.running is not None and scheduler.fault(_LOST_PERCENT, what)
        )

    connections = Connections(url, faulty)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        # What is prepared is kept with the server's connection.
        connect_args={"async_creator_fn": connections.lend, "prepared_statement_cache_size": 0},
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=300,
        pool_use_lifo=True,
    )
    database = SimulatedDatabase(engine, await connect(url))
    _take_turns(database)
    try:
        yield database
    finally:
        await engine.dispose()
        await connections.close()
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
            await_only(cast("LentConnection", connection.connection.driver_connection).lose())

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
    return not statement.lstrip().startswith("SELECT") or " FOR " in statement or "_lock" in statement
