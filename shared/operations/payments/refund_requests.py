"""Refunds as people ask for them: reserved in the books, and the list.

A refund goes to the payment method that paid. It is at most what is unspent and what the charge has left, and
the money is taken from the balance before Stripe is asked.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import charged, disputes
from shared.db import refunds as sql
from shared.db.charged import ChargedTopup
from shared.db.engine import database_time
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.money import format_dollars
from shared.domain.refunds import RefundState, holds_money, refundable_nanos
from shared.domain.topup import NANOS_PER_CENT, TopupState
from shared.ids import new_id
from shared.operations.money import read_account
from shared.operations.payments.corrections import commit_corrections
from shared.operations.payments.refunds import book_refund, reservation


async def reserve_refund(
    engine: AsyncEngine,
    topup_id: str,
    amount_nanos: int | None,
    reason: str,
    grace: timedelta,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Take money for a refund from the balance; the top-up stage has Stripe pay it back.

    Without an amount it is all that can be refunded. The same idempotency key gives the same refund. Raises
    NotFoundError for an unknown top-up, RefusedError for an amount that cannot be refunded, or a key that was
    used for something else.
    """
    while True:
        async with engine.begin() as connection:
            reserved = await _reserve(connection, topup_id, amount_nanos, reason, grace, idempotency_key)
            if reserved is not None:
                return reserved
            # The account changed while we looked, and with it maybe what is unspent: once more.


async def list_refunds(engine: AsyncEngine, account_id: str | None) -> Sequence[dict[str, Any]]:
    """Return refunds, oldest first."""
    async with engine.connect() as connection:
        return [_shown(row) for row in await sql.list_refunds(connection, account_id)]


async def _reserve(
    connection: AsyncConnection,
    topup_id: str,
    amount_nanos: int | None,
    reason: str,
    grace: timedelta,
    idempotency_key: str | None,
) -> dict[str, Any] | None:
    topup = await charged.lock_topup(connection, topup_id)
    if topup is None:
        raise NotFoundError(f"there is no top-up {topup_id}")
    read = await read_account(connection, topup.account_id, grace)
    # Looked up after the account was read: one that is written later moves the account's version.
    if idempotency_key and (made := await sql.find_asked(connection, topup.account_id, idempotency_key)):
        return _same_or_refused(made, topup_id, amount_nanos, reason)
    amount = await _checked_amount(connection, topup, read[1].balance_nanos, amount_nanos)
    now, refund_id = await database_time(connection), new_id("ref")
    taking = reservation(topup, refund_id, amount, reason)
    posted = await commit_corrections(connection, read, [taking], now)
    if posted is None:
        return None
    values = {
        "account_id": topup.account_id,
        "refund_id": refund_id,
        "topup_id": topup_id,
        "state": RefundState.RESERVED,
        "amount_nanos": amount,
        "reason": reason,
        "transfer_seq": posted.seqs[0],
        "idempotency_key": idempotency_key,
        "next_step_at": now,
    }
    await book_refund(connection, topup, values, now)
    return _shown(await sql.find_refund(connection, topup.account_id, refund_id))


async def _checked_amount(
    connection: AsyncConnection, topup: ChargedTopup, balance_nanos: int, asked_nanos: int | None
) -> int:
    """Return how much is refunded; raises RefusedError, with why, where it is not possible."""
    if topup.state is not TopupState.SUCCEEDED:
        raise RefusedError(
            f"top-up {topup.topup_id} is {topup.state}: nothing was charged that could go back"
        )
    of_it = await disputes.disputes_of(connection, topup.account_id, topup.topup_id)
    if any(holds_money(dispute.status) for dispute in of_it):
        raise RefusedError(f"top-up {topup.topup_id} is disputed: its bank decides, no refund can be made")
    at_most = refundable_nanos(topup.left_nanos, balance_nanos)
    amount = at_most if asked_nanos is None else asked_nanos
    if asked_nanos is not None and (amount < NANOS_PER_CENT or amount % NANOS_PER_CENT):
        raise RefusedError("a refund is a whole number of cents, at least one")
    if not 0 < amount <= at_most:
        raise RefusedError(
            f"at most ${format_dollars(at_most)} of top-up {topup.topup_id} can be refunded: "
            f"${format_dollars(topup.left_nanos)} of its charge are left, "
            f"${format_dollars(max(0, balance_nanos))} of the balance are unspent"
        )
    return amount


def _same_or_refused(
    made: RowMapping, topup_id: str, amount_nanos: int | None, reason: str
) -> dict[str, Any]:
    same = (made["topup_id"], made["reason"]) == (topup_id, reason)
    if not same or amount_nanos not in (None, made["amount_nanos"]):
        raise RefusedError(f"idempotency key {made['idempotency_key']} was used for another refund")
    return _shown(made)


def _shown(row: RowMapping) -> dict[str, Any]:
    fields = dict(row)
    fields.pop("next_step_at")
    return {"id": fields.pop("refund_id"), **fields}
