"""Customers and their cards: saved with their owner's consent, listed, removed.

Sources: https://docs.stripe.com/payments/save-and-reuse, https://docs.stripe.com/api/payment_methods
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from shared.gateways.stripe_connection import PaymentRefusedError, StripeConnection, id_of

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Card:
    """A card as Stripe has it now; ``customer_id`` is None where it was detached."""

    card_id: str
    customer_id: str | None
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None


@dataclass(frozen=True, slots=True)
class CardSetup:
    """A SetupIntent as Stripe has it now; with the client secret Stripe.js asks the card's owner."""

    setup_intent_id: str
    status: str
    client_secret: str | None
    customer_id: str | None
    card_id: str | None


class StripeCards:
    """Cards of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection
        self._client = connection.client

    async def create_customer(self, account_id: str, after: str | None = None) -> str:
        """Return the customer of an account, the same one however often it is asked for.

        ``after`` is the one before, which was deleted: its key would bring the deleted one back for a day.
        """
        key = f"customer:{account_id}" + (f":after:{after}" if after else "")
        customer = await self._connection.call(
            self._client.v1.customers.create_async(
                params={"metadata": {"account_id": account_id}}, options={"idempotency_key": key}
            )
        )
        return str(customer.id)

    async def is_deleted(self, customer_id: str) -> bool:
        customer = await self._connection.call(self._client.v1.customers.retrieve_async(customer_id))
        return bool(getattr(customer, "deleted", False))

    async def attach(self, customer_id: str, card_id: str) -> Card:
        """Save a card with a customer. One that is another customer's is refused."""
        # Without a key: a card that is attached already is answered as such.
        return await self._card(
            self._client.v1.payment_methods.attach_async(card_id, params={"customer": customer_id})
        )

    async def detach(self, card_id: str) -> None:
        """Take a card from its customer for good; one that is nobody's is fine."""
        try:
            await self._connection.call(self._client.v1.payment_methods.detach_async(card_id))
        except PaymentRefusedError:
            if (await self.retrieve(card_id)).customer_id is not None:
                raise

    async def retrieve(self, card_id: str) -> Card:
        """Return a card, also one that was detached."""
        return await self._card(self._client.v1.payment_methods.retrieve_async(card_id))

    async def cards_of(self, customer_id: str) -> list[Card]:
        """Return the cards of a customer, the newest first."""
        found: list[Card] = []
        while True:
            after = {"starting_after": found[-1].card_id} if found else {}
            page = await self._connection.call(
                self._client.v1.customers.payment_methods.list_async(
                    customer_id, params={"type": "card", "limit": _PAGE, **after}
                )
            )
            found += map(_as_card, page.data)
            if not page.has_more:
                return found

    async def set_up(self, setup_id: str, account_id: str, customer_id: str) -> CardSetup:
        """Create the SetupIntent with which Stripe.js saves a card, for use without its owner later."""
        return await self._setup(
            self._client.v1.setup_intents.create_async(
                params={
                    "customer": customer_id,
                    "usage": "off_session",
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"account_id": account_id},
                },
                options={"idempotency_key": f"setup:{setup_id}"},
            )
        )

    async def retrieve_setup(self, setup_intent_id: str) -> CardSetup:
        """Return a SetupIntent as Stripe has it now."""
        return await self._setup(self._client.v1.setup_intents.retrieve_async(setup_intent_id))

    async def _card(self, call: Awaitable[Any]) -> Card:
        return _as_card(await self._connection.call(call))

    async def _setup(self, call: Awaitable[Any]) -> CardSetup:
        setup = await self._connection.call(call)
        return CardSetup(
            setup_intent_id=str(setup.id),
            status=str(setup.status),
            client_secret=setup.client_secret,
            customer_id=id_of(setup.customer),
            card_id=id_of(setup.payment_method),
        )


def _as_card(method: Any) -> Card:  # noqa: ANN401 - a Stripe object
    card = getattr(method, "card", None)
    return Card(
        card_id=str(method.id),
        customer_id=id_of(method.customer),
        brand=card and str(card.brand),
        last4=card and str(card.last4),
        exp_month=card and int(card.exp_month),
        exp_year=card and int(card.exp_year),
    )
