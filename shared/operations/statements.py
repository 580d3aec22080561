"""Statements: shown as they were frozen, or drawn up for a month that is still open."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import periods, statement_sums
from shared.db import statements as sql
from shared.db.engine import snapshot
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.invoice import Party, buyer_of
from shared.domain.ledger import UsageRow
from shared.domain.periods import Period
from shared.domain.signature import signature_of
from shared.domain.statement import Heading, State, Statement, as_document, draw_up
from shared.domain.statement_export import entry_line, usage_line

_LISTED = ("period", "state", "as_of")
_NO_ROWS: tuple[UsageRow, ...] = ()


async def show_statement(
    engine: AsyncEngine, account_id: str, period: Period, seller: Party, now: datetime
) -> dict[str, Any]:
    """Return the statement of a month with its signature, as JSON; a month that is not closed is a preview.

    Raises NotFoundError where there is none: the account had no money, and nothing moved.
    """
    async with engine.begin() as connection:
        row = await sql.find_statement(connection, account_id, period)
        if row is not None:
            return _signed(row)
        drawn = await _preview(connection, account_id, period, seller, now)
    if drawn is None:
        raise NotFoundError(f"there is no statement of {period}: no money, and nothing moved")
    return {"statement": as_document(drawn), "signature": None}


async def list_statements(
    engine: AsyncEngine, account_id: str, seller: Party, now: datetime
) -> Sequence[Mapping[str, Any]]:
    """Return what each statement of an account comes to, the newest first. Raises NotFoundError."""
    async with engine.begin() as connection:
        closed = [_read(row["document"]) for row in await sql.list_statements(connection, account_id)]
        account = await _account(connection, account_id)
        after = Period.parse(closed[-1].period).plus(1) if closed else Period.of(account["created_at"])
        drawn = [
            await _preview(connection, account_id, period, seller, now)
            for period in _months(after, Period.of(now))
        ]
    return [_listed(each) for each in reversed([*closed, *filter(None, drawn)])]


async def draw_statement(
    connection: AsyncConnection, account_id: str, period: Period, seller: Party, state: State, now: datetime
) -> Statement | None:
    """Return the statement of a month as the books have it, None where there is nothing to state.

    Whoever calls commits. Raises NotFoundError for an unknown account.
    """
    account = await _account(connection, account_id)
    await statement_sums.roll_up(connection, account_id)
    sums = await statement_sums.read_sums(connection, account_id, period)
    if not sums:
        return None
    listed = await sql.other_than_usage(connection, account_id, sums.opening.seq, sums.closing.seq)
    buyer = buyer_of(account_id, account["name"], account["billing"])
    heading = Heading(buyer, seller, period, state, now)
    return draw_up(heading, sums.opening, sums.closing, sums.movements, sums.usage, listed)


async def export_statement(
    engine: AsyncEngine, account_id: str, signed: Mapping[str, Any], *, usage: bool
) -> AsyncIterator[bytes]:
    """Yield a statement and its entries as JSON lines, each with its usage rows if those are wanted.

    Raises RefusedError where the rows are wanted and their month is detached.
    """
    statement = _read(signed["statement"])
    span = (account_id, statement.opening.seq, statement.closing.seq)
    async with snapshot(engine) as entries, snapshot(engine) as records:
        if usage:
            await _check_attached(entries, statement)
        rows = sql.stream_usage(records, *span) if usage else _none()
        row = await anext(rows, None)
        yield msgspec.json.encode(signed) + b"\n"
        async for transfer in sql.stream_entries(entries, *span):
            yield entry_line(transfer)
            while row and row.transfer_seq == transfer.seq:
                yield usage_line(row)
                row = await anext(rows, None)


async def list_keys(engine: AsyncEngine) -> list[dict[str, Any]]:
    """Return the public keys of all signatures, the one in use first."""
    async with engine.connect() as connection:
        rows = await sql.list_keys(connection)
    return [dict(row) | {"public_key": row["public_key"].hex(), "algorithm": "Ed25519"} for row in rows]


async def _preview(
    connection: AsyncConnection, account_id: str, period: Period, seller: Party, now: datetime
) -> Statement | None:
    if period > Period.of(now):
        return None
    return await draw_statement(connection, account_id, period, seller, State.OPEN, now)


async def _account(connection: AsyncConnection, account_id: str) -> RowMapping:
    account = await sql.find_account(connection, account_id)
    if account is None:
        raise NotFoundError(f"there is no account {account_id}")
    return account


def read_statement(signed: Mapping[str, Any]) -> Statement:
    """Return the statement of what ``show_statement`` returned."""
    return _read(signed["statement"])


async def _check_attached(connection: AsyncConnection, statement: Statement) -> None:
    away = await periods.recorded(connection)
    for day in statement.usage_days:
        month = Period(day.day.year, day.day.month)
        if month in away:
            raise RefusedError(
                f"the usage of {month} is detached: `payg usage attach {month}` brings it back"
            )


async def _none() -> AsyncIterator[UsageRow]:
    for row in _NO_ROWS:
        yield row


def _read(document: Mapping[str, Any]) -> Statement:
    return msgspec.convert(document, Statement)


def _signed(row: RowMapping) -> dict[str, Any]:
    """Return a stored statement with its signature."""
    signature = row["signature"] and signature_of(row["public_key"], row["signature"])
    return {"statement": row["document"], "signature": signature and msgspec.to_builtins(signature)}


def _months(first: Period, last: Period) -> list[Period]:
    months = []
    while first <= last:
        months.append(first)
        first = first.plus(1)
    return months


def _listed(statement: Statement) -> dict[str, Any]:
    fields = {name: getattr(statement, name) for name in _LISTED}
    return fields | {
        "account_id": statement.account.account_id,
        "opening_nanos": statement.opening.balance_nanos,
        "moved_nanos": statement.closing.balance_nanos - statement.opening.balance_nanos,
        "closing_nanos": statement.closing.balance_nanos,
        "transfers": statement.closing.seq - statement.opening.seq,
        "last_seq": statement.closing.seq,
        "head_hash": statement.closing.hash,
    }
