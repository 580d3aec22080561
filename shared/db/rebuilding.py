"""SQL that computes projections of the books afresh, one account at a time; whoever calls commits."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import evaluations, statement_sums, tables, usage_days
from shared.db.payment_tables import topups
from shared.db.statement_tables import statement_movements, statement_rollups, statement_usage
from shared.domain.errors import NotFoundError
from shared.domain.ids import AccountId
from shared.domain.ledger import genesis_hash

_PAGE = text("SELECT account_id FROM accounts WHERE account_id > :after ORDER BY account_id LIMIT :limit")
_ENDS = text("""
    SELECT a.seq, a.head_hash, count(t.seq), max(t.seq),
           (SELECT l.hash FROM transfers l WHERE l.account_id = a.account_id ORDER BY l.seq DESC LIMIT 1)
    FROM accounts a LEFT JOIN transfers t USING (account_id)
    WHERE a.account_id = :account_id GROUP BY a.account_id
""")
_BALANCE = text("""
    UPDATE accounts a
    SET balance_nanos = b.balance_nanos, cycle_start = b.cycle_start, cycle_end = b.cycle_end
    FROM (
        SELECT coalesce((SELECT CAST(sum(amount_nanos) AS bigint) FROM transfers
                         WHERE account_id = :account_id), 0) AS balance_nanos, c.cycle_start, c.cycle_end
        FROM (VALUES (1)) AS one LEFT JOIN (
            SELECT cycle_start, cycle_end FROM cycles WHERE account_id = :account_id
            ORDER BY cycle_start DESC LIMIT 1) AS c ON true
    ) AS b
    WHERE a.account_id = :account_id AND (a.balance_nanos, a.cycle_start, a.cycle_end)
          IS DISTINCT FROM (b.balance_nanos, b.cycle_start, b.cycle_end)
""")
_CYCLES = text("""
    UPDATE cycles c
    SET quota_remaining_nanos = c.quota_nanos - b.quota_nanos, spent_nanos = b.balance_nanos
    FROM (
        SELECT y.cycle_start, CAST(coalesce(sum(taken.quota_nanos), 0) AS bigint) AS quota_nanos,
               CAST(coalesce(sum(taken.balance_nanos), 0) AS bigint) AS balance_nanos
        FROM cycles y LEFT JOIN (
            SELECT u.cycle_start, u.quota_nanos, u.balance_nanos FROM usage_records u
            WHERE u.account_id = :account_id AND NOT EXISTS (
                SELECT FROM transfers v
                WHERE v.account_id = u.account_id AND v.reverses_event_id = u.event_id)
            UNION ALL
            SELECT cycle_start, quota_nanos, balance_nanos FROM usage_period_cycles
            WHERE account_id = :account_id
        ) AS taken USING (cycle_start)
        WHERE y.account_id = :account_id GROUP BY y.cycle_start
    ) AS b
    WHERE c.account_id = :account_id AND c.cycle_start = b.cycle_start
          AND (c.quota_nanos - b.quota_nanos, b.balance_nanos)
              IS DISTINCT FROM (c.quota_remaining_nanos, c.spent_nanos)
""")
_MOVE_VERSION = text("UPDATE accounts SET version = version + 1 WHERE account_id = :account_id")
_TAKEN = text("""
    UPDATE topups p SET refunded_nanos = b.refunded_nanos, disputed_nanos = b.disputed_nanos
    FROM (
        SELECT p.topup_id,
               CAST(coalesce(-sum(t.left_nanos) FILTER (WHERE t.kind = 'refund'), 0) AS bigint)
                   AS refunded_nanos,
               CAST(coalesce(-sum(t.left_nanos) FILTER (WHERE t.kind = 'dispute'), 0) AS bigint)
                   AS disputed_nanos
        FROM topups p LEFT JOIN (
            SELECT r.kind, r.reverses_seq, r.amount_nanos + coalesce((
                SELECT sum(back.amount_nanos) FROM transfers back
                WHERE back.account_id = r.account_id AND back.reverses_seq = r.seq), 0) AS left_nanos
            FROM transfers r
            WHERE r.account_id = :account_id AND r.kind IN ('refund', 'dispute')
        ) AS t ON t.reverses_seq = p.transfer_seq
        WHERE p.account_id = :account_id GROUP BY p.topup_id
    ) AS b
    WHERE p.account_id = :account_id AND p.topup_id = b.topup_id
          AND (p.refunded_nanos, p.disputed_nanos) IS DISTINCT FROM (b.refunded_nanos, b.disputed_nanos)
