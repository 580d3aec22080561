"""Charging a top-up: from the row that was committed to the answer of Stripe, which ``settle`` takes over.

Each step is committed before the next one is taken, and Stripe is never asked inside a transaction. Whatever
dies in between, the next look finds where the top-up stands and goes on: idempotency keys make a repeated
question the same question, and the intent's own state is the guard against a second charge.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import topups
from shared.db.topups import Topup
from shared.domain.topup import OPEN_STATES, Channel, TopupState
from shared.gateways.stripe_connection import PaymentRefusedError
from shared.gateways.stripe_payments import Intent, StripePayments
from shared.operations.checkout import Checkouts
from shared.operations.payment_steps import Outcome
from shared.operations.settle import ACTION_EXPIRES, SettlePolicy, quarantine_topup, settle

#: A step that was begun is looked at again after so long, by whoever is there.
_STEP_LEASE = timedelta(seconds=30)
#: Our clock and the database's may differ by this much.
_CLOCKS_DIFFER = timedelta(seconds=1)


class Charging:
    """The steps of top-ups, ``top_…``."""

    def __init__(
        self,
        engine: AsyncEngine,
        payments: StripePayments,
        now: Callable[[], datetime],
        policy: SettlePolicy,
    ) -> None:
        self._engine = engine
        self._payments = payments
        self._now = now
        self._policy = policy
        self._checkouts = Checkouts(engine, payments, now, policy)

    async def look_again(self, step_id: str, at: datetime) -> None:
        async with self._engine.begin() as connection:
            await topups.look_again(connection, step_id, at)

    async def park(self, step_id: str, why: str) -> Outcome:
        return await quarantine_topup(self._engine, step_id, why, self._now())

    async def advance(self, step_id: str) -> Outcome:
        async with self._engine.connect() as connection:
            topup = await topups.load_topup(connection, step_id)
        if topup is not None and topup.channel is Channel.CHECKOUT:
            return await self._checkouts.advance(topup)
        if topup is not None and topup.state is TopupState.PENDING:
            topup = await self._create(topup)
        if topup is None or topup.state not in OPEN_STATES or self._waits(topup):
            return Outcome()
        intent = await self._intent_of(topup)
        if intent is None:
            return Outcome()
        return await settle(self._engine, step_id, intent, self._now(), self._policy)

    def _waits(self, topup: Topup) -> bool:
        """Whether its time has not come: a message that arrives twice must not cut a wait short."""
        waits = {
            TopupState.RETRY_WAIT: self._policy.retry_after,
            TopupState.ACTION_REQUIRED: ACTION_EXPIRES,
        }
        wait = waits.get(topup.state)
        return wait is not None and self._now() + _CLOCKS_DIFFER < topup.changed_at + wait

    async def _create(self, topup: Topup) -> Topup:
        async with self._engine.connect() as connection:
            customer = await topups.find_customer(connection, topup.account_id)
        if customer is None:
            raise PaymentRefusedError(f"account {topup.account_id} has no customer at Stripe")
        intent = await self._payments.create_intent(
            topup.topup_id,
            topup.account_id,
            customer["customer_id"],
            topup.payment_method_id,
            topup.amount_nanos,
        )
        values = {"state": TopupState.CREATED, "payment_intent_id": intent.intent_id}
        return await self._change(topup, values)

    async def _intent_of(self, topup: Topup) -> Intent | None:
        """Return the intent after whatever step is next for it, or None where somebody else took that."""
        if topup.payment_intent_id is None:
            raise PaymentRefusedError(f"top-up {topup.topup_id} has no intent in state {topup.state}")
        intent = await self._payments.retrieve_intent(topup.payment_intent_id)
        if topup.state is TopupState.ACTION_REQUIRED:
            if intent.status == "succeeded":
                return intent
            # Its time is up: the same intent must not be completed after another was begun.
            return await self._payments.cancel_intent(topup.topup_id, intent.intent_id)
        if intent.status in ("succeeded", "processing", "canceled", "requires_action"):
            return intent
        if topup.state is TopupState.PROCESSING:
            return intent
        begun = await self._change(topup, {"state": TopupState.CONFIRMING})
        if begun.state is not TopupState.CONFIRMING:
            return None
        return await self._payments.confirm_intent(
            begun.topup_id, intent.intent_id, begun.payment_method_id, begun.attempt
        )

    async def _change(self, seen: Topup, values: dict[str, Any]) -> Topup:
        """Write a step under the row's lock, if it stands as it was seen; return the top-up as it is then."""
        async with self._engine.begin() as connection:
            topup = await topups.load_topup(connection, seen.topup_id, lock=True)
            if topup is None:
                raise PaymentRefusedError(f"top-up {seen.topup_id} is gone")
            if (topup.state, topup.attempt) == (seen.state, seen.attempt):
                step = {"next_step_at": self._now() + _STEP_LEASE} | values
                await topups.change_topup(connection, topup, step)
            return await topups.load_topup(connection, seen.topup_id) or topup
