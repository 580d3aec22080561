"""SQL of long lists, newest first and a page at a time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import transfers, usage_records


@dataclass(frozen=True, slots=True)
class Span:
    """Times from ``since`` until before ``until``; None leaves a side open."""

    since: datetime | None = None
    until: datetime | None = None


async def page_transfers(
    connection: AsyncConnection,
    account_id: str,
    limit: int,
    before_seq: int | None = None,
    kinds: Collection[str] = (),
    span: Span = Span(),
) -> Sequence[RowMapping]:
    """Return transfers of an account, newest first, before a number where one is given."""
    columns = transfers.c
    query = select(transfers).where(columns.account_id == account_id)
    if before_seq is not None:
        query = query.where(columns.seq < before_seq)
    if kinds:
        query = query.where(columns.kind.in_(kinds))
    if span.since is not None:
        query = query.where(columns.occurred_at >= span.since)
    if span.until is not None:
        query = query.where(columns.occurred_at < span.until)
    rows = await connection.execute(query.order_by(columns.seq.desc()).limit(limit))
    return rows.mappings().all()


async def find_transfer(connection: AsyncConnection, account_id: str, seq: int) -> RowMapping | None:
    """Return one transfer."""
    query = select(transfers).where(transfers.c.account_id == account_id, transfers.c.seq == seq)
    return (await connection.execute(query)).mappings().one_or_none()


async def page_usage(
    connection: AsyncConnection,
    account_id: str,
    limit: int,
    before: tuple[int, str] | None = None,
    *,
    transfer_seq: int | None = None,
    api_key_id: str | None = None,
    model: str | None = None,
) -> Sequence[RowMapping]:
    """Return usage records of an account, newest debit first, before a (number, id) where one is given."""
    columns = usage_records.c
    place = tuple_(columns.transfer_seq, columns.event_id)
    query = select(usage_records).where(columns.account_id == account_id)
    if before is not None:
        query = query.where(place < tuple_(*before))
    if transfer_seq is not None:
        query = query.where(columns.transfer_seq == transfer_seq)
    if api_key_id is not None:
        query = query.where(columns.api_key_id == api_key_id)
    if model is not None:
        query = query.where(columns.model == model)
    ordered = query.order_by(columns.transfer_seq.desc(), columns.event_id.desc())
    return (await connection.execute(ordered.limit(limit))).mappings().all()