""")

Rows = dict[str, Mapping[str, Any]]


class Projection(NamedTuple):
    """Something that follows from the books: where it stands, and how it is computed afresh.

    ``locked`` holds the rows that whoever keeps it up to date locks. ``catch_up`` brings it up to date in the
    way of every day, so that what differs after ``rebuild`` was wrong before.
    """

    tables: Mapping[Table, Sequence[str]]
    locked: Table
    rebuild: Callable[[AsyncConnection, str, datetime], Awaitable[None]]
    catch_up: Callable[[AsyncConnection, str], Awaitable[None]] | None = None


async def page_of_accounts(connection: AsyncConnection, after: str, limit: int) -> list[str]:
    """Return the next accounts in order of id."""
    return list((await connection.execute(_PAGE, {"after": after, "limit": limit})).scalars())


async def missing_transfers(connection: AsyncConnection, account_id: str) -> str | None:
    """Return why transfers of an account are missing, None where they end as the account says.

    Raises NotFoundError for an unknown account.
    """
    row = (await connection.execute(_ENDS, {"account_id": account_id})).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no account {account_id}")
    seq, head, number, last, last_hash = row
    if (number, last or 0) == (seq, seq) and head == (last_hash or genesis_hash(AccountId(account_id))):
        return None
    return f"{number} transfers up to number {last or 0}, where the account knows of {seq}"


async def lock(connection: AsyncConnection, projection: Projection, account_id: str) -> None:
    """Let nobody else change a projection of an account until the transaction ends."""
    rows = select(projection.locked.c.account_id).where(projection.locked.c.account_id == account_id)
    await connection.execute(rows.with_for_update(key_share=True))


async def read_rows(connection: AsyncConnection, projection: Projection, account_id: str) -> Rows:
    """Return the values of a projection by table and key."""
    found: Rows = {}
    for table, names in projection.tables.items():
        keys = [column for column in table.primary_key.columns if column.name != "account_id"]
        values = [table.c[name] for name in names]
        query = select(*keys, *values).where(table.c.account_id == account_id)
        for row in await connection.execute(query):
            key = "/".join([table.name, *map(str, row[: len(keys)])])
            found[key] = dict(zip(names, row[len(keys) :], strict=True))
    return found


async def _rebuild_books(connection: AsyncConnection, account_id: str, _since: datetime) -> None:
    account = {"account_id": account_id}
    changed = [(await connection.execute(statement, account)).rowcount for statement in (_BALANCE, _CYCLES)]
    if any(changed):
        await connection.execute(_MOVE_VERSION, account)
        await evaluations.mark_due(connection, [account_id])


async def _rebuild_taken(connection: AsyncConnection, account_id: str, _since: datetime) -> None:
    await connection.execute(_TAKEN, {"account_id": account_id})


def _values(table: Table) -> list[str]:
    return [column.name for column in table.columns if not column.primary_key]


PROJECTIONS = (
    Projection(
        {
            tables.accounts: ("balance_nanos", "cycle_start", "cycle_end"),
            tables.cycles: ("quota_remaining_nanos", "spent_nanos"),
        },
        tables.accounts,
        _rebuild_books,
    ),
    Projection({topups: ("refunded_nanos", "disputed_nanos")}, topups, _rebuild_taken),
    Projection(
        {tables.key_spend: _values(tables.key_spend)}, tables.evaluations, evaluations.rebuild_key_spend
    ),
    Projection(
        {table: _values(table) for table in (tables.usage_days, tables.usage_rollups)},
        tables.usage_rollups,
        usage_days.rebuild,
        usage_days.roll_up,
    ),
    Projection(
        {table: _values(table) for table in (statement_movements, statement_usage)}
        | {statement_rollups: ("rolled_seq",)},
        statement_rollups,
        statement_sums.rebuild,
        statement_sums.roll_up,
    ),
)
