"""Charging a top-up: from the row that was committed to the answer of Stripe, which ``settle`` takes over.

Each step is committed before the next one is taken, and Stripe is never asked inside a transaction. Whatever
dies in between, the next look finds where the top-up stands and goes on: idempotency keys make a repeated
question the same question, and the intent's own state is the guard against a second charge.
"""

from datetime import datetime, timedelta
from typing import Any

from shared.db import topups
from shared.db.topups import Topup
from shared.domain.topup import OPEN_STATES, Channel, TopupState
from shared.gateways.stripe_connection import (
    AnswerRepeatedError,
    KeyUsedError,
    NoSuchObjectError,
    PaymentRefusedError,
    PaymentUnavailableError,
)
from shared.gateways.stripe_payments import CardGoneError, Intent
from shared.operations.payments.charge_steps import Step, is_waiting, next_step
from shared.operations.payments.checkout import Checkouts
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.settle import Settler
from shared.operations.payments.topup_ends import cancel_unasked, give_up, quarantine_topup

#: A step that was begun is looked at again after so long, by whoever is there.
_STEP_LEASE = timedelta(seconds=30)
#: Stripe forgets idempotency keys after 24 hours.
_KEYS_KEPT = timedelta(hours=23)
#: The key answers nothing of use: the same question has to be asked under another one.
_KEY_SPENT = (AnswerRepeatedError, KeyUsedError)


