"""SQL that reads debited records to price them again."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime

from sqlalchemy import exists, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import accounts, transfers, usage_records
from shared.domain.ids import AccountId
from shared.domain.rerating import DebitedUsage
from shared.domain.tokens import TOKEN_KINDS, TokenCounts


async def keep_attached(connection: AsyncConnection) -> None:
    """Let no month be detached until the transaction ends. To be called before the snapshot's first read.

    A month that went between the snapshot and the first look at its rows would seem to have had none.
    """
    await connection.execute(text("LOCK TABLE usage_records IN ACCESS SHARE MODE"))


async def known_accounts(connection: AsyncConnection, account_ids: Collection[str]) -> set[str]:
    """Return those of some ids that are an account's."""
    query = select(accounts.c.account_id).where(accounts.c.account_id.in_(account_ids))
    return set((await connection.execute(query)).scalars())


async def stream_debited(
    connection: AsyncConnection, account_ids: Collection[str], start: datetime, end: datetime
) -> AsyncIterator[DebitedUsage]:
    """Yield the records that were debited from ``start`` to before ``end`` and not voided, in no order.

    Without ids, those of every account.
    """
    records = usage_records.c
    voided = (transfers.c.account_id == records.account_id) & (
        transfers.c.reverses_event_id == records.event_id
    )
    tokens = [records[f"{kind}_tokens"] for kind in TOKEN_KINDS]
    query = select(
        records.account_id, records.provider, records.model, records.time, records.list_nanos, *tokens
    ).where(records.debited_at >= start, records.debited_at < end, ~exists().where(voided))
    if account_ids:
        query = query.where(records.account_id.in_(account_ids))
    async for account_id, provider, model, time, list_nanos, *counts in await connection.stream(query):
        yield DebitedUsage(AccountId(account_id), provider, model, time, TokenCounts(*counts), list_nanos)
