"""What Stripe says it did: payments, refunds and disputes of a span of time, or one by its id.

Lists are by the time of creation, page by page. Search would not do: it is not read-after-write.
Source: https://docs.stripe.com/api/pagination
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from shared.domain.currency import nanos_of
from shared.domain.payment_differences import Amount, DisputeAtStripe, Payment, RefundAtStripe
from shared.domain.reconciliation import AtStripe, Wanted
from shared.gateways.stripe_connection import PaymentRefusedError, StripeConnection, id_of

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, half open; without an end it takes in what Stripe's clock puts in our future."""

    start: datetime
    end: datetime | None = None

    def as_filter(self) -> dict[str, int]:
        """Return it as Stripe's filter of ``created``, which counts whole seconds: never less than it."""
        created = {"gte": int(self.start.timestamp())}
        if self.end is not None:
            created["lt"] = -int(-self.end.timestamp() // 1)
        return created


class StripeReports:
    """Reads one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self._connection = connection
        self._v1 = connection.client.v1

    async def read(self, window: Window) -> AtStripe:
        """Return what was created within a window, and the payments that were charged within it."""
        stripe_has = AtStripe()
        payments, refunds, disputes = stripe_has.payments, stripe_has.refunds, stripe_has.disputes
        expanded = {"expand": ["data.latest_charge"]}
        async for intent in self._list(self._v1.payment_intents.list_async, window, expanded):
            payments[str(intent.id)] = _payment(intent)
        async for charge in self._list(self._v1.charges.list_async, window):
            intent_id = id_of(charge.payment_intent)
            if intent_id is None:
                payments[str(charge.id)] = _charge(charge)
            elif charge.status == "succeeded" and intent_id not in payments:
                payments[intent_id] = await self.find_payment(intent_id)
        async for refund in self._list(self._v1.refunds.list_async, window):
            refunds[str(refund.id)] = _refund(refund)
        async for dispute in self._list(self._v1.disputes.list_async, window):
            disputes[str(dispute.id)] = _dispute(dispute)
        return stripe_has

    async def ask(self, wanted: Wanted) -> AtStripe:
        """Return single things, None for each that Stripe does not know."""
        return AtStripe(
            {payment_id: await self.find_payment(payment_id) for payment_id in sorted(wanted.payments)},
            {refund_id: await self.find_refund(refund_id) for refund_id in sorted(wanted.refunds)},
            {dispute_id: await self.find_dispute(dispute_id) for dispute_id in sorted(wanted.disputes)},
        )

    async def find_payment(self, payment_id: str) -> Payment | None:
        """Return an intent, or a charge that has none."""
        if not payment_id.startswith("pi_"):
            charge = await self._find(self._v1.charges.retrieve_async(payment_id))
            return _charge(charge) if charge else None
        params = {"expand": ["latest_charge"]}
        intent = await self._find(self._v1.payment_intents.retrieve_async(payment_id, params=params))
        return _payment(intent) if intent else None

    async def find_refund(self, refund_id: str) -> RefundAtStripe | None:
        refund = await self._find(self._v1.refunds.retrieve_async(refund_id))
        return _refund(refund) if refund else None

    async def find_dispute(self, dispute_id: str) -> DisputeAtStripe | None:
        dispute = await self._find(self._v1.disputes.retrieve_async(dispute_id))
        return _dispute(dispute) if dispute else None

    async def _find(self, request: Awaitable[Any]) -> Any | None:  # noqa: ANN401 - a Stripe object
        try:
            return await self._connection.call(request)
        except PaymentRefusedError as error:
            cause = error.__cause__
            if isinstance(cause, stripe.InvalidRequestError) and cause.code == "resource_missing":
                return None
            raise

    async def _list(
        self, request: Callable[..., Awaitable[Any]], window: Window, also: dict[str, Any] | None = None
    ) -> AsyncIterator[Any]:
        params: dict[str, Any] = {"created": window.as_filter(), "limit": _PAGE, **(also or {})}
        more = True
        while more:
            page = await self._connection.call(request(params=params))
            for listed in page.data:
                yield listed
            more = bool(page.has_more and page.data)
            if more:
                params["starting_after"] = page.data[-1].id


def _payment(intent: Any) -> Payment:  # noqa: ANN401 - a Stripe object
    metadata = _metadata(intent)
    charge = intent.latest_charge
    moments = (intent.created, getattr(charge, "created", None), getattr(intent, "canceled_at", None))
    amount = intent.amount_received if intent.status == "succeeded" else intent.amount
    return Payment(
        payment_id=str(intent.id),
        status=str(intent.status),
        amount=_amount(amount, intent.currency),
        moved_at=max(_time(moment) for moment in moments if moment is not None),
        customer_id=id_of(intent.customer),
        topup_id=metadata.get("topup_id"),
        account_id=metadata.get("account_id"),
    )


def _charge(charge: Any) -> Payment:  # noqa: ANN401
    return Payment(
        payment_id=str(charge.id),
        status=str(charge.status),
        amount=_amount(charge.amount, charge.currency),
        moved_at=_time(charge.created),
        customer_id=id_of(charge.customer),
    )


def _refund(refund: Any) -> RefundAtStripe:  # noqa: ANN401
    return RefundAtStripe(
        refund_id=str(refund.id),
        payment_id=_paid_by(refund),
        status=str(refund.status),
        amount=_amount(refund.amount, refund.currency),
        moved_at=_time(refund.created),
        booked_id=_metadata(refund).get("refund_id"),
    )


def _dispute(dispute: Any) -> DisputeAtStripe:  # noqa: ANN401
    return DisputeAtStripe(
        dispute_id=str(dispute.id),
        payment_id=_paid_by(dispute),
        status=str(dispute.status),
        amount=_amount(dispute.amount, dispute.currency),
        moved_at=_time(dispute.created),
    )


def _paid_by(taking: Any) -> str:  # noqa: ANN401
    return id_of(taking.payment_intent) or id_of(taking.charge) or ""


def _metadata(thing: Any) -> dict[str, str]:  # noqa: ANN401
    return dict(thing.metadata.to_dict()) if thing.metadata else {}


def _amount(amount: int, currency: str) -> Amount:
    return Amount(nanos_of(int(amount), str(currency)), str(currency))


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
