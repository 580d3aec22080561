"""Charging saved cards: PaymentIntents in two steps, created and then confirmed.

Source: https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.currency import smallest_units_of
from shared.gateways.stripe_connection import (
    CardDeclinedError,
    PaymentRefusedError,
    StripeConnection,
    configured_connection,
    id_of,
)
from shared.settings import Settings

CURRENCY = "usd"
_WITH_CHARGE = {"expand": ["latest_charge"]}  # its receipt is for the owner


@dataclass(frozen=True, slots=True)
class Intent:
    """A PaymentIntent as Stripe has it now; ``decline_code`` is that of its last failed attempt.

    ``amount`` is in the smallest unit of its currency. ``attempt`` is the one it answers, None where it was
    only looked at. ``topup_id`` and ``account_id`` are what its metadata says, which anybody can change who
    has the account's key: a hint, never a proof.
    """

    intent_id: str
    status: str
    amount: int
    currency: str
    customer_id: str | None = None
    charge_id: str | None = None
    receipt_url: str | None = None
    topup_id: str | None = None
    account_id: str | None = None
    decline_code: str | None = None
    action_url: str | None = None
    attempt: int | None = None


class StripePayments:
    """Payments of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self.connection = connection
        self._client = connection.client

    async def create_intent(
        self, topup_id: str, account_id: str, customer_id: str, payment_method_id: str, amount_nanos: int
    ) -> Intent:
        """Create the intent to charge a card, without charging it."""
        return await self._intent(
            self._client.v1.payment_intents.create_async(
                params={
                    "amount": smallest_units_of(amount_nanos, CURRENCY),
                    "currency": CURRENCY,
                    "customer": customer_id,
                    "payment_method": payment_method_id,
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"topup_id": topup_id, "account_id": account_id},
                },
                options={"idempotency_key": f"topup:{topup_id}:create"},
            )
        )

    async def confirm_intent(
        self, topup_id: str, intent_id: str, payment_method_id: str, attempt: int
    ) -> Intent:
        """Charge the card, off session; return the intent as it is afterwards, declined or not.

        Raises PaymentRefusedError where it can still not be charged, for a reason that is not the card.
        """
        try:
            intent = await self._intent(
                self._client.v1.payment_intents.confirm_async(
                    intent_id,
                    params={"off_session": True, "payment_method": payment_method_id, **_WITH_CHARGE},
                    options={"idempotency_key": f"topup:{topup_id}:confirm:{attempt}"},
                )
            )
        except CardDeclinedError:
            # What the card said stands on the intent itself.
            intent = await self.retrieve_intent(intent_id)
        except PaymentRefusedError:
            # So does what an intent already did.
            intent = await self.retrieve_intent(intent_id)
            if intent.status in ("requires_confirmation", "requires_payment_method"):
                raise
        return replace(intent, attempt=attempt)

    async def retrieve_intent(self, intent_id: str) -> Intent:
        """Return the intent as Stripe has it now."""
        return await self._intent(
            self._client.v1.payment_intents.retrieve_async(intent_id, params=_WITH_CHARGE)
        )

    async def cancel_intent(self, topup_id: str, intent_id: str) -> Intent:
        """Cancel an intent that was not charged; return it as it is afterwards."""
        try:
            return await self._intent(
                self._client.v1.payment_intents.cancel_async(
                    intent_id, options={"idempotency_key": f"topup:{topup_id}:cancel"}
                )
            )
        except PaymentRefusedError:
            return await self.retrieve_intent(intent_id)

    async def _intent(self, call: Awaitable[Any]) -> Intent:
        intent = await self.connection.call(call)
        error = getattr(intent, "last_payment_error", None)
        metadata = intent.metadata.to_dict() if intent.metadata else {}
        action = getattr(intent, "next_action", None)
        redirect = getattr(action, "redirect_to_url", None) if action else None
        return Intent(
            intent_id=str(intent.id),
            status=str(intent.status),
            amount=int(intent.amount),
            currency=str(intent.currency),
            customer_id=id_of(intent.customer),
            charge_id=id_of(intent.latest_charge),
            receipt_url=getattr(intent.latest_charge, "receipt_url", None),
            topup_id=metadata.get("topup_id"),
            account_id=metadata.get("account_id"),
            decline_code=_decline_code(error) if error else None,
            action_url=getattr(redirect, "url", None) if redirect else None,
        )


def configured_payments(settings: Settings) -> StripePayments | None:
    """Return the payments that the settings name, or None where they are off."""
    connection = configured_connection(settings)
    return StripePayments(connection) if connection else None


def _decline_code(error: Any) -> str:  # noqa: ANN401 - a Stripe object
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "generic_decline")
