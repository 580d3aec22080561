"""SQL of disputes, of accounts that they freeze, and of fraud warnings, which leave only an alert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import disputes
from shared.db.tables import accounts, alerts, transfers
from shared.domain.alerts import AlertType
from shared.domain.ledger import TransferKind


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute as it stands in the database; ``taken_nanos`` is what it holds."""

    account_id: str
    dispute_id: str
    topup_id: str
    status: str
    amount_nanos: int
    taken_nanos: int
    updated_at: datetime


async def find_dispute(connection: AsyncConnection, dispute_id: str) -> Dispute | None:
    """Return a dispute by Stripe's id."""
    query = select(*_COLUMNS).where(disputes.c.dispute_id == dispute_id)
    row = (await connection.execute(query)).one_or_none()
    return Dispute(*row) if row else None


async def disputes_of(connection: AsyncConnection, account_id: str, topup_id: str) -> list[Dispute]:
    """Return the disputes of a top-up, oldest first."""
    query = select(*_COLUMNS).where(disputes.c.account_id == account_id, disputes.c.topup_id == topup_id)
    query = query.order_by(disputes.c.created_at, disputes.c.dispute_id)
    return [Dispute(*row) for row in await connection.execute(query)]


async def save_dispute(
    connection: AsyncConnection, account_id: str, dispute_id: str, values: Mapping[str, Any]
) -> None:
    """Write how a dispute stands."""
    statement = upsert(disputes).values(account_id=account_id, dispute_id=dispute_id, **values)
    changed = dict(values) | {"updated_at": func.clock_timestamp()}
    await connection.execute(statement.on_conflict_do_update(constraint="disputes_pkey", set_=changed))


async def count_taken(connection: AsyncConnection, dispute: Dispute, more_nanos: int) -> None:
    """Count what a dispute took later, of what was given back to its charge."""
    mine = (disputes.c.account_id == dispute.account_id) & (disputes.c.dispute_id == dispute.dispute_id)
    taken = disputes.c.taken_nanos + more_nanos
    await connection.execute(
        update(disputes).where(mine).values(taken_nanos=taken, updated_at=func.clock_timestamp())
    )


async def standing_takings(
    connection: AsyncConnection, account_id: str, credit_seq: int, cause: str
) -> list[tuple[int, int]]:
    """Return number and amount of the transfers that took money for a dispute and were not given back."""
    taking, given_back = transfers, transfers.alias("given_back")
    is_given_back = (
        select(given_back.c.seq)
        .where(given_back.c.account_id == account_id, given_back.c.reverses_seq == taking.c.seq)
        .exists()
    )
    query = select(taking.c.seq, -taking.c.amount_nanos).where(
        taking.c.account_id == account_id,
        taking.c.reverses_seq == credit_seq,
        taking.c.kind == TransferKind.DISPUTE,
        taking.c.cause == cause,
        ~is_given_back,
    )
    return [(seq, amount) for seq, amount in await connection.execute(query.order_by(taking.c.seq))]


async def freeze_account(connection: AsyncConnection, account_id: str) -> None:
    """Freeze an account whose version this transaction has moved."""
    await connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(frozen=True))


async def was_warned(connection: AsyncConnection, account_id: str, warning_id: str) -> bool:
    """Whether a fraud warning was told before."""
    query = select(alerts.c.sequence).where(
        alerts.c.account_id == account_id,
        alerts.c.type == AlertType.TOPUP_DISABLED,
        alerts.c.data["fraud_warning"].astext == warning_id,
    )
    return (await connection.execute(query)).first() is not None


async def list_disputes(connection: AsyncConnection, account_id: str | None) -> Sequence[RowMapping]:
    """Return disputes, oldest first."""
    query = select(disputes).order_by(disputes.c.created_at, disputes.c.dispute_id)
    if account_id is not None:
        query = query.where(disputes.c.account_id == account_id)
    return (await connection.execute(query)).mappings().all()


_COLUMNS = (
    disputes.c.account_id,
    disputes.c.dispute_id,
    disputes.c.topup_id,
    disputes.c.status,
    disputes.c.amount_nanos,
    disputes.c.taken_nanos,
    disputes.c.updated_at,
)
