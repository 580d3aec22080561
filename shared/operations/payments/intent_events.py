"""Events of PaymentIntents: which top-up an intent belongs to, and its way into ``settle``.

What an event says of the intent is not believed, nor the order events come in: the intent is fetched anew.
"""

from shared.db import topups
from shared.db.topups import Topup
from shared.domain.currency import nanos_of
from shared.domain.topup import OPEN_STATES, Channel, TopupState
from shared.gateways.stripe_payments import CURRENCY, Intent
from shared.operations.payments.checkout import Checkouts
from shared.operations.payments.payment_steps import NotOursError, Outcome
from shared.operations.payments.settle import Settler

#: Where an intent stands before anything is taken: the answer that brings its id says the same, and more.
_NOTHING_TAKEN = ("requires_payment_method", "requires_confirmation", "requires_action")


class IntentEvents(Settler):
    """What happened to PaymentIntents, ``pi_…``."""

    async def settle(self, intent_id: str) -> Outcome:
        """Bring the intent's top-up to where the intent is. Raises NotOursError."""
        intent = await self._payments.retrieve_intent(intent_id)
        async with self._engine.connect() as connection:
            topup = await topups.topup_of_intent(connection, intent_id)
        if topup is None:
            topup = await self._adopt(intent)
        if topup is not None and topup.channel is Channel.CHECKOUT:
            return await Checkouts(self._engine, self._payments, self._now, self._policy).advance(topup)
        if topup is None or _is_for_the_stage(topup, intent):
            return Outcome()
        return await self._settle_topup(topup, intent)

    async def _adopt(self, intent: Intent) -> Topup | None:
        """Give an intent to the top-up that it names, where its id was not committed yet.

        Return None where that can wait for whoever commits it; a top-up by Checkout goes by its session, and
        is left as it is. Raises NotOursError.
        """
        async with self._engine.begin() as connection:
            topup = await topups.load_topup(connection, intent.topup_id or "", lock=True)
            if topup is None:
                raise NotOursError("not ours")
            if topup.channel is Channel.CHECKOUT:
                return topup
            customer = await topups.find_customer(connection, topup.account_id)
            if why := _foreign(topup, customer["customer_id"] if customer else None, intent):
                raise NotOursError(f"not ours, though it names {topup.topup_id}: {why}")
            if intent.status in _NOTHING_TAKEN:
                return None
            await topups.change_topup(connection, topup, {"payment_intent_id": intent.intent_id})
            return topup


def _is_for_the_stage(topup: Topup, intent: Intent) -> bool:
    """Whether the next word is with the stage that charges, or with the owner.

    What an intent says of a decline may be about the attempt before the one that is under way. Only where the
    attempt is in processing, and nobody waits for an answer, it is news.
    """
    if intent.status == "requires_payment_method":
        return topup.state is not TopupState.PROCESSING
    return intent.status == "requires_confirmation"


def _foreign(topup: Topup, customer_id: str | None, intent: Intent) -> str | None:
    """Return why an intent that names a top-up is not its intent, or None. Metadata is anybody's word."""
    if topup.payment_intent_id not in (None, intent.intent_id):
        return f"its intent is {topup.payment_intent_id}"
    if topup.state not in OPEN_STATES:
        return f"it is {topup.state}"
    if intent.account_id != topup.account_id:
        return f"its account is {topup.account_id}, not {intent.account_id}"
    if customer_id is None or intent.customer_id != customer_id:
        return f"its customer is {customer_id}, not {intent.customer_id}"
    if intent.currency != CURRENCY or nanos_of(intent.amount, intent.currency) != topup.amount_nanos:
        return f"it is over another amount than {intent.amount} {intent.currency}"
    return None
