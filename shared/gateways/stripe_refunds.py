"""Refunds of charges at Stripe: asked for, looked at, and those of one payment.

Source: https://docs.stripe.com/api/refunds
"""

from dataclasses import dataclass
from typing import Any

import stripe

from shared.domain.currency import smallest_units_of
from shared.gateways.stripe_connection import (
    PaymentRefusedError,
    PaymentUnavailableError,
    StripeConnection,
    id_of,
)
from shared.gateways.stripe_payments import CURRENCY

_PAGE = 100
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class StripeRefund:
    """A refund as Stripe has it now, ``amount`` in the smallest unit of its currency.

    ``refund_id`` is what its metadata says: a hint, never a proof.
    """

    stripe_refund_id: str
    status: str
    amount: int
    currency: str
    intent_id: str | None
    refund_id: str | None = None
    failure_reason: str | None = None


class RefundImpossibleError(PaymentRefusedError):
    """Stripe knows the charge and will not refund it: too little of it is left, or its bank has taken it."""


class RefundErrorKeptError(PaymentUnavailableError):
    """Stripe had an error of its own, which it may answer with for as long as it knows the key."""


class StripeRefunds:
    """Refunds of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection
        self._refunds = connection.client.v1.refunds

    async def create_refund(
        self, refund_id: str, intent_id: str, amount_nanos: int, attempt: int
    ) -> StripeRefund:
        """Give money back to the method that paid; the same refund however often an attempt is made.

        Stripe may forget that it was asked after 24 hours, and two attempts are two questions: look at
        ``refunds_of_intent`` first. Raises RefundImpossibleError where the charge cannot be refunded by so
        much, RefundErrorKeptError where only another attempt can help.
        """
        request = self._refunds.create_async(
            params={
                "payment_intent": intent_id,
                "amount": smallest_units_of(amount_nanos, CURRENCY),
                "metadata": {"refund_id": refund_id},
            },
            options={"idempotency_key": f"refund:{refund_id}" + (f":{attempt}" if attempt > 1 else "")},
        )
        try:
            return _refund(await self._connection.call(request))
        except PaymentRefusedError as error:
            cause = error.__cause__
            if isinstance(cause, stripe.InvalidRequestError) and cause.code != "resource_missing":
                raise RefundImpossibleError(str(error)) from error
            raise
        except PaymentUnavailableError as error:
            cause = error.__cause__
            if isinstance(cause, stripe.APIError) and (cause.http_status or 0) >= _SERVER_ERROR:
                raise RefundErrorKeptError(str(error)) from error
            raise

    async def retrieve_refund(self, stripe_refund_id: str) -> StripeRefund:
        """Return a refund as Stripe has it now."""
        return _refund(await self._connection.call(self._refunds.retrieve_async(stripe_refund_id)))

    async def refunds_of_intent(self, intent_id: str) -> list[StripeRefund]:
        """Return all refunds of a payment, the newest first."""
        found: list[StripeRefund] = []
        after: dict[str, str] = {}
        while True:
            page = await self._connection.call(
                self._refunds.list_async(params={"payment_intent": intent_id, "limit": _PAGE, **after})
            )
            found += (_refund(refund) for refund in page.data)
            if not page.has_more:
                return found
            after = {"starting_after": found[-1].stripe_refund_id}


def _refund(refund: Any) -> StripeRefund:  # noqa: ANN401 - a Stripe object
    metadata = refund.metadata.to_dict() if refund.metadata else {}
    return StripeRefund(
        stripe_refund_id=str(refund.id),
        status=str(refund.status),
        amount=int(refund.amount),
        currency=str(refund.currency),
        intent_id=id_of(refund.payment_intent),
        refund_id=metadata.get("refund_id"),
        failure_reason=getattr(refund, "failure_reason", None),
    )
