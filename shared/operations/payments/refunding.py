"""Having a refund paid back: from the row that was committed to the answer of Stripe, which is settled.

Stripe may forget after 24 hours that it was asked, so the refunds of the payment are looked through before
each asking: one that was made before, and whose answer was lost, is never made again.
"""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import refunds as sql
from shared.db.refunds import Refund
from shared.domain.currency import nanos_of
from shared.domain.refunds import OPEN_REFUNDS
from shared.gateways.stripe_connection import PaymentRefusedError
from shared.gateways.stripe_refunds import (
    RefundErrorKeptError,
    RefundImpossibleError,
    StripeRefund,
    StripeRefunds,
)
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.refunds import fail_refund, quarantine_refund, settle_refund
from shared.operations.payments.settle import SettlePolicy


class Refunding:
    """The steps of refunds, ``ref_…``."""

    def __init__(
        self,
        engine: AsyncEngine,
        gateway: StripeRefunds,
        now: Callable[[], datetime],
        policy: SettlePolicy,
    ) -> None:
        self._engine = engine
        self._gateway = gateway
        self._now = now
        self._policy = policy

    async def look_again(self, step_id: str, at: datetime) -> None:
        async with self._engine.begin() as connection:
            await sql.look_again(connection, step_id, at)

    async def park(self, step_id: str, why: str) -> Outcome:
        return await quarantine_refund(self._engine, step_id, why)

    async def advance(self, step_id: str) -> Outcome:
        async with self._engine.connect() as connection:
            refund = await sql.load_refund(connection, step_id)
        if refund is None or refund.state not in OPEN_REFUNDS:
            return Outcome()
        if refund.stripe_refund_id is not None:
            found = await self._gateway.retrieve_refund(refund.stripe_refund_id)
            return await settle_refund(self._engine, found, self._now(), self._policy)
        return await self._make(refund)

    async def _make(self, refund: Refund) -> Outcome:
        if refund.payment_intent_id is None:
            raise PaymentRefusedError(f"refund {refund.refund_id} is of a top-up without a payment")
        made = await self._made_before(refund, refund.payment_intent_id)
        if made is None:
            try:
                made = await self._create(refund, refund.payment_intent_id)
            except RefundImpossibleError as error:
                # Unless somebody was quicker, and it is this very refund that left too little.
                made = await self._made_before(refund, refund.payment_intent_id)
                if made is None:
                    why = str(error)
                    return await fail_refund(self._engine, refund.refund_id, why, self._now(), self._policy)
        return await settle_refund(self._engine, made, self._now(), self._policy)

    async def _create(self, refund: Refund, intent_id: str) -> StripeRefund:
        try:
            return await self._gateway.create_refund(
                refund.refund_id, intent_id, refund.amount_nanos, refund.attempt
            )
        except RefundErrorKeptError:
            # The next look begins with what was made all the same.
            async with self._engine.begin() as connection:
                await sql.begin_attempt(connection, refund)
            raise

    async def _made_before(self, refund: Refund, intent_id: str) -> StripeRefund | None:
        """Return what Stripe made for this refund, whose answer never came."""
        for found in await self._gateway.refunds_of_intent(intent_id):
            amount = nanos_of(found.amount, found.currency)
            if (found.refund_id, amount) == (refund.refund_id, refund.amount_nanos):
                async with self._engine.connect() as connection:
                    known = await sql.find_stripe_refund(connection, found.stripe_refund_id)
                if known is None or known.refund_id == refund.refund_id:
                    return found
        return None
