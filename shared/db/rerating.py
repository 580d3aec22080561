"""SQL that reads debited records to price them again."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, exists, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import accounts, transfers, usage_records
from shared.domain.ids import AccountId
from shared.domain.rerate_posting import RERATE_KEY_PREFIX
from shared.domain.rerating import DebitedUsage
from shared.domain.tokens import TOKEN_KINDS, TokenCounts
from shared.domain.usage_archive import ArchivedUsage

_POSTED = text("""
    SELECT account_id, seq, kind, amount_nanos, cause, idempotency_key
    FROM transfers
    WHERE account_id = ANY (CAST(:account_ids AS text[])) AND idempotency_key LIKE :pattern
    ORDER BY account_id, seq
""")

_ARCHIVED = text("""
    SELECT u.account_id, u.event_id, u.transfer_seq, u.debited_at, u.source, u.api_key_id, u.provider,
           u.model, u.time, u.cycle_start,
           u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens, u.input_audio_tokens,
           u.output_audio_tokens, u.list_nanos, u.charge_nanos, u.quota_nanos,
           u.balance_nanos, u.uncollected_nanos,
           EXISTS (SELECT FROM transfers t
                   WHERE t.account_id = u.account_id AND t.reverses_event_id = u.event_id) AS voided,
           r.rate_id, r.provider, r.model, r.effective_from, CAST(r.tiers AS text)
    FROM usage_records u JOIN rates r USING (rate_id)
    WHERE u.debited_at >= :start AND u.debited_at < :end
          AND (cardinality(CAST(:account_ids AS text[])) = 0
               OR u.account_id = ANY (CAST(:account_ids AS text[])))
    ORDER BY u.account_id, u.transfer_seq, u.event_id
""")


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
    named = (records.account_id, records.provider, records.model, records.time)
    paid = (records.list_nanos, records.balance_nanos, records.cycle_start)
    tokens = [records[f"{kind}_tokens"] for kind in TOKEN_KINDS]
    query = select(*named, *paid, *tokens).where(
        records.debited_at >= start, records.debited_at < end, ~exists().where(voided)
    )
    if account_ids:
        query = query.where(records.account_id.in_(account_ids))
    async for row in await connection.stream(query):
        account_id, provider, model, time, list_nanos, balance_nanos, cycle_start, *counts = row
        tokens_used, has_plan = TokenCounts(*counts), cycle_start is not None
        yield DebitedUsage(
            AccountId(account_id), provider, model, time, tokens_used, list_nanos, balance_nanos, has_plan
        )


async def stream_archived(
    connection: AsyncConnection, account_ids: Collection[str], start: datetime, end: datetime
) -> AsyncIterator[ArchivedUsage]:
    """Yield the records that were debited from ``start`` to before ``end``, each with the rate it had.

    Without ids, those of every account. By account, and in the order they were debited.
    """
    values = {"account_ids": list(account_ids), "start": start, "end": end}
    async for row in await connection.stream(_ARCHIVED, values):
        yield ArchivedUsage(*row)


async def posted_rerates(connection: AsyncConnection, account_ids: Collection[str]) -> Sequence[RowMapping]:
    """Return the transfers of some accounts that posted a rerating."""
    values = {"account_ids": list(account_ids), "pattern": f"{RERATE_KEY_PREFIX}%"}
    return (await connection.execute(_POSTED, values)).mappings().all()
