"""SQL that reads the books for people: usage and transfers of an account, and what one event did."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import accounts, transfers, usage_ids, usage_records
from shared.domain.ids import AccountId


async def find_usage(connection: AsyncConnection, account_id: AccountId, event_id: str) -> RowMapping | None:
    """Return one usage record."""
    rows = await connection.execute(_usage_of_event(event_id, account_id))
    return rows.mappings().one_or_none()


async def list_usage(
    connection: AsyncConnection, account_id: str | None, event_id: str | None
) -> AsyncIterator[RowMapping]:
    """Yield usage records by account and in the order they were debited."""
    query = select(usage_records) if event_id is None else _usage_of_event(event_id, account_id)
    if account_id is not None:
        query = query.where(usage_records.c.account_id == account_id)
    keys = usage_records.c
    async for row in await connection.stream(
        query.order_by(keys.account_id, keys.transfer_seq, keys.event_id)
    ):
        yield row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it


async def list_transfers(connection: AsyncConnection, account_id: str) -> AsyncIterator[RowMapping]:
    """Yield the transfers of an account in order."""
    query = select(transfers).where(transfers.c.account_id == account_id).order_by(transfers.c.seq)
    async for row in await connection.stream(query):
        yield row._mapping  # noqa: SLF001


async def find_transfer(
    connection: AsyncConnection, account_id: str, idempotency_key: str
) -> RowMapping | None:
    """Return the transfer that was made under a key."""
    query = select(transfers).where(
        transfers.c.account_id == account_id, transfers.c.idempotency_key == idempotency_key
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def is_voided(connection: AsyncConnection, account_id: str, event_id: str) -> bool:
    query = select(transfers.c.seq).where(
        transfers.c.account_id == account_id, transfers.c.reverses_event_id == event_id
    )
    return (await connection.execute(query)).first() is not None


async def find_debit(connection: AsyncConnection, account_id: str, event_id: str) -> int | None:
    """Return the number of the transfer that debited a record, also where the record itself is away."""
    query = select(usage_ids.c.transfer_seq).where(
        usage_ids.c.account_id == account_id, usage_ids.c.event_id == event_id
    )
    seq: int | None = (await connection.execute(query)).scalar_one_or_none()
    return seq


def _usage_of_event(event_id: str, account_id: str | None) -> Select[*tuple[Any, ...]]:
    # Ids are indexed by account, so each account is asked: quick where accounts are few against records.
    # The transfer knows the month of the record; materialized, so that other months need not be looked at.
    ids, records, by_id = usage_ids.c, usage_records.c, usage_ids.c.event_id == event_id
    debit = (transfers.c.account_id == ids.account_id) & (transfers.c.seq == ids.transfer_seq)
    debits = (
        select(ids.account_id, ids.transfer_seq, ids.event_id, transfers.c.occurred_at)
        .select_from(accounts)
        .join(usage_ids, (ids.account_id == accounts.c.account_id) & by_id)
        .join(transfers, debit)
    )
    if account_id is not None:
        debits = debits.where(ids.account_id == account_id)
    found = debits.cte("found").prefix_with("MATERIALIZED")
    return select(usage_records).join(
        found,
        (records.account_id == found.c.account_id)
        & (records.transfer_seq == found.c.transfer_seq)
        & (records.event_id == found.c.event_id)
        & (records.debited_at == found.c.occurred_at),
    )
