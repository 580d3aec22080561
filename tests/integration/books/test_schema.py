"""The migrations make what ``shared.db.tables`` says, once, whoever runs them and however often."""

import asyncio
import shutil
import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from books_builders import Books, open_books, run_sql
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, system_postgres
from shared.db import tables
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.domain.pace import unpack

_TABLES = tables.metadata.tables
#: Indexes and constraints stand in the migrations alone.
_IN_BOTH = ("table", "column", "modify_type", "modify_nullable")
_PRIMARY_KEYS = """
    SELECT c.relname, a.attname FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
    WHERE i.indisprimary
"""
#: Tables whose primary key leads with something else, each with why it needs no distribution by account.
_NOT_BY_ACCOUNT = {
    "alembic_version",  # one row
    "plans",  # as many as there are plans
    "models",  # the price list
    "rates",  # the price list
    "model_aliases",  # the price list
    "price_book",  # one row
    "api_keys",  # looked up by the key alone
    "quarantine",  # what is in it may belong to no account
    "processes",  # those that run
    "queue_looks",  # as many as there are queues
    "audits",  # one row an audit
    "due_evaluations",  # short-lived notes, each on many accounts
    "usage_periods",  # one row a month
    "stripe_events",  # those of Stripe, which knows no account of ours
    "stripe_progress",  # one row a task
    "invoice_numbers",  # one row
    "gate_marker",  # one row
    "gate_mode",  # one row
    "console_sessions",  # found by a token, and soon over
    "members",  # people, who may be of the platform and of no account
    "sign_in_links",  # found by a token, and soon over
    "operator_actions",  # what operators do may concern no account
    "payment_differences",  # what is in it may belong to no account
    "statement_closings",  # one row a month
    "signing_keys",  # as many as there were keys
}


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    name = f"empty_{uuid4().hex[:8]}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


def _differences(connection: Connection) -> list[Any]:
    # The months of usage_records are tables too, and nothing that the code names.
    options = {
        "compare_type": True,
        "include_name": lambda name, *_: not str(name).startswith("usage_records_"),
    }
    context = MigrationContext.configure(connection, opts=options)
    found = compare_metadata(context, tables.metadata)
    flat = [each for group in found for each in (group if isinstance(group, list) else [group])]
    return [each for each in flat if str(each[0]).endswith(_IN_BOTH)]


async def _columns(engine: AsyncEngine) -> dict[tuple[str, str], str | None]:
    query = "SELECT table_name, column_name, collation_name FROM information_schema.columns"
    async with engine.connect() as connection:
        rows = await connection.execute(text(f"{query} WHERE table_schema = 'public'"))
        return {(table, column): collation for table, column, collation in rows if table in _TABLES}


async def test_migrations_from_empty_give_the_tables_of_the_code(empty_url: str) -> None:
    engine = create_engine(empty_url)
    await migrate(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_a_column_that_only_the_code_has_would_be_noticed(engine: AsyncEngine) -> None:
    await run_sql(engine, "ALTER TABLE usage_records DROP COLUMN hold_id")
    await run_sql(engine, "ALTER TABLE transfers ALTER COLUMN cause DROP NOT NULL")
    await run_sql(engine, "ALTER TABLE accounts ALTER COLUMN seq TYPE integer")
    async with engine.connect() as connection:
        assert len(await connection.run_sync(_differences)) == 3


async def test_ids_compare_by_byte_wherever_the_code_says_so(engine: AsyncEngine) -> None:
    stored = await _columns(engine)
    for table in _TABLES.values():
        for column in table.columns:
            wanted = getattr(column.type, "collation", None)
            assert stored[table.name, column.name] == wanted, f"{table.name}.{column.name}"


async def test_tables_that_grow_lead_their_primary_key_with_the_account(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        leading = {table: column for table, column in await connection.execute(text(_PRIMARY_KEYS))}  # noqa: C416
    assert set(leading) >= set(_TABLES)
    assert {table for table, column in leading.items() if column != "account_id"} == _NOT_BY_ACCOUNT


async def test_migrating_twice_changes_nothing(books: Books) -> None:
    account_id = await books.account()
    before = await _columns(books.engine)
    await migrate(books.engine)
    assert await _columns(books.engine) == before
    assert (await books.stored(account_id))["balance_nanos"] == 0


async def test_a_pace_of_before_keeps_what_it_knew(books: Books) -> None:
    """Revision 0018 puts two numbers into what was packed as ten numbers and 31 small ones."""
    account_id = await books.account()
    statements = import_module("shared.db.migrations.versions.0018_rare_payments").STATEMENTS
    known, learnt = [float(number) for number in range(1, 11)], [float(number) for number in range(31)]
    before = struct.pack("<10d31f", *known, *learnt)
    await run_sql(
        books.engine,
        "INSERT INTO evaluations (account_id, pace) VALUES (:account_id, :before)",
        account_id=account_id,
        before=before,
    )
    for statement in statements * 2:
        await run_sql(books.engine, statement)
    async with books.engine.connect() as connection:
        pace = unpack((await connection.execute(text("SELECT pace FROM evaluations"))).scalar_one())
    assert pace is not None
    assert (*pace[:4], *pace.sums, *pace.squares, *pace.hours, *pace.weekdays) == (*known, *learnt)
    assert (pace.rare_sum, pace.rare_count) == (0.0, 0.0)


async def test_eight_migrations_at_once_make_one_schema(empty_url: str) -> None:
    engines = [create_engine(empty_url) for _ in range(8)]
    await asyncio.gather(*(migrate(engine) for engine in engines))
    async with engines[0].connect() as connection:
        assert await connection.run_sync(_differences) == []
        versions = (await connection.execute(text("SELECT count(*) FROM price_book"))).scalar_one()
        assert versions == 1
    for engine in engines:
        await engine.dispose()


async def test_the_books_work_on_the_postgresql_of_the_system(tmp_path: Path) -> None:
    binaries = system_postgres()
    if binaries is None:
        assert shutil.which("postgres") is None
        print("no PostgreSQL is installed on this system, so there is nothing to try")  # noqa: T201
        return
    with Postgres(tmp_path / "postgres", bin_dir=binaries) as server:
        engine = create_engine(server.create_database("payg"))
        await migrate(engine)
        books = await open_books(engine)
        account_id = await books.account()
        await books.debit([books.record(account_id, f"req_{n}", 7) for n in range(5)])
        assert (await books.stored(account_id))["balance_nanos"] == -35
        await books.assert_proven()
        await engine.dispose()
