"""Refunds, brought to where Stripe says they are: its answer, a webhook and the reconciler end here.

Under a lock on the top-up's row. What was taken for a refund that fails, now or days later, is given back
once; and one that was made in Stripe's dashboard is booked like one that was asked for here.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import charged, disputes
from shared.db import refunds as sql
from shared.db.charged import ChargedTopup
from shared.db.refunds import Refund
from shared.domain.corrections import Correction
from shared.domain.currency import nanos_of
from shared.domain.ledger import TransferKind
from shared.domain.money import format_dollars
from shared.domain.refunds import RefundState, moves_ahead, refund_cause, state_at_stripe
from shared.gateways.stripe_refunds import StripeRefund
from shared.ids import new_id
from shared.operations.money import read_account
from shared.operations.payments.corrections import NotYetError, commit_corrections, lock_charge
from shared.operations.payments.disputes import take_what_is_left
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.suspension import suspend

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(hours=1)
_MADE_AT_STRIPE = "made at Stripe"


async def settle_refund(
    engine: AsyncEngine, refund: StripeRefund, now: datetime, policy: SettlePolicy
) -> Outcome:
    """Bring the books to where a refund is at Stripe, however often and in whatever order it is told.

    One that the books do not know was made in Stripe's dashboard: it is taken from the balance, be that
    enough or not, for the money is gone. Raises NotYetError where something else has to be settled first.
    """
    while True:
        async with engine.begin() as connection:
            settled = await _settle(connection, refund, now, policy)
            if settled is not None:
                return settled


async def fail_refund(
    engine: AsyncEngine, refund_id: str, why: str, now: datetime, policy: SettlePolicy
) -> Outcome:
    """Give back what was reserved for a refund that Stripe refuses to make."""
    while True:
        async with engine.begin() as connection:
            refund = await sql.load_refund(connection, refund_id)
            topup = await charged.lock_topup(connection, refund.topup_id) if refund else None
            refund = await sql.load_refund(connection, refund_id)  # as it is now that nobody else moves it
            if refund is None or topup is None or refund.state is not RefundState.RESERVED:
                return Outcome()
            failed = await _give_back(connection, topup, refund, why, now, policy)
            if failed is not None:
                return failed


async def quarantine_refund(engine: AsyncEngine, refund_id: str, why: str) -> Outcome:
    """Leave a refund to a person; what it reserved stays reserved until Stripe's word on it comes."""
    async with engine.begin() as connection:
        refund = await sql.load_refund(connection, refund_id)
        if refund is not None and await charged.lock_topup(connection, refund.topup_id):
            await sql.quarantine_refund(connection, refund, why)
    return Outcome()


def reservation(topup: ChargedTopup, refund_id: str, amount_nanos: int, reason: str) -> Correction:
    """Return the transfer that takes money for a refund."""
    cause = refund_cause(refund_id, reason)
    return Correction(TransferKind.REFUND, -amount_nanos, cause, topup.transfer_seq or 0)


async def book_refund(
    connection: AsyncConnection, topup: ChargedTopup, values: Mapping[str, Any], now: datetime
) -> Outcome:
    """Write a refund whose transfer was just posted, and let nothing be charged because of it."""
    await sql.insert_refund(connection, values)
    await charged.add_taken(connection, topup, refunded_nanos=values["amount_nanos"])
    why = f"a refund of ${format_dollars(values['amount_nanos'])}: {values['reason']}"
    extra = {"refund_id": values["refund_id"], "topup_id": topup.topup_id}
    extra |= {"amount_nanos": values["amount_nanos"]}
    return await suspend(connection, topup.account_id, why, now, extra)


async def _settle(
    connection: AsyncConnection, refund: StripeRefund, now: datetime, policy: SettlePolicy
) -> Outcome | None:
    """Return what follows, or None where the account has to be read again."""
    topup = await lock_charge(connection, refund.stripe_refund_id, refund.intent_id, refund.currency)
    if topup is None:
        return Outcome()
    known = await _known(connection, topup, refund)
    state = state_at_stripe(refund.status)
    if known is None:
        if state is RefundState.FAILED:
            return Outcome()
        return await _book_from_stripe(connection, topup, refund, now, policy)
    if not moves_ahead(known.state, state) and known.state is not RefundState.PENDING:
        return Outcome()
    if state is RefundState.FAILED:
        why = refund.failure_reason or refund.status
        known = replace(known, stripe_refund_id=refund.stripe_refund_id)
        return await _give_back(connection, topup, known, why, now, policy)
    await sql.change_refund(connection, known, _stands(refund, now))
    return Outcome()


