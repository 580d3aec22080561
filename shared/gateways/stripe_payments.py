"""Charging saved cards through Stripe: the real SDK, our idempotency keys, errors sorted by what to do next.

Sources: https://docs.stripe.com/payments/paymentintents/lifecycle, https://docs.stripe.com/api/idempotent_requests
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import stripe

from shared.domain.errors import PaygError
from shared.domain.topup import NANOS_PER_CENT
from shared.settings import Settings

_TIMEOUT_S = 20.0
_CURRENCY = "usd"


#: No word on the payment itself. A wrong key belongs here too: it is put right, and then it goes on.
_COME_BACK = (
    stripe.APIConnectionError,
    stripe.APIError,
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
)


class PaymentUnavailableError(PaygError, ConnectionError):
    """Stripe did not answer, or asks to come back later. Nothing is known of what it did."""


class PaymentRefusedError(PaygError):
    """Stripe will not do this, now or later: a mistake of ours or of a setting."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A PaymentIntent as Stripe has it now; ``decline_code`` is that of its last failed attempt.

    ``attempt`` is the one it answers, None where it was only looked at.
    """

    intent_id: str
    status: str
    amount_nanos: int
    decline_code: str | None = None
    action_url: str | None = None
    attempt: int | None = None


class StripePayments:
    """Payments of one Stripe account. ``base_url`` is only for a fake, and a live key never talks to one."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        if base_url and not api_key.startswith("sk_test_"):
            raise PaymentRefusedError("PAYG_STRIPE_API_BASE is for a fake Stripe, which takes only test keys")
        addresses = {"base_addresses": {"api": base_url}} if base_url else {}
        self._client: Any = stripe.StripeClient(
            api_key,
            max_network_retries=0,  # the stage retries, with the same keys
            http_client=stripe.HTTPXClient(timeout=_TIMEOUT_S),
            **cast("Any", addresses),
        )

    async def create_customer(self, account_id: str) -> str:
        """Return the customer of an account, the same one however often it is asked for."""
        customer = await self._call(
            self._client.v1.customers.create_async(
                params={"metadata": {"account_id": account_id}},
                options={"idempotency_key": f"customer:{account_id}"},
            )
        )
        return str(customer.id)

    async def attach_card(self, customer_id: str, payment_method: str) -> str:
        """Save a card with a customer; return its id there."""
        method = await self._call(
            self._client.v1.payment_methods.attach_async(payment_method, params={"customer": customer_id})
        )
        return str(method.id)

    async def create_intent(
        self, topup_id: str, account_id: str, customer_id: str, payment_method_id: str, amount_nanos: int
    ) -> Intent:
        """Create the intent to charge a card, without charging it."""
        return await self._intent(
            self._client.v1.payment_intents.create_async(
                params={
                    "amount": amount_nanos // NANOS_PER_CENT,
                    "currency": _CURRENCY,
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
                    params={"off_session": True, "payment_method": payment_method_id},
                    options={"idempotency_key": f"topup:{topup_id}:confirm:{attempt}"},
                )
            )
        except _DeclinedError:
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
        return await self._intent(self._client.v1.payment_intents.retrieve_async(intent_id))

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

    async def _intent(self, call: Any) -> Intent:  # noqa: ANN401 - the SDK's coroutine
        intent = await self._call(call)
        error = getattr(intent, "last_payment_error", None)
        action = getattr(intent, "next_action", None)
        redirect = getattr(action, "redirect_to_url", None) if action else None
        return Intent(
            intent_id=str(intent.id),
            status=str(intent.status),
            amount_nanos=int(intent.amount) * NANOS_PER_CENT,
            decline_code=_decline_code(error) if error else None,
            action_url=getattr(redirect, "url", None) if redirect else None,
        )

    async def _call(self, call: Any) -> Any:  # noqa: ANN401
        try:
            return await call
        except stripe.CardError as error:
            raise _DeclinedError(str(error.user_message or error)) from error
        except _COME_BACK as error:
            raise PaymentUnavailableError(f"Stripe did not do it: {error}") from error
        except stripe.IdempotencyError as error:
            raise PaymentRefusedError(f"an idempotency key was used for something else: {error}") from error
        except stripe.StripeError as error:
            raise PaymentRefusedError(f"Stripe refuses: {error}") from error


def configured_payments(settings: Settings) -> StripePayments | None:
    """Return the payments that the settings name, or None where they are off."""
    if settings.stripe_api_key is None:
        return None
    return StripePayments(settings.stripe_api_key.get_secret_value(), settings.stripe_api_base)


class _DeclinedError(PaygError):
    """The card was declined; the intent tells why."""


def _decline_code(error: Any) -> str:  # noqa: ANN401 - a Stripe object
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "generic_decline")
