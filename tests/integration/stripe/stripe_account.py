"""An account at the stand-in for Stripe, with the few things most tests start from."""

from typing import Any

import stripe
from stripe import StripeClient


class Account:
    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.client = StripeClient(key, base_addresses={"api": url}, max_network_retries=0)

    def customer(self) -> str:
        return self.client.v1.customers.create({"email": "owner@example.com"}).id

    def saved_card(self, customer: str, card: str = "pm_card_visa") -> str:
        return self.client.v1.payment_methods.attach(card, {"customer": customer}).id

    def card_that(self, customer: str, behaves_as: str, controls: Any) -> str:
        """A card that was good when it was saved."""
        method = self.saved_card(customer)
        controls.change_card(method, behaves_as)
        return method

    def intent(self, customer: str, method: str | None = None, **more: Any) -> stripe.PaymentIntent:
        parameters = intent_parameters(customer, **({"payment_method": method} if method else {}), **more)
        return self.client.v1.payment_intents.create(parameters)

    def paid(self, card: str = "pm_card_visa", amount: int = 2_000, **more: Any) -> stripe.PaymentIntent:
        """An intent that has taken its money from a new customer's card."""
        customer = self.customer()
        return self.intent(customer, self.saved_card(customer, card), amount=amount, confirm=True, **more)

    def charge(self, intent: stripe.PaymentIntent) -> stripe.Charge:
        return self.client.v1.charges.retrieve(str(intent.latest_charge))

    def status(self, intent: str) -> str:
        return self.client.v1.payment_intents.retrieve(intent).status

    def event_types(self) -> list[str]:
        """All events, the oldest first."""
        events = self.client.v1.events.list({"limit": 100}).data
        return [event.type for event in reversed(events)]


def intent_parameters(customer: str, **more: Any) -> Any:
    return {
        "amount": 2_000,
        "currency": "usd",
        "customer": customer,
        "allowed_payment_method_types": ["card"],
        **more,
    }


def charges_of(controls: Any, customer: str, status: str = "succeeded") -> list[dict[str, Any]]:
    return [c for c in controls.charges() if c["customer"] == customer and c["status"] == status]
