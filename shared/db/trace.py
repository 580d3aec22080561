"""SQL that finds what one id names, and what followed from it. Each query has an index to go by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.delivery_tables import alert_deliveries
from shared.db.payment_tables import disputes, refunds, stripe_events, topups
from shared.db.tables import (
    accounts,
    alerts,
    evaluations,
    quarantine,
    rates,
    transfers,
    usage_ids,
    usage_records,
)
from shared.domain.ledger import Transfer

Rows = Sequence[RowMapping]


async def debits_of_event(connection: AsyncConnection, event_id: str, account_id: str | None) -> Rows:
    """Return account and number of each transfer that debited an event: its id is unique per account."""
    ids = usage_ids.c
    # Ids are indexed by account, so each account is asked; see journal.list_usage.
    mine = (ids.account_id == accounts.c.account_id) & (ids.event_id == event_id)
    query = select(ids.account_id, ids.transfer_seq).select_from(accounts).join(usage_ids, mine)
    if account_id is not None:
        query = query.where(accounts.c.account_id == account_id)
    return await _rows(connection, query.order_by(ids.account_id))


async def voids_of_event(connection: AsyncConnection, account_id: str, event_id: str) -> Sequence[int]:
    """Return the numbers of the transfers that gave back what an event took: at most one."""
    mine = (transfers.c.account_id == account_id) & (transfers.c.reverses_event_id == event_id)
    return (await connection.execute(select(transfers.c.seq).where(mine))).scalars().all()


async def find_transfer(connection: AsyncConnection, account_id: str, seq: int) -> Transfer | None:
    """Return one transfer of an account."""
    columns = [transfers.c[name] for name in Transfer.__struct_fields__]
    query = select(*columns).where(transfers.c.account_id == account_id, transfers.c.seq == seq)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Transfer(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


async def usage_of_transfer(connection: AsyncConnection, account_id: str, transfer: Transfer) -> Rows:
    """Return the usage records that a transfer debited; none where their month was detached."""
    records = usage_records.c
    mine = (records.account_id == account_id) & (records.transfer_seq == transfer.seq)
    mine &= records.debited_at == transfer.occurred_at
    return await _rows(connection, select(usage_records).where(mine).order_by(records.event_id))


async def find_rate(connection: AsyncConnection, rate_id: int) -> RowMapping:
    """Return a rate: what it is of, since when, and its tiers in nanos per million tokens."""
    return (await connection.execute(select(rates).where(rates.c.rate_id == rate_id))).mappings().one()


async def evaluated_seq(connection: AsyncConnection, account_id: str) -> int:
    """Return the number of the last transfer that thresholds has looked at."""
    query = select(evaluations.c.evaluated_seq).where(evaluations.c.account_id == account_id)
    return (await connection.execute(query)).scalar_one_or_none() or 0


async def alerts_at(connection: AsyncConnection, account_id: str, moment: datetime) -> Rows:
    """Return the alerts of one moment, which is that of what they tell about."""
    return await _alerts(connection, alerts.c.account_id == account_id, alerts.c.occurred_at == moment)


async def alerts_about(
    connection: AsyncConnection, account_id: str, since: datetime, field: str, value: str
) -> Rows:
    """Return the alerts of an account from then on whose data names something."""
    named = alerts.c.data[field].astext == value
    return await _alerts(connection, alerts.c.account_id == account_id, alerts.c.occurred_at >= since, named)


async def alerts_numbered(connection: AsyncConnection, sequence: int) -> Rows:
    """Return the alert with a sequence number."""
    return await _alerts(connection, alerts.c.sequence == sequence)


async def deliveries_of_alert(connection: AsyncConnection, account_id: str, sequence: int) -> Rows:
    """Return what receivers of their own, such as webhooks and mail, were to get of an alert."""
    columns = alert_deliveries.c
    mine = (columns.alert_account_id == account_id) & (columns.sequence == sequence)
    query = select(alert_deliveries).where(mine).order_by(columns.created_at, columns.delivery_id)
    return await _rows(connection, query)


async def parked(connection: AsyncConnection, record_id: str) -> Rows:
    """Return the entries in quarantine of an event, or with that id of their own."""
    columns = quarantine.c
    mine = or_(columns.event_id == record_id, columns.entry_id == record_id)
    return await _rows(
        connection, select(quarantine).where(mine).order_by(columns.first_seen_at, columns.entry_id)
    )


async def topups_named(connection: AsyncConnection, record_id: str) -> Rows:
    """Return the top-up with that id, payment or page at Stripe."""
    columns = topups.c
    names = (columns.topup_id, columns.payment_intent_id, columns.checkout_session_id)
    return await _rows(connection, select(topups).where(or_(*(name == record_id for name in names))))


async def topup_credited_by(connection: AsyncConnection, account_id: str, seq: int) -> Rows:
    """Return the top-up that a transfer credited."""
    mine = (topups.c.account_id == account_id) & (topups.c.transfer_seq == seq)
    return await _rows(connection, select(topups).where(mine))


async def refunds_named(connection: AsyncConnection, record_id: str) -> Rows:
    """Return the refund with that id, here or at Stripe."""
    columns = refunds.c
    mine = or_(columns.refund_id == record_id, columns.stripe_refund_id == record_id)
    return await _rows(connection, select(refunds).where(mine))


async def disputes_named(connection: AsyncConnection, record_id: str) -> Rows:
    """Return the dispute with that id at Stripe."""
    return await _rows(connection, select(disputes).where(disputes.c.dispute_id == record_id))


async def taken_of_topup(connection: AsyncConnection, account_id: str, topup_id: str) -> tuple[Rows, Rows]:
    """Return the refunds and the disputes of a top-up, oldest first."""
    found = [
        await _rows(
            connection,
            select(table)
            .where(table.c.account_id == account_id, table.c.topup_id == topup_id)
            .order_by(table.c.created_at),
        )
        for table in (refunds, disputes)
    ]
    return found[0], found[1]


async def stripe_events_named(connection: AsyncConnection, event_id: str) -> Rows:
    """Return the event of Stripe's with that id."""
    return await _rows(connection, select(stripe_events).where(stripe_events.c.event_id == event_id))


async def _alerts(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> Rows:
    return await _rows(connection, select(alerts).where(*conditions).order_by(alerts.c.sequence))


async def _rows(connection: AsyncConnection, query: Select[*tuple[Any, ...]]) -> Rows:
    return (await connection.execute(query)).mappings().all()
