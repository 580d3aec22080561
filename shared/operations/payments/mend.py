"""Who mends which difference between Stripe and the books: the one function that moves the thing.

A mender fetches it anew and may do nothing; whether the difference is gone is looked at afterwards. Alerts
and evaluations that follow are committed with it, and the clock sends them on.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import topups
from shared.domain.payment_differences import Difference, DifferenceKind
from shared.domain.topup import Channel
from shared.gateways.stripe_disputes import StripeDisputes
from shared.gateways.stripe_payments import StripePayments
from shared.gateways.stripe_refunds import StripeRefunds
from shared.operations.payments.checkout import Checkouts
from shared.operations.payments.disputes import settle_dispute
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.refunds import settle_refund
from shared.operations.payments.settle import SettlePolicy, settle

#: Raises PaymentUnavailableError, PaymentRefusedError.
Mender = Callable[[Difference], Awaitable[Outcome]]


def menders(
    engine: AsyncEngine, payments: StripePayments, now: Callable[[], datetime], policy: SettlePolicy
) -> Mapping[DifferenceKind, Mender]:
    """Return the mender of each kind that has one."""
    by_settling = partial(_settle_topup, engine, payments, now, policy)
    refunds, disputes = StripeRefunds(payments.connection), StripeDisputes(payments.connection)

    async def refund(found: Difference) -> Outcome:
        return await settle_refund(engine, await refunds.retrieve_refund(found.stripe_id), now(), policy)

    async def dispute(found: Difference) -> Outcome:
        return await settle_dispute(engine, disputes, found.stripe_id, now(), policy)

    return {
        DifferenceKind.CHARGE_WITHOUT_CREDIT: by_settling,
        DifferenceKind.TOPUP_BEHIND: by_settling,
        DifferenceKind.REFUND_NOT_BOOKED: refund,
        DifferenceKind.REFUND_DIFFERS: refund,
        DifferenceKind.DISPUTE_NOT_BOOKED: dispute,
        DifferenceKind.DISPUTE_DIFFERS: dispute,
    }


async def _settle_topup(
    engine: AsyncEngine,
    payments: StripePayments,
    now: Callable[[], datetime],
    policy: SettlePolicy,
    found: Difference,
) -> Outcome:
    """Bring a top-up to where its intent is: one that has it, or that has none and whose it proved to be."""
    async with engine.connect() as connection:
        topup = await topups.load_topup(connection, found.topup_id or "")
    if topup is not None and topup.channel is Channel.CHECKOUT:
        return await Checkouts(engine, payments, now, policy).advance(topup)
    intent = await payments.retrieve_intent(found.stripe_id)
    if topup is None or topup.payment_intent_id not in (None, intent.intent_id):
        return Outcome()
    return await settle(engine, topup.topup_id, intent, now(), policy)