class Charging(Settler):
    """The steps of top-ups, ``top_…``."""

    async def look_again(self, step_id: str, at: datetime) -> None:
        async with self._engine.begin() as connection:
            await topups.look_again(connection, step_id, at)

    async def park(self, step_id: str, why: str) -> Outcome:
        return await quarantine_topup(self._engine, step_id, why, self._now())

    async def advance(self, step_id: str) -> Outcome:
        async with self._engine.connect() as connection:
            topup = await topups.load_topup(connection, step_id)
        if topup is None:
            return Outcome()
        try:
            if topup.channel is Channel.CHECKOUT:
                return await Checkouts(self._engine, self._payments, self._now, self._policy).advance(topup)
            return await self._advance(topup) if self._is_due(topup) else Outcome()
        except CardGoneError as error:
            return await give_up(self._engine, step_id, error.code, str(error), self._now())
        except NoSuchObjectError as error:
            # Perhaps the API key is that of another account: nobody's money is given up for that.
            async with self._engine.begin() as connection:
                await topups.note(connection, step_id, str(error))
            raise PaymentUnavailableError(str(error)) from error

    def _is_due(self, topup: Topup) -> bool:
        """Whether there is something to do: a message that arrives twice must not cut a wait short."""
        waits = topup.state is TopupState.RETRY_WAIT and is_waiting(topup, self._now())
        return topup.state in OPEN_STATES and not waits

    async def _advance(self, topup: Topup) -> Outcome:
        if topup.state is TopupState.PENDING and topup.payment_intent_id is None:
            if not await self._is_wanted(topup):
                return await cancel_unasked(self._engine, topup.topup_id)
            created = await self._create(topup)
            if created is None:
                return Outcome()
            topup = created
        intent = await self._payments.retrieve_intent(_intent_of(topup))
        wanted = await self._is_wanted(topup, intent)
        step = next_step(topup, intent, self._now(), wanted=wanted)
        if step is Step.BEGIN:
            begun = await self._begin(topup)
            if begun is None:
                return Outcome()
            topup, step = begun, next_step(begun, intent, self._now(), wanted=wanted)
        intent = await self._take(step, topup, intent)
        return await self._settle_topup(topup, intent)

    async def _is_wanted(self, topup: Topup, intent: Intent | None = None) -> bool:
        """Whether it is still to be charged: not switched off since, and the intent's customer still theirs.

        Its amount stays what was decided, whatever the settings say now.
        """
        async with self._engine.connect() as connection:
            customer = await topups.find_customer(connection, topup.account_id)
            enabled = not topup.automatic or await topups.is_enabled(connection, topup.account_id)
        theirs = intent.customer_id if intent else None
        return enabled and (theirs is None or customer is None or customer["customer_id"] == theirs)

    async def _create(self, topup: Topup) -> Topup | None:
        """Return the top-up with its intent, or None where somebody else took that step."""
        async with self._engine.connect() as connection:
            customer = await topups.find_customer(connection, topup.account_id)
        if customer is None:
            raise CardGoneError("no_card", f"account {topup.account_id} has no customer at Stripe")
        try:
            intent = await self._intent_for(topup, customer["customer_id"])
        except _KEY_SPENT:
            again = {"state": TopupState.PENDING, "create_attempt": topup.create_attempt + 1}
            changed = await self._change(topup, again)
            return await self._create(changed) if changed else None
        values = {"state": TopupState.CREATED, "payment_intent_id": intent.intent_id}
        return await self._change(topup, values)

    async def _intent_for(self, topup: Topup, customer_id: str) -> Intent:
        """Return the intent that is there, where a key can no longer tell; create one otherwise."""
        found = None
        if topup.create_attempt > 1 or self._now() - topup.created_at > _KEYS_KEPT:
            found = await self._payments.find_intent(customer_id, topup.topup_id, topup.created_at)
        return found or await self._payments.create_intent(
            topup.topup_id, topup.account_id, customer_id, topup.amount_nanos, topup.create_attempt
        )

    async def _begin(self, topup: Topup, gone: CardGoneError | None = None) -> Topup | None:
        """Commit that an attempt begins, on the card that is saved now; None where somebody else did.

        Raises CardGoneError where none is, or none but the one that is ``gone``.
        """
        async with self._engine.connect() as connection:
            customer = await topups.find_customer(connection, topup.account_id)
        card = customer and customer["payment_method_id"]
        if card is None or (gone and card == topup.payment_method_id):
            raise gone or CardGoneError("no_card", f"account {topup.account_id} has no saved card")
        values: dict[str, Any] = {"state": TopupState.CONFIRMING, "payment_method_id": card}
        if topup.state not in (TopupState.CREATED, TopupState.RETRY_WAIT):
            values["attempt"] = topup.attempt + 1  # the key of this attempt was used
        return await self._change(topup, values)

    async def _take(self, step: Step, topup: Topup, intent: Intent) -> Intent:
        """Take a step; return the intent as it is afterwards."""
        if step is Step.SETTLE:
            return intent
        if step is Step.CANCEL:
            return await self._payments.cancel_intent(topup.topup_id, intent.intent_id)
        try:
            return await self._confirm(step, topup)
        except (*_KEY_SPENT, CardGoneError) as error:
            return await self._confirm_again(topup, error)

    async def _confirm_again(self, topup: Topup, error: Exception) -> Intent:
        """Make the next attempt of one that came to nothing, if it left no trace on the intent."""
        seen = await self._payments.retrieve_intent(_intent_of(topup))
        step = next_step(topup, seen, self._now(), wanted=True)
        if step is Step.SETTLE:
            return seen
        begun = await self._begin(topup, error if isinstance(error, CardGoneError) else None)
        return await self._confirm(step, begun) if begun else seen

    async def _confirm(self, step: Step, topup: Topup) -> Intent:
        """Ask Stripe to charge; where the owner has to authenticate, ask for the page to do it at."""
        question = (topup.topup_id, _intent_of(topup), str(topup.payment_method_id), topup.attempt)
        if step is Step.CHARGE:
            intent = await self._payments.confirm_intent(*question)
            if next_step(topup, intent, self._now(), wanted=True) is not Step.ASK:
                return intent
        return await self._payments.ask_owner(*question)

    async def _change(self, seen: Topup, values: dict[str, Any]) -> Topup | None:
        """Write a step under the row's lock, if the top-up stands as it was seen, and return it."""
        async with self._engine.begin() as connection:
            topup = await topups.load_topup(connection, seen.topup_id, lock=True)
            if topup is None or _stand(topup) != _stand(seen):
                return None
            step = {"next_step_at": topups.in_time(_STEP_LEASE), "waits_until": None, "action_url": None}
            await topups.change_topup(connection, topup, step | values)
            return await topups.load_topup(connection, seen.topup_id)


def _stand(topup: Topup) -> tuple[Any, ...]:
    return topup.state, topup.attempt, topup.create_attempt, topup.payment_intent_id


def _intent_of(topup: Topup) -> str:
    if topup.payment_intent_id is None:
        raise PaymentRefusedError(f"top-up {topup.topup_id} has no intent in state {topup.state}")
    return topup.payment_intent_id
