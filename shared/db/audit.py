"""SQL of the audit: the books in order, streamed, so that an audit of any size needs little memory."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import disputes, refunds, topups
from shared.db.tables import (
    accounts,
    cycles,
    transfers,
    usage_ids,
    usage_period_cycles,
    usage_records,
)
from shared.domain.audit import (
    CarriedCycle,
    StoredAccount,
    StoredCycle,
    StoredUsage,
    StoredVoid,
)
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind, UsageRow
from shared.domain.payment_audit import StoredDispute, StoredPayments, StoredRefund, StoredTopup
from shared.domain.periods import Period
from shared.domain.topup import TopupState

_ROW_FIELDS = len(UsageRow._fields)


async def count_books(connection: AsyncConnection) -> tuple[int, int, int]:
    """Return how many accounts, transfers and usage records there are."""
    tables = (accounts, transfers, usage_records)
    counts = [
        (await connection.execute(select(func.count()).select_from(table))).scalar_one() for table in tables
    ]
    return counts[0], counts[1], counts[2]


async def stream_accounts(connection: AsyncConnection) -> AsyncIterator[StoredAccount]:
    """Yield all accounts in order of id."""
    columns = accounts.c
    query = select(columns.account_id, columns.balance_nanos, columns.seq, columns.head_hash)
    async for row in await connection.stream(query.order_by(columns.account_id)):
        yield StoredAccount(*row)


async def stream_transfers(
    connection: AsyncConnection,
) -> AsyncIterator[tuple[AccountId, Transfer, int | None]]:
    """Yield all transfers in order of account and number, each with the number of the one it reverses."""
    columns = [transfers.c[name] for name in ("account_id", "reverses_seq", *Transfer.__struct_fields__)]
    query = select(*columns).order_by(transfers.c.account_id, transfers.c.seq)
    names = Transfer.__struct_fields__
    async for row in await connection.stream(query):
        fields = dict(zip(names, row[2:], strict=True))
        yield row[0], Transfer(**fields), row[1]


async def stream_usage(connection: AsyncConnection) -> AsyncIterator[StoredUsage]:
    """Yield all usage records in order of account and transfer, each with what its id says of it."""
    records, ids = usage_records.c, usage_ids.c
    same = (ids.account_id == records.account_id) & (ids.event_id == records.event_id)
    same &= ids.transfer_seq == records.transfer_seq
    query = (
        select(usage_records, ids.fingerprint)
        .select_from(usage_records.outerjoin(usage_ids, same))
        .order_by(records.account_id, records.transfer_seq, records.event_id)
    )
    async for row in await connection.stream(query):
        yield _stored_usage(row)


async def load_voids(connection: AsyncConnection) -> dict[AccountId, list[StoredVoid]]:
    """Return all voids by account."""
    columns = transfers.c
    void = (columns.account_id, columns.reverses_event_id, columns.amount_nanos, columns.quota_amount_nanos)
    ids = usage_ids.c
    same = (ids.account_id == columns.account_id) & (ids.event_id == columns.reverses_event_id)
    query = select(*void, ids.transfer_seq).select_from(transfers.outerjoin(usage_ids, same))
    query = query.where(columns.kind == TransferKind.VOID)
    voids: dict[AccountId, list[StoredVoid]] = defaultdict(list)
    for account_id, *fields in await connection.execute(query):
        voids[account_id].append(StoredVoid(*fields))
    return voids


async def load_cycles(connection: AsyncConnection) -> dict[AccountId, list[StoredCycle]]:
    """Return all cycles by account."""
    columns = cycles.c
    query = select(
        columns.account_id,
        columns.cycle_start,
        columns.quota_nanos,
        columns.quota_remaining_nanos,
        columns.spent_nanos,
    )
    found: dict[AccountId, list[StoredCycle]] = defaultdict(list)
    for account_id, *cycle in await connection.execute(
        query.order_by(columns.account_id, columns.cycle_start)
    ):
        found[account_id].append(StoredCycle(*cycle))
    return found


async def load_payments(connection: AsyncConnection) -> dict[AccountId, StoredPayments]:
    """Return what the tables of payments say, by account."""
    found_topups, found_refunds, found_disputes = (
        await _topups(connection),
        await _refunds(connection),
        await _disputes(connection),
    )
    return {
        account_id: StoredPayments(
            found_topups.get(account_id, ()),
            found_refunds.get(account_id, ()),
            found_disputes.get(account_id, ()),
        )
        for account_id in found_topups.keys() | found_refunds.keys() | found_disputes.keys()
    }


async def _topups(connection: AsyncConnection) -> dict[AccountId, list[StoredTopup]]:
    columns = topups.c
    succeeded = columns.state == TopupState.SUCCEEDED
    taken = (columns.refunded_nanos, columns.disputed_nanos)
    query = select(
        columns.account_id, columns.topup_id, succeeded, columns.amount_nanos, columns.transfer_seq, *taken
    ).where(succeeded | (columns.refunded_nanos != 0) | (columns.disputed_nanos != 0))
    found: dict[AccountId, list[StoredTopup]] = defaultdict(list)
    for account_id, *topup in await connection.execute(query):
        found[account_id].append(StoredTopup(*topup))
    return found


async def _refunds(connection: AsyncConnection) -> dict[AccountId, list[StoredRefund]]:
    columns = refunds.c
    names = ("account_id", *StoredRefund.__struct_fields__)
    query = select(*(columns[name] for name in names)).order_by(columns.account_id, columns.refund_id)
    found: dict[AccountId, list[StoredRefund]] = defaultdict(list)
    for account_id, *refund in await connection.execute(query):
        found[account_id].append(StoredRefund(*refund))
    return found


async def _disputes(connection: AsyncConnection) -> dict[AccountId, list[StoredDispute]]:
    columns = disputes.c
    names = ("account_id", *StoredDispute.__struct_fields__)
    query = select(*(columns[name] for name in names)).order_by(columns.account_id, columns.dispute_id)
    found: dict[AccountId, list[StoredDispute]] = defaultdict(list)
    for account_id, *dispute in await connection.execute(query):
        found[account_id].append(StoredDispute(*dispute))
    return found


async def load_carried(connection: AsyncConnection) -> dict[AccountId, list[CarriedCycle]]:
    """Return what detached records took from cycles, by account."""
    columns = usage_period_cycles.c
    query = select(columns.account_id, columns.cycle_start, columns.quota_nanos, columns.balance_nanos)
    found: dict[AccountId, list[CarriedCycle]] = defaultdict(list)
    for account_id, *carried in await connection.execute(query):
        found[account_id].append(CarriedCycle(*carried))
    return found


async def count_ids(connection: AsyncConnection, periods: Collection[Period]) -> dict[Period, int]:
    """Return how many ids there are of records that were debited in these months."""
    month = func.date_trunc("month", transfers.c.occurred_at, "UTC")
    same = (usage_ids.c.account_id == transfers.c.account_id) & (usage_ids.c.transfer_seq == transfers.c.seq)
    query = select(month, func.count()).select_from(transfers.join(usage_ids, same))
    query = query.where(month.in_([period.start for period in periods])).group_by(month)
    return {Period.of(start): count for start, count in await connection.execute(query)}


def _stored_usage(row: Row[*tuple[Any, ...]]) -> StoredUsage:
    digest, debited_at, fingerprint = row[_ROW_FIELDS:]
    return StoredUsage(UsageRow(*row[:_ROW_FIELDS]), digest, debited_at, fingerprint)
