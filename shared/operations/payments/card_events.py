"""What Stripe tells of cards and customers. An event names a thing; what is true of it Stripe is asked."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import cards as sql
from shared.gateways.stripe_cards import StripeCards
from shared.gateways.stripe_payments import StripePayments
from shared.operations.payments.cards import DELETED, adopt_card, lose_card
from shared.operations.payments.payment_steps import Outcome


class CardEvents:
    """Events of one Stripe account, each of which may come late, twice and out of order."""

    def __init__(self, engine: AsyncEngine, payments: StripePayments, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._cards = StripeCards(payments.connection)
        self._now = now

    async def card_saved(self, setup_intent_id: str) -> Outcome:
        """Charge the card that a SetupIntent saved, where no other is charged."""
        setup = await self._cards.retrieve_setup(setup_intent_id)
        if setup.status != "succeeded" or setup.customer_id is None or setup.card_id is None:
            return Outcome()
        async with self._engine.connect() as connection:
            account = await sql.find_account_of(connection, setup.customer_id)
        if account is not None:
            await adopt_card(self._engine, self._cards, account["account_id"], setup.card_id)
        return Outcome()

    async def card_removed(self, payment_method_id: str) -> Outcome:
        """Charge a card no more that was detached at Stripe."""
        if (await self._cards.retrieve(payment_method_id)).customer_id is not None:
            return Outcome()
        async with self._engine.begin() as connection:
            return Outcome(await lose_card(connection, self._now(), card=payment_method_id))

    async def customer_deleted(self, customer_id: str) -> Outcome:
        """Charge no card of a customer any more that was deleted at Stripe."""
        if not await self._cards.is_deleted(customer_id):
            return Outcome()
        async with self._engine.begin() as connection:
            lost = await lose_card(connection, self._now(), customer_id=customer_id, why=DELETED)
        return Outcome(lost)
