"""SQL of invoices: the number and the invoice in one transaction. Whoever calls commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import invoices, topups
from shared.db.topups import Topup

_UNINVOICED = text("""
    SELECT t.topup_id, t.transfer_seq, r.occurred_at AS paid_at, t.payment_intent_id AS payment_intent,
           t.charge_id, t.receipt_url, a.name, a.billing
    FROM topups t
    JOIN accounts a USING (account_id)
    JOIN transfers r ON r.account_id = t.account_id AND r.seq = t.transfer_seq
    WHERE t.account_id = :account_id AND t.topup_id = :topup_id
      AND NOT EXISTS (SELECT FROM invoices i WHERE i.account_id = t.account_id AND i.topup_id = t.topup_id)
""").columns(billing=JSONB)

# The row stays locked until the transaction ends, so what rolls back leaves no gap; and since the time is
# read under that lock, no invoice is older than one with a lower number.
_TAKE_NUMBER = text("""
    UPDATE invoice_numbers SET last_number = last_number + 1 RETURNING last_number, clock_timestamp()
""")


async def find_uninvoiced(connection: AsyncConnection, topup: Topup) -> RowMapping | None:
    """Return what an invoice says of a top-up that was credited and has none; lock its row before."""
    parameters = {"account_id": topup.account_id, "topup_id": topup.topup_id}
    return (await connection.execute(_UNINVOICED, parameters)).mappings().one_or_none()


async def take_number(connection: AsyncConnection) -> tuple[int, datetime]:
    """Return the next number and the time; nobody else takes one until the transaction ends."""
    number, now = (await connection.execute(_TAKE_NUMBER)).one()
    return number, now


async def insert_invoice(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(insert(invoices).values(**values))


async def set_due(connection: AsyncConnection, topup: Topup, at: datetime | None) -> None:
    """Set when the invoice of a top-up is due, None where it has one; nothing else of the top-up changes."""
    mine = (topups.c.account_id == topup.account_id) & (topups.c.topup_id == topup.topup_id)
    due = topups.c.invoice_due_at.is_not(None)
    await connection.execute(update(topups).where(mine, due).values(invoice_due_at=at))


async def list_invoices(connection: AsyncConnection, account_id: str | None) -> Sequence[RowMapping]:
    """Return invoices in order of their numbers."""
    query = _with_what_was_taken_back().order_by(invoices.c.number)
    if account_id is not None:
        query = query.where(invoices.c.account_id == account_id)
    rows: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
    return rows


async def find_invoice(connection: AsyncConnection, number: int) -> RowMapping | None:
    query = _with_what_was_taken_back().where(invoices.c.number == number)
    row: RowMapping | None = (await connection.execute(query)).mappings().one_or_none()
    return row


def _with_what_was_taken_back() -> Select[Any]:
    mine = (topups.c.account_id == invoices.c.account_id) & (topups.c.topup_id == invoices.c.topup_id)
    return select(invoices, topups.c.refunded_nanos, topups.c.disputed_nanos).join_from(
        invoices, topups, mine
    )
