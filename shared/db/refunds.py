"""SQL of refunds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import refunds, topups
from shared.domain.refunds import OPEN_REFUNDS, RefundState


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as it stands in the database, and the payment that it is of."""

    account_id: str
    refund_id: str
    topup_id: str
    state: RefundState
    amount_nanos: int
    attempt: int
    stripe_refund_id: str | None
    transfer_seq: int
    payment_intent_id: str | None


async def insert_refund(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Write a refund: it is committed, with what it takes, before Stripe hears of it."""
    await connection.execute(insert(refunds).values(**values))


async def load_refund(connection: AsyncConnection, refund_id: str) -> Refund | None:
    """Return a refund by our id."""
    return await _load(connection, refunds.c.refund_id == refund_id)


async def find_stripe_refund(connection: AsyncConnection, stripe_refund_id: str) -> Refund | None:
    """Return a refund by Stripe's id."""
    return await _load(connection, refunds.c.stripe_refund_id == stripe_refund_id)


async def find_refund(connection: AsyncConnection, account_id: str, refund_id: str) -> RowMapping:
    """Return a refund that is there as people see it."""
    query = _SHOWN.where(refunds.c.account_id == account_id, refunds.c.refund_id == refund_id)
    return (await connection.execute(query)).mappings().one()


async def find_asked(connection: AsyncConnection, account_id: str, idempotency_key: str) -> RowMapping | None:
    """Return the refund that was asked for under a key."""
    query = _SHOWN.where(refunds.c.account_id == account_id, refunds.c.idempotency_key == idempotency_key)
    return (await connection.execute(query)).mappings().one_or_none()


async def change_refund(connection: AsyncConnection, refund: Refund, values: Mapping[str, Any]) -> None:
    """Change a refund."""
    mine = (refunds.c.account_id == refund.account_id) & (refunds.c.refund_id == refund.refund_id)
    await connection.execute(update(refunds).where(mine).values(**values, updated_at=func.clock_timestamp()))


async def look_again(connection: AsyncConnection, refund_id: str, at: datetime) -> None:
    """Let a refund that is not over be looked at again then."""
    mine = (refunds.c.refund_id == refund_id) & refunds.c.state.in_(OPEN_REFUNDS)
    await connection.execute(update(refunds).where(mine).values(next_step_at=at))


async def begin_attempt(connection: AsyncConnection, refund: Refund) -> None:
    """Let a refund be asked for as if anew, if nobody else has seen to that."""
    mine = (refunds.c.account_id == refund.account_id) & (refunds.c.refund_id == refund.refund_id)
    await connection.execute(
        update(refunds)
        .where(mine, refunds.c.attempt == refund.attempt, refunds.c.state == RefundState.RESERVED)
        .values(attempt=refund.attempt + 1)
    )


async def quarantine_refund(connection: AsyncConnection, refund: Refund, why: str) -> None:
    """Leave a refund that is not over to a person."""
    mine = (refunds.c.account_id == refund.account_id) & (refunds.c.refund_id == refund.refund_id)
    values = {"state": RefundState.QUARANTINED, "detail": why, "next_step_at": None}
    await connection.execute(
        update(refunds)
        .where(mine, refunds.c.state.in_(OPEN_REFUNDS))
        .values(**values, updated_at=func.clock_timestamp())
    )


async def some_reserved(connection: AsyncConnection, account_id: str, topup_id: str) -> bool:
    """Whether a refund of the top-up is reserved that Stripe may not have heard of."""
    query = select(refunds.c.refund_id).where(
        refunds.c.account_id == account_id,
        refunds.c.topup_id == topup_id,
        refunds.c.state.in_((RefundState.RESERVED, RefundState.QUARANTINED)),
    )
    return (await connection.execute(query)).first() is not None


async def list_refunds(connection: AsyncConnection, account_id: str | None) -> Sequence[RowMapping]:
    """Return refunds, oldest first."""
    query = _SHOWN.order_by(refunds.c.created_at, refunds.c.refund_id)
    if account_id is not None:
        query = query.where(refunds.c.account_id == account_id)
    return (await connection.execute(query)).mappings().all()


_OF_TOPUP = refunds.join(
    topups, (topups.c.account_id == refunds.c.account_id) & (topups.c.topup_id == refunds.c.topup_id)
)
_SHOWN = select(refunds, topups.c.payment_intent_id.label("payment_intent")).select_from(_OF_TOPUP)


async def _load(connection: AsyncConnection, which: ColumnElement[bool]) -> Refund | None:
    query = select(
        refunds.c.account_id,
        refunds.c.refund_id,
        refunds.c.topup_id,
        refunds.c.state,
        refunds.c.amount_nanos,
        refunds.c.attempt,
        refunds.c.stripe_refund_id,
        refunds.c.transfer_seq,
        topups.c.payment_intent_id,
    ).select_from(_OF_TOPUP)
    row = (await connection.execute(query.where(which))).one_or_none()
    return Refund(row[0], row[1], row[2], RefundState(row[3]), *row[4:]) if row else None
