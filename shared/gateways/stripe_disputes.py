"""Disputes of charges, and the early fraud warnings that come before them.

Sources: https://docs.stripe.com/api/disputes, https://docs.stripe.com/api/radar/early_fraud_warnings
"""

from dataclasses import dataclass

from shared.gateways.stripe_connection import StripeConnection, id_of


@dataclass(frozen=True, slots=True)
class StripeDispute:
    """A dispute as Stripe has it now, ``amount`` in the smallest unit of its currency."""

    dispute_id: str
    status: str
    reason: str
    amount: int
    currency: str
    intent_id: str | None


@dataclass(frozen=True, slots=True)
class FraudWarning:
    """What an issuer reports of a charge."""

    warning_id: str
    fraud_type: str
    intent_id: str | None


class StripeDisputes:
    """Disputes of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection
        self._services = connection.client.v1

    async def retrieve_dispute(self, dispute_id: str) -> StripeDispute:
        """Return a dispute as Stripe has it now."""
        dispute = await self._connection.call(self._services.disputes.retrieve_async(dispute_id))
        return StripeDispute(
            dispute_id=str(dispute.id),
            status=str(dispute.status),
            reason=str(dispute.reason),
            amount=int(dispute.amount),
            currency=str(dispute.currency),
            intent_id=id_of(dispute.payment_intent),
        )

    async def retrieve_warning(self, warning_id: str) -> FraudWarning:
        """Return an early fraud warning."""
        warning = await self._connection.call(
            self._services.radar.early_fraud_warnings.retrieve_async(warning_id)
        )
        intent_id = id_of(getattr(warning, "payment_intent", None))
        return FraudWarning(str(warning.id), str(warning.fraud_type), intent_id)
