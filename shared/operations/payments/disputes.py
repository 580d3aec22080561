"""Disputes and early fraud warnings: what a cardholder's bank takes, or says it may, ends here.

A dispute takes what it is over, and at most what the charge has left: refunds and disputes share it, nothing
is taken twice. The balance may fall below zero: the money is gone. The account is frozen until an operator
has looked at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import charged
from shared.db import disputes as sql
from shared.db.charged import ChargedTopup
from shared.db.disputes import Dispute
from shared.domain.corrections import Correction
from shared.domain.currency import nanos_of
from shared.domain.ledger import TransferKind
from shared.domain.refunds import dispute_cause, holds_money, needs_care, to_take_nanos
from shared.gateways.stripe_disputes import StripeDispute, StripeDisputes
from shared.operations.money import read_account
from shared.operations.payments.corrections import commit_corrections, lock_charge
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.suspension import suspend


async def settle_dispute(
    engine: AsyncEngine, gateway: StripeDisputes, dispute_id: str, now: datetime, policy: SettlePolicy
) -> Outcome:
    """Bring the books to where a dispute is at Stripe, however often and in whatever order it is told.

    Raises what ``StripeDisputes`` does; NotYetError where its charge is not credited yet.
    """
    while True:
        async with engine.connect() as connection:
            seen = await sql.find_dispute(connection, dispute_id)
        dispute = await gateway.retrieve_dispute(dispute_id)
        async with engine.begin() as connection:
            settled = await _settle(connection, dispute, seen, now, policy)
            if settled is not None:
                return settled
            # Somebody else was here, maybe with a newer word of Stripe, or the account changed: once more.


async def note_fraud_warning(
    engine: AsyncEngine, gateway: StripeDisputes, warning_id: str, now: datetime
) -> Outcome:
    """Suspend automatic top-up of an account whose charge was reported as fraud, with one alert a warning."""
    warning = await gateway.retrieve_warning(warning_id)
    async with engine.begin() as connection:
        topup = (
            await charged.lock_topup_of_intent(connection, warning.intent_id) if warning.intent_id else None
        )
        if topup is None or await sql.was_warned(connection, topup.account_id, warning_id):
            return Outcome()
        why = f"the issuer of the card warns of fraud: {warning.fraud_type}"
        extra = {"fraud_warning": warning_id, "topup_id": topup.topup_id, "amount_nanos": topup.amount_nanos}
        return await suspend(connection, topup.account_id, why, now, extra, always_tell=True)


async def take_what_is_left(
    connection: AsyncConnection, topup: ChargedTopup, freed_nanos: int
) -> list[tuple[Dispute, Correction]]:
    """Return what disputes of a top-up take of money that a failed refund puts back on its charge."""
    left, takings = topup.left_nanos + freed_nanos, []
    for dispute in await sql.disputes_of(connection, topup.account_id, topup.topup_id):
        more = to_take_nanos(dispute.amount_nanos, dispute.taken_nanos, left)
        if holds_money(dispute.status) and more:
            takings.append((dispute, _taking(topup, dispute.dispute_id, more)))
            left -= more
    return takings


async def list_disputes(engine: AsyncEngine, account_id: str | None) -> Sequence[dict[str, Any]]:
    """Return disputes, oldest first."""
    async with engine.connect() as connection:
        rows = await sql.list_disputes(connection, account_id)
    return [{"id": row["dispute_id"], **{n: row[n] for n in row if n != "dispute_id"}} for row in rows]


@dataclass(frozen=True, slots=True)
class _Change:
    """What a dispute does to the books: transfers, and how much more, or less, it holds after them."""

    corrections: Sequence[Correction]
    held_nanos: int


async def _settle(
    connection: AsyncConnection,
    dispute: StripeDispute,
    seen: Dispute | None,
    now: datetime,
    policy: SettlePolicy,
) -> Outcome | None:
    topup = await lock_charge(connection, dispute.dispute_id, dispute.intent_id, dispute.currency)
    if topup is None:
        return Outcome()
    before = await sql.find_dispute(connection, dispute.dispute_id)
    if (before and before.updated_at) != (seen and seen.updated_at):
        return None
    was_holding = before is not None and holds_money(before.status)
    began = holds_money(dispute.status) and not was_holding
    change = await _change(connection, topup, dispute, before)
    outcome = Outcome()
    if change.corrections or began:
        read = await read_account(connection, topup.account_id, policy.grace)
        posted = await commit_corrections(connection, read, change.corrections, now)
        if posted is None:
            return None
        outcome += Outcome(due=posted.due)
    await _save(connection, topup, dispute, before, change)
    if began:
        await sql.freeze_account(connection, topup.account_id)
    if began or (before is None and needs_care(dispute.status)):
        outcome += await _suspend(connection, topup, dispute, now)
    return outcome


async def _change(
    connection: AsyncConnection, topup: ChargedTopup, dispute: StripeDispute, before: Dispute | None
) -> _Change:
    taken = before.taken_nanos if before else 0
    amount = nanos_of(dispute.amount, dispute.currency)
    if holds_money(dispute.status):
        more = to_take_nanos(amount, taken, topup.left_nanos)
        return _Change([_taking(topup, dispute.dispute_id, more)] if more else [], more)
    if not taken:
        return _Change([], 0)
    cause = f"dispute {dispute.dispute_id} {dispute.status}: the account stays frozen until it is looked at"
    standing = await sql.standing_takings(
        connection, topup.account_id, topup.transfer_seq or 0, dispute_cause(dispute.dispute_id)
    )
    returned = [Correction(TransferKind.DISPUTE_REINSTATED, nanos, cause, seq) for seq, nanos in standing]
    return _Change(returned, -taken)


def _taking(topup: ChargedTopup, dispute_id: str, nanos: int) -> Correction:
    return Correction(TransferKind.DISPUTE, -nanos, dispute_cause(dispute_id), topup.transfer_seq or 0)


async def _save(
    connection: AsyncConnection,
    topup: ChargedTopup,
    dispute: StripeDispute,
    before: Dispute | None,
    change: _Change,
) -> None:
    """Write how it stands, even if nothing is new: so whoever asked Stripe before us asks again."""
    taken = (before.taken_nanos if before else 0) + change.held_nanos
    values = {
        "topup_id": topup.topup_id,
        "status": dispute.status,
        "reason": dispute.reason,
        "amount_nanos": max(taken, nanos_of(dispute.amount, dispute.currency)),
        "taken_nanos": taken,
    }
    await sql.save_dispute(connection, topup.account_id, dispute.dispute_id, values)
    if change.held_nanos:
        await charged.add_taken(connection, topup, disputed_nanos=change.held_nanos)


async def _suspend(
    connection: AsyncConnection, topup: ChargedTopup, dispute: StripeDispute, now: datetime
) -> Outcome:
    what = "is disputed" if holds_money(dispute.status) else "is asked about by the cardholder's bank"
    why = f"top-up {topup.topup_id} {what}: {dispute.reason}"
    extra = {"dispute": dispute.dispute_id, "topup_id": topup.topup_id, "amount_nanos": topup.amount_nanos}
    return await suspend(connection, topup.account_id, why, now, extra)
