"""Checkout: pages of Stripe's where an owner pays with a new card, or saves one.

Source: https://docs.stripe.com/payments/checkout
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.currency import smallest_units_of
from shared.gateways.stripe_connection import StripeConnection, id_of
from shared.gateways.stripe_payments import CURRENCY

_CARD = {"allowed_payment_method_types": ["card"]}
_WITH_INTENT = {"expand": ["payment_intent"]}


@dataclass(frozen=True, slots=True)
class Session:
    """A Checkout Session as Stripe has it now. ``reference`` is ours, and cannot be changed afterwards.

    ``card_id`` is the card that its intent was paid with.
    """

    session_id: str
    status: str
    url: str | None
    reference: str | None
    customer_id: str | None
    intent_id: str | None
    paid: bool
    card_id: str | None


class StripeCheckout:
    """Checkout of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection
        self._client = connection.client

    async def create(
        self,
        topup_id: str,
        account_id: str,
        customer_id: str,
        amount_nanos: int,
        *,
        saves_card: bool,
        expires_at: datetime,
        attempt: int,
    ) -> Session:
        """Open a page to pay at, once for each attempt to open it."""
        metadata = {"topup_id": topup_id, "account_id": account_id}
        saving = {"setup_future_usage": "off_session"} if saves_card else {}
        price = {
            "currency": CURRENCY,
            "unit_amount": smallest_units_of(amount_nanos, CURRENCY),
            "product_data": {"name": "Funds"},
        }
        params = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": topup_id,
            "line_items": [{"quantity": 1, "price_data": price}],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata, **saving},
            "expires_at": int(expires_at.timestamp()),
            **_CARD,
            **self._back_to(f"topup={topup_id}&checkout"),
        }
        key = f"topup:{topup_id}:checkout" + (f":{attempt}" if attempt > 1 else "")
        return await self._session(
            self._client.v1.checkout.sessions.create_async(params=params, options={"idempotency_key": key})
        )

    async def create_setup(self, setup_id: str, account_id: str, customer_id: str) -> Session:
        """Open a page to save a card at."""
        metadata = {"account_id": account_id}
        params = {
            "mode": "setup",
            "customer": customer_id,
            "client_reference_id": account_id,
            "metadata": metadata,
            "setup_intent_data": {"metadata": metadata},
            **_CARD,
            **self._back_to("card"),
        }
        return await self._session(
            self._client.v1.checkout.sessions.create_async(
                params=params, options={"idempotency_key": f"setup:{setup_id}"}
            )
        )

    async def retrieve(self, session_id: str) -> Session:
        """Return a session as Stripe has it now."""
        return await self._session(
            self._client.v1.checkout.sessions.retrieve_async(session_id, params=_WITH_INTENT)
        )

    def _back_to(self, what: str) -> dict[str, str]:
        console = f"{self._connection.public_url}/console?{what}"
        return {"success_url": f"{console}=done", "cancel_url": f"{console}=canceled"}

    async def _session(self, call: Awaitable[Any]) -> Session:
        session = await self._connection.call(call)
        intent = session.payment_intent
        return Session(
            session_id=str(session.id),
            status=str(session.status),
            url=session.url,
            reference=session.client_reference_id,
            customer_id=id_of(session.customer),
            intent_id=id_of(intent),
            paid=getattr(intent, "status", None) == "succeeded",
            card_id=id_of(getattr(intent, "payment_method", None)),
        )
