"""The real HTTP tier on a port of its own, and Stripe's webhooks that go there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gate_api
import httpx
from low_money import GRACE, RETRY, LowMoney
from polling import until
from webhook_receiver import SECRET

from sandbox.stripe import signatures
from sandbox.stripe.signatures import Signature
from shared.clock import utc_now
from shared.gateways.stripe_payments import Intent
from shared.operations.audit import audit
from shared.operations.payments.event_handlers import event_handlers
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.stripe_events import StripeEvents
from shared.settings import Settings

_NO_BROKER = "amqp://127.0.0.1:9/"


def api_settings(money: LowMoney, **more: Any) -> Settings:
    """The settings of an HTTP tier for the database and the Stripe account of a test."""
    given = {
        "database_url": money.database_url,
        "broker_url": _NO_BROKER,
        "stripe_api_key": money.stripe_key,
        "stripe_api_base": money.stripe_url,
        "stripe_webhook_secret": SECRET,
    }
    return Settings(**(given | more))


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the HTTP tier; yield the address of its webhooks."""
    with gate_api.serving(settings) as url:
        yield f"{url}/webhooks/stripe"


@dataclass(frozen=True)
class Webhooks:
    """An endpoint at the stand-in for Stripe that sends what happens in a test's account to an HTTP tier."""

    money: LowMoney
    url: str
    endpoint: str

    def change(self, **settings: Any) -> None:
        """Change how events are sent: `hold`, `down`, `copies`, `signature`…."""
        self.money.controls.set_webhook(self.endpoint, **settings)

    def release(self, order: Any = "given") -> list[int]:
        return self.money.controls.release_webhooks(self.endpoint, order)

    def send(self, event: str | None = None, **how: Any) -> list[int]:
        return self.money.controls.send_webhook(self.endpoint, event, **how)

    def happened(self, kind: str = "payment_intent.%") -> list[str]:
        """Return the ids of events of a kind, in the order in which they happened."""
        start = kind.removesuffix("%")
        deliveries = self.money.controls.deliveries(self.endpoint)
        return [each["event"] for each in deliveries if each["type"].startswith(start)]

    def all_sent(self) -> None:
        """Wait until what happened was sent, and taken."""
        deliveries = self.money.controls.deliveries
        until(lambda: all(each["state"] == "delivered" for each in deliveries(self.endpoint)))

    def all_sent_or_dropped(self) -> None:
        """The same, where some were never sent."""
        deliveries, ends = self.money.controls.deliveries, {"delivered", "dropped"}
        until(lambda: {each["state"] for each in deliveries(self.endpoint)} <= ends)


def post(url: str, body: bytes, signature: str | None) -> httpx.Response:
    headers = {} if signature is None else {b"Stripe-Signature": signature.encode("latin-1")}
    return httpx.post(url, content=body, headers=headers)


def post_signed(url: str, body: bytes, at_s: float | None = None) -> httpx.Response:
    """Post a body that Stripe signed at a time (unix seconds), now by default."""
    return post(url, body, signed(body, at_s))


def signed(body: bytes, at_s: float | None = None, how: Signature = "valid") -> str | None:
    return signatures.header(body, [SECRET], int(time.time() if at_s is None else at_s), how)


async def due_events(money: LowMoney) -> list[str]:
    """Return the ids of events that a worker is to handle now."""
    query = "SELECT event_id FROM stripe_events WHERE next_step_at <= clock_timestamp() ORDER BY received_at"
    return [row["event_id"] for row in await money.rows(query)]


async def handle_events(money: LowMoney) -> list[str]:
    """Do the worker's part for the events that are due; return their ids."""
    due = await due_events(money)
    await money.topups().handle(due)
    return due


async def event(money: LowMoney, event_id: str) -> Any:
    return (await money.rows("SELECT * FROM stripe_events WHERE event_id = :id", id=event_id))[0]


async def stored(money: LowMoney) -> list[str]:
    """Return the types of the events that are stored, in the order they came in."""
    return [row["type"] for row in await money.rows("SELECT type FROM stripe_events ORDER BY received_at")]


def events_of(money: LowMoney) -> StripeEvents:
    """The events of a test's account, as a worker and the clock know them."""
    handlers = event_handlers(money.engine, money.payments, utc_now, SettlePolicy(RETRY, GRACE))
    return StripeEvents(money.engine, handlers)


async def assert_credited(money: LowMoney, account_id: str, *cents: int) -> None:
    """The books were credited with exactly this, whatever Stripe took, and they are proven."""
    assert await money.credited_cents(account_id) == list(cents)
    report = await audit(money.engine)
    assert report.ok, str(report.fault)


async def charged_unknown(money: LowMoney, topup_id: str) -> Intent:
    """Charge a top-up as a worker would that could not commit the intent's id: it is still pending."""
    row = await money.topup(topup_id)
    (customer,) = await money.rows(
        "SELECT customer_id FROM payment_customers WHERE account_id = :id", id=row["account_id"]
    )
    intent = await money.payments.create_intent(
        topup_id,
        row["account_id"],
        customer["customer_id"],
        row["amount_nanos"],
    )
    return await money.payments.confirm_intent(topup_id, intent.intent_id, row["payment_method_id"], 1)


async def pay_on_session(money: LowMoney, topup_id: str, outcome: Any = "succeed") -> None:
    """Do what the page of an owner does: confirm the intent on-session, and authenticate."""
    row = await money.topup(topup_id)
    client = money.payments.connection.client
    params = {"payment_method": row["payment_method_id"], "return_url": "https://example.com/done"}
    await client.v1.payment_intents.confirm_async(row["payment_intent_id"], params=params)
    money.controls.authenticate(row["payment_intent_id"], outcome)


async def charge(money: LowMoney, account_id: str, **changes: Any) -> None:
    """Charge the card of an account as somebody else would who has its key."""
    (customer,) = await money.rows("SELECT * FROM payment_customers WHERE account_id = :id", id=account_id)
    params = {
        "amount": 2_500,
        "currency": "usd",
        "customer": customer["customer_id"],
        "payment_method": customer["payment_method_id"],
        "allowed_payment_method_types": ["card"],
        "confirm": True,
        "off_session": True,
    }
    await money.payments.connection.client.v1.payment_intents.create_async(params=params | changes)