async def _known(connection: AsyncConnection, topup: ChargedTopup, refund: StripeRefund) -> Refund | None:
    """Return the refund that it is: by Stripe's id, or by our own where the answer to our asking was lost."""
    if known := await sql.find_stripe_refund(connection, refund.stripe_refund_id):
        return known
    asked = await sql.load_refund(connection, refund.refund_id) if refund.refund_id else None
    if asked is None or asked.stripe_refund_id is not None or asked.state is RefundState.FAILED:
        return None
    its_own = (asked.topup_id, asked.amount_nanos) == (
        topup.topup_id,
        nanos_of(refund.amount, refund.currency),
    )
    return asked if its_own else None


async def _book_from_stripe(
    connection: AsyncConnection,
    topup: ChargedTopup,
    refund: StripeRefund,
    now: datetime,
    policy: SettlePolicy,
) -> Outcome | None:
    amount = nanos_of(refund.amount, refund.currency)
    taken = min(amount, topup.left_nanos)
    if taken < amount and await sql.some_reserved(connection, topup.account_id, topup.topup_id):
        # Stripe will refuse what it has no money left for; then there is room for this one.
        raise NotYetError(f"{refund.stripe_refund_id} waits for a refund that is reserved, and refused soon")
    if taken <= 0:
        log.error("more went back than was charged", object=refund.stripe_refund_id, topup=topup.topup_id)
        return Outcome()
    refund_id = new_id("ref")
    read = await read_account(connection, topup.account_id, policy.grace)
    posted = await commit_corrections(
        connection, read, [reservation(topup, refund_id, taken, _MADE_AT_STRIPE)], now
    )
    if posted is None:
        return None
    values = {
        "account_id": topup.account_id,
        "refund_id": refund_id,
        "topup_id": topup.topup_id,
        "amount_nanos": taken,
        "reason": _MADE_AT_STRIPE,
        "transfer_seq": posted.seqs[0],
        **_stands(refund, now),
    }
    outcome = Outcome(due=posted.due)
    outcome += await book_refund(connection, topup, values, now)
    return outcome


async def _give_back(
    connection: AsyncConnection,
    topup: ChargedTopup,
    refund: Refund,
    why: str,
    now: datetime,
    policy: SettlePolicy,
) -> Outcome | None:
    """Return what was reserved to the balance; a dispute that found too little takes its share of it."""
    read = await read_account(connection, topup.account_id, policy.grace)
    cause = refund_cause(refund.refund_id, f"failed, {why}")
    returned = Correction(TransferKind.REFUND_RETURNED, refund.amount_nanos, cause, refund.transfer_seq)
    takings = await take_what_is_left(connection, topup, refund.amount_nanos)
    corrections = [returned, *(correction for _, correction in takings)]
    posted = await commit_corrections(connection, read, corrections, now)
    if posted is None:
        return None
    values = {
        "state": RefundState.FAILED,
        "detail": why,
        "stripe_refund_id": refund.stripe_refund_id,
        "returned_seq": posted.seqs[0],
        "next_step_at": None,
    }
    await sql.change_refund(connection, refund, values)
    for dispute, taking in takings:
        await disputes.count_taken(connection, dispute, -taking.amount_nanos)
    disputed = -sum(taking.amount_nanos for _, taking in takings)
    await charged.add_taken(connection, topup, refunded_nanos=-refund.amount_nanos, disputed_nanos=disputed)
    return Outcome(due=posted.due)


def _stands(refund: StripeRefund, now: datetime) -> dict[str, Any]:
    state = state_at_stripe(refund.status)
    again = now + _LOOK_AGAIN if state is RefundState.PENDING else None
    return {
        "state": state,
        "next_step_at": again,
        "stripe_refund_id": refund.stripe_refund_id,
        "detail": None,
    }
