"""Charging saved cards: PaymentIntents in two steps, created and then confirmed.

Source: https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from shared.domain.currency import smallest_units_of
from shared.gateways.stripe_connection import (
    CardDeclinedError,
    NoSuchObjectError,
    PaymentRefusedError,
    StripeConnection,
    configured_connection,
    id_of,
    is_replay,
)
from shared.settings import Settings

CURRENCY = "usd"
#: Stripe's clock and ours may differ by this much.
_CLOCKS_DIFFER = timedelta(minutes=10)
_WITH_CHARGE = {"expand": ["latest_charge"]}  # its receipt is for the owner


@dataclass(frozen=True, slots=True)
class Intent:
    """A PaymentIntent as Stripe has it now.

    ``decline_code`` is that of its last failed attempt, and ``failed_charge_id`` tells that one from others.
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
    failed_charge_id: str | None = None
    action_url: str | None = None
    attempt: int | None = None


class CardGoneError(PaymentRefusedError):
    """There is no card to charge any more; ``code`` says why, as a decline's would."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StripePayments:
    """Payments of one Stripe account. Raises what ``StripeConnection.call`` does."""

    def __init__(self, connection: StripeConnection) -> None:
        self.connection = connection
        self._client = connection.client

    async def create_intent(
        self, topup_id: str, account_id: str, customer_id: str, amount_nanos: int, create_attempt: int = 1
    ) -> Intent:
        """Create an intent that names no card yet and charges nothing; each attempt has a key of its own.

        Raises CardGoneError where the customer was deleted.
        """
        key = f"topup:{topup_id}:create" + (f":{create_attempt}" if create_attempt > 1 else "")
        try:
            return await self._intent(
                self._client.v1.payment_intents.create_async(
                    params={
                        "amount": smallest_units_of(amount_nanos, CURRENCY),
                        "currency": CURRENCY,
                        "customer": customer_id,
                        "allowed_payment_method_types": ["card"],
                        "metadata": {"topup_id": topup_id, "account_id": account_id},
                    },
                    options={"idempotency_key": key},
                )
            )
        except NoSuchObjectError:
            await self._check_customer(customer_id)
            raise

    async def find_intent(self, customer_id: str, topup_id: str, since: datetime) -> Intent | None:
        """Return an intent of the customer that was created for a top-up, if there is one."""
        found = self._find(customer_id, topup_id, since - _CLOCKS_DIFFER)
        return cast("Intent | None", await self.connection.call(found))

    async def confirm_intent(
        self, topup_id: str, intent_id: str, payment_method_id: str, attempt: int
    ) -> Intent:
        """Charge the card, off session; return the intent as it is afterwards, declined or not.

        Raises CardGoneError where the card was removed or its customer deleted, PaymentRefusedError where the
        intent can still not be charged for a reason that is not the card.
        """
        key = f"topup:{topup_id}:confirm:{attempt}"
        return await self._confirm(intent_id, payment_method_id, attempt, key, {"off_session": True})

    async def ask_owner(self, topup_id: str, intent_id: str, payment_method_id: str, attempt: int) -> Intent:
        """Charge the card on session: its owner gets a page to authenticate at. As ``confirm_intent``."""
        key = f"topup:{topup_id}:action:{attempt}"
        back = {"return_url": f"{self.connection.public_url}/console"}
        return await self._confirm(intent_id, payment_method_id, attempt, key, back)

    async def retrieve_intent(self, intent_id: str) -> Intent:
        """Return the intent as Stripe has it now."""
        return await self._intent(
            self._client.v1.payment_intents.retrieve_async(intent_id, params=_WITH_CHARGE)
        )

    async def cancel_intent(self, topup_id: str, intent_id: str) -> Intent:
        """Cancel an intent that was not charged; return it as it is afterwards."""
        # To cancel twice does no harm, so each time has a key of its own: an old answer is of no use.
        key = f"topup:{topup_id}:cancel:{uuid4().hex}"
        try:
            return await self._intent(
                self._client.v1.payment_intents.cancel_async(
                    intent_id, params=_WITH_CHARGE, options={"idempotency_key": key}
                )
            )
        except NoSuchObjectError:
            raise
        except PaymentRefusedError:
            return await self.retrieve_intent(intent_id)

    async def _confirm(
        self, intent_id: str, payment_method_id: str, attempt: int, key: str, how: Mapping[str, Any]
    ) -> Intent:
        request = self._client.v1.payment_intents.confirm_async(
            intent_id,
            params={"payment_method": payment_method_id, **how, **_WITH_CHARGE},
            options={"idempotency_key": key},
        )
        try:
            confirmed = await self.connection.call(request)
        except CardDeclinedError:
            # What the card said stands on the intent itself.
            intent = await self.retrieve_intent(intent_id)
        except PaymentRefusedError:
            # So does what an intent already did.
            intent = await self.retrieve_intent(intent_id)
            if intent.status in ("requires_confirmation", "requires_payment_method"):
                await self._check_card(intent.customer_id, payment_method_id)
                raise
        else:
            fresh = not is_replay(confirmed.last_response.headers)
            intent = _read(confirmed) if fresh else await self.retrieve_intent(intent_id)
        return replace(intent, attempt=attempt)

    async def _find(self, customer_id: str, topup_id: str, since: datetime) -> Intent | None:
        params = {"customer": customer_id, "created": {"gte": int(since.timestamp())}, "limit": 100}
        page = await self._client.v1.payment_intents.list_async(params=params)
        async for intent in page.auto_paging_iter():
            read = _read(intent)
            if read.topup_id == topup_id and read.status != "canceled":
                return read
        return None

    async def _check_card(self, customer_id: str | None, payment_method_id: str) -> None:
        """Raise CardGoneError where a card is no longer the customer's."""
        if customer_id is not None:
            await self._check_customer(customer_id)
        try:
            card = await self.connection.call(
                self._client.v1.payment_methods.retrieve_async(payment_method_id)
            )
        except NoSuchObjectError as error:
            raise CardGoneError("no_card", f"the card {payment_method_id} is gone") from error
        if id_of(card.customer) != customer_id:
            raise CardGoneError("no_card", f"the card {payment_method_id} was removed")

    async def _check_customer(self, customer_id: str) -> None:
        """Raise CardGoneError for a customer that was deleted, NoSuchObjectError for one never heard of."""
        customer = await self.connection.call(self._client.v1.customers.retrieve_async(customer_id))
        if getattr(customer, "deleted", False):
            raise CardGoneError("customer_deleted", f"the customer {customer_id} was deleted at Stripe")

    async def _intent(self, call: Awaitable[Any]) -> Intent:
        return _read(await self.connection.call(call))


def configured_payments(settings: Settings) -> StripePayments | None:
    """Return the payments that the settings name, or None where they are off."""
    connection = configured_connection(settings)
    return StripePayments(connection) if connection else None


def _read(intent: Any) -> Intent:  # noqa: ANN401 - a Stripe object
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
        failed_charge_id=id_of(getattr(error, "charge", None)) if error else None,
        action_url=getattr(redirect, "url", None) if redirect else None,
    )


def _decline_code(error: Any) -> str:  # noqa: ANN401 - a Stripe object
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "generic_decline")
