"""The path to Citus, checked without it: what it demands of tables and of hot statements.

Nothing here ran on Citus. It routes a statement to one shard where every table that is divided is bound by an
``account_id``; a batch of many accounts is bound by many, and goes to as many shards.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
import sqlglot
from books_builders import GRACE, Books, event
from sqlalchemy import text
from sqlglot import exp

from shared.clock import utc_now
from workers.debit import Debiting
from workers.pricing import Pricing
from workers.thresholds import Thresholds

FILE = Path(__file__).parents[3] / "deploy/citus/distribute.sql"
DISTRIBUTED = set(re.findall(r"create_distributed_table\('(\w+)', 'account_id'", FILE.read_text()))
REFERENCE = set(re.findall(r"create_reference_table\('(\w+)'\)", FILE.read_text()))
LOCAL = set(re.findall(r"\w+", re.search(r"coordinator:\n((?:--.*\n)+)", FILE.read_text()).group(1)))

#: It finds by their place the rows that it locked by their account: on Citus it needs the account as well.
BY_PLACE = "UPDATE accounts a SET version = c.version + 1"

_TABLES = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
""")
_UNIQUE = text("""
    SELECT t.relname, i.indexrelid::regclass::text, array_agg(a.attname::text)
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
    WHERE i.indisunique AND t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
    GROUP BY 1, 2
""")
_REFERENCES = text("""
    SELECT conname, conrelid::regclass::text, confrelid::regclass::text, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
""")


async def test_every_table_has_its_place(books: Books) -> None:
    async with books.engine.connect() as connection:
        tables = set((await connection.execute(_TABLES)).scalars())
    assert tables == DISTRIBUTED | REFERENCE | LOCAL
    assert len(tables) == len(DISTRIBUTED) + len(REFERENCE) + len(LOCAL)


async def test_what_is_unique_in_a_divided_table_is_unique_within_an_account(books: Books) -> None:
    """Citus keeps no index across shards."""
    async with books.engine.connect() as connection:
        indexes = (await connection.execute(_UNIQUE)).all()
    assert not [
        index for table, index, columns in indexes if table in DISTRIBUTED and "account_id" not in columns
    ]


async def test_references_stay_within_a_shard_or_go_to_a_table_on_every_node(books: Books) -> None:
    dropped = set(re.findall(r"DROP CONSTRAINT (\w+)", FILE.read_text()))
    async with books.engine.connect() as connection:
        references = (await connection.execute(_REFERENCES)).all()
    broken = {
        name
        for name, of, to, definition in references
        if to in DISTRIBUTED
        and not (of in DISTRIBUTED and "account_id" in definition.partition("REFERENCES")[0])
    } | {name for name, of, to, _ in references if of in DISTRIBUTED | REFERENCE and to in LOCAL}
    assert broken == dropped


async def test_hot_statements_bind_every_divided_table_by_its_account(books: Books) -> None:
    statements = await _hot_statements(books)
    unbound = {
        (table.name, " ".join(statement.split()))
        for statement in statements
        for table in sqlglot.parse_one(statement, read="postgres").find_all(exp.Table)
        if table.name in DISTRIBUTED and not _bound(table)
    }
    ((table, statement),) = unbound
    assert table == "accounts"
    assert BY_PLACE in statement
    touched = {name for name in DISTRIBUTED if any(re.search(rf"\b{name}\b", each) for each in statements)}
    assert {
        "accounts",
        "usage_ids",
        "transfers",
        "usage_records",
        "cycles",
        "evaluations",
        "alerts",
    } <= touched


def test_a_statement_that_reads_accounts_by_something_else_is_found() -> None:
    (table,) = sqlglot.parse_one("SELECT 1 FROM accounts a WHERE a.plan_id = $1", read="postgres").find_all(
        exp.Table
    )
    assert not _bound(table)


def _bound(table: exp.Table) -> bool:
    """Return whether the table's own statement, not one inside or around it, says whose rows it wants."""
    scope: Any = table.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Insert)
    if isinstance(scope, exp.Insert):
        return "account_id" in [column.name for column in scope.this.expressions]
    columns = [
        column
        for column in scope.find_all(exp.Column)
        if column.name == "account_id" and column.table in ("", table.alias_or_name)
    ]
    compared = [each.find_ancestor(exp.EQ, exp.In) for each in columns]
    using = [name for join in scope.args.get("joins") or [] for name in join.args.get("using") or []]
    mine = [
        each for each in compared if each and each.find_ancestor(exp.Select, exp.Update, exp.Delete) is scope
    ]
    return bool(mine) or "account_id" in [name.name for name in using]


async def _hot_statements(books: Books) -> set[str]:
    """Return what pricing, debit and thresholds say to the database for a batch of three accounts."""
    said: set[str] = set()
    accounts = [await books.account(), await books.account(), await books.subscriber(quota=100)]
    raw = [msgspec.Raw(event(f"e{number}", account_id=accounts[number % 3])) for number in range(9)]

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.add(statement)

    sqlalchemy.event.listen(books.engine.sync_engine, "before_cursor_execute", note)
    try:
        to_debit = await Pricing(books.engine, 1).handle(raw)
        debiting = Debiting(books.engine, GRACE, utc_now)
        to_thresholds = [message for each in to_debit for message in await debiting.handle(list(each.batch))]
        thresholds = Thresholds(books.engine, utc_now, timedelta(minutes=1))
        for each in to_thresholds:
            await thresholds.handle(list(each.batch))
    finally:
        sqlalchemy.event.remove(books.engine.sync_engine, "before_cursor_execute", note)
    return said
