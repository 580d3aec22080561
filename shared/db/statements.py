"""SQL of statements: those that were closed, how far the closing has come, and the entries behind them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.statement_tables import signing_keys, statement_closings, statements
from shared.db.tables import accounts, transfers, usage_records
from shared.domain.ledger import Transfer, TransferKind, UsageRow
from shared.domain.periods import Period

_FIRST_ACCOUNT = text("SELECT min(created_at) FROM accounts")
_BEGIN_CLOSING = text("""
    INSERT INTO statement_closings (period_start) VALUES (:start) ON CONFLICT DO NOTHING
""")
# Whoever comes second finds the row locked, and leaves the month to whoever was first.
_TAKE_CLOSING = text("""
    SELECT period_start, through_account_id FROM statement_closings
    WHERE finished_at IS NULL ORDER BY period_start LIMIT 1 FOR UPDATE SKIP LOCKED
""")
_LAST_CLOSING = text("SELECT max(period_start) FROM statement_closings")
# Accounts in which nothing ever moved have nothing to state.
_NEXT_ACCOUNTS = text("""
    SELECT account_id FROM accounts WHERE account_id > :after AND seq > 0 ORDER BY account_id LIMIT :limit
""")


async def find_account(connection: AsyncConnection, account_id: str) -> RowMapping | None:
    """Return who an account is."""
    columns = accounts.c
    query = select(columns.account_id, columns.name, columns.billing, columns.created_at).where(
        columns.account_id == account_id
    )
    row: RowMapping | None = (await connection.execute(query)).mappings().one_or_none()
    return row


async def find_statement(connection: AsyncConnection, account_id: str, period: Period) -> RowMapping | None:
    """Return a statement that was closed, with the public key of its signature."""
    query = _signed().where(statements.c.account_id == account_id, statements.c.period_start == period.start)
    row: RowMapping | None = (await connection.execute(query)).mappings().one_or_none()
    return row


async def list_statements(connection: AsyncConnection, account_id: str) -> Sequence[RowMapping]:
    """Return the statements of an account that were closed, oldest first."""
    query = _signed().where(statements.c.account_id == account_id).order_by(statements.c.period_start)
    rows: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
    return rows


async def insert_statement(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Store a statement, unless its month was closed before."""
    await connection.execute(insert(statements).values(**values).on_conflict_do_nothing())


async def unsigned_statements(connection: AsyncConnection, limit: int) -> Sequence[RowMapping]:
    """Return statements that were closed while there was no key; nobody else takes them meanwhile."""
    columns = statements.c
    query = select(columns.account_id, columns.period_start, columns.document)
    query = query.where(columns.signature.is_(None)).limit(limit).with_for_update(skip_locked=True)
    return (await connection.execute(query)).mappings().all()


async def set_signature(
    connection: AsyncConnection, account_id: str, period_start: datetime, key_id: str, signature: bytes
) -> None:
    """Sign a statement that is not signed."""
    columns = statements.c
    mine = (columns.account_id == account_id) & (columns.period_start == period_start)
    signed = {"key_id": key_id, "signature": signature}
    await connection.execute(update(statements).where(mine, columns.signature.is_(None)).values(**signed))


async def publish_key(connection: AsyncConnection, key_id: str, public_key: bytes, now: datetime) -> None:
    """Keep the public key of what is signed from now on."""
    values = {"key_id": key_id, "public_key": public_key, "first_used_at": now, "last_used_at": now}
    query = insert(signing_keys).values(**values)
    await connection.execute(
        query.on_conflict_do_update(index_elements=["key_id"], set_={"last_used_at": now})
    )


async def list_keys(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return all keys that ever signed, the one that did last first."""
    query = select(signing_keys).order_by(signing_keys.c.last_used_at.desc(), signing_keys.c.key_id)
    return (await connection.execute(query)).mappings().all()


async def begin_closings(connection: AsyncConnection, last: Period) -> None:
    """Note the months to close, up to that one: at first those since the first account."""
    after = (await connection.execute(_LAST_CLOSING)).scalar_one_or_none()
    first = None if after else (await connection.execute(_FIRST_ACCOUNT)).scalar_one_or_none()
    period = Period.of(after).plus(1) if after else Period.of(first) if first else last.plus(1)
    while period <= last:
        await connection.execute(_BEGIN_CLOSING, {"start": period.start})
        period = period.plus(1)


async def take_closing(connection: AsyncConnection) -> tuple[Period, str] | None:
    """Take the oldest month that is not closed; return it, and through which account it is."""
    row = (await connection.execute(_TAKE_CLOSING)).one_or_none()
    return (Period.of(row.period_start), row.through_account_id) if row else None


async def next_accounts(connection: AsyncConnection, after: str, limit: int) -> list[str]:
    """Return the accounts that come after one, in order of id."""
    return list((await connection.execute(_NEXT_ACCOUNTS, {"after": after, "limit": limit})).scalars())


async def note_closing(connection: AsyncConnection, period: Period, through: str | None) -> None:
    """Note through which account a month is closed; None where it is closed for all."""
    closing = statement_closings.c
    values = {"through_account_id": through} if through else {"finished_at": func.now()}
    await connection.execute(
        update(statement_closings).where(closing.period_start == period.start).values(**values)
    )


async def other_than_usage(
    connection: AsyncConnection, account_id: str, after_seq: int, last_seq: int
) -> list[Transfer]:
    """Return the entries in a range of numbers that are no usage, in order."""
    # Written out, so that the planner knows the index that holds just these.
    query = _entries(account_id, after_seq, last_seq).where(text("kind <> 'usage'"))
    return [_transfer(row) for row in (await connection.execute(query)).mappings()]


async def stream_entries(
    connection: AsyncConnection, account_id: str, after_seq: int, last_seq: int
) -> AsyncIterator[Transfer]:
    """Yield all entries in a range of numbers, in order."""
    async for row in (await connection.stream(_entries(account_id, after_seq, last_seq))).mappings():
        yield _transfer(row)


async def stream_usage(
    connection: AsyncConnection, account_id: str, after_seq: int, last_seq: int
) -> AsyncIterator[UsageRow]:
    """Yield the usage rows of a range of entries, in order of entry and id."""
    columns = usage_records.c
    query = select(*(columns[name] for name in UsageRow._fields)).where(
        columns.account_id == account_id, columns.transfer_seq > after_seq, columns.transfer_seq <= last_seq
    )
    async for row in await connection.stream(query.order_by(columns.transfer_seq, columns.event_id)):
        yield UsageRow(*row)


def _signed() -> Select[Any]:
    return select(statements, signing_keys.c.public_key).join_from(
        statements, signing_keys, statements.c.key_id == signing_keys.c.key_id, isouter=True
    )


def _entries(account_id: str, after_seq: int, last_seq: int) -> Select[Any]:
    columns = transfers.c
    query = select(*(columns[name] for name in Transfer.__struct_fields__)).where(
        columns.account_id == account_id, columns.seq > after_seq, columns.seq <= last_seq
    )
    return query.order_by(columns.seq)


def _transfer(row: RowMapping) -> Transfer:
    return Transfer(**dict(row) | {"kind": TransferKind(row["kind"])})
