"""Which path does what, and the HTTP application that serves them.

Knowingly different from Stripe:

- Each API key is an account of its own, and every request is served as API version 2026-10-28.endive.
- Only what is simulated is accepted: cards, automatic capture, the hosted page of Checkout and its modes
  payment and setup. The minima are those of some currencies, whatever the account's own.
- The pages of Checkout and of the bank offer test cards and outcomes to choose; there is no Stripe.js.
- Webhook endpoints are registered under `/_control/webhooks`, not through the API, and what is not answered
  with 2xx comes again after fractions of a second, not hours; see `outbox.WebhookEndpoint`.
- Requests are executed one at a time, so that two that meet on one object never see Stripe's 429
  lock_timeout; order it as a fault (`error`, status 429, code lock_timeout).
- A missing object and an amount out of bounds count as execution: that answer is kept under its key.
- An intent is canceled at its 11th confirmation (Stripe's limit varies), never from `processing`.
- Nothing happens by itself later: a pending refund ends, a refund of `pm_card_refundFail` fails and a dispute
  is decided when `/_control/` says so. Refunds and disputes have no balance transactions and no fees.
- Declines carry no advice_code and no network codes; a card's `exp_year` never passes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request, Response

from sandbox.stripe import (
    charges,
    customers,
    disputes,
    events,
    fraud_warnings,
    intents,
    payment_methods,
    refunds,
    sessions,
    setup_intents,
)
from sandbox.stripe.control import control_routes
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.gateway import Endpoint, Gateway
from sandbox.stripe.hosted import hosted_routes
from sandbox.stripe.issuer_control import issuer_routes
from sandbox.stripe.store import Store
from sandbox.stripe.webhook_control import webhook_routes

_CUSTOMER = "/v1/customers/{customer}"
_METHOD = "/v1/payment_methods/{method}"
_INTENT = "/v1/payment_intents/{intent}"
_SETUP = "/v1/setup_intents/{intent}"
_SESSIONS = "/v1/checkout/sessions"
_SESSION = f"{_SESSIONS}/{{session}}"
_DISPUTE = "/v1/disputes/{dispute}"
_WARNINGS = "/v1/radar/early_fraud_warnings"

ENDPOINTS = (
    Endpoint("POST", "/v1/customers", customers.WRITABLE, customers.create),
    Endpoint("GET", "/v1/customers", customers.LISTED, customers.list_all),
    Endpoint("GET", _CUSTOMER, customers.READABLE, customers.retrieve),
    Endpoint("POST", _CUSTOMER, customers.WRITABLE, customers.update),
    Endpoint("DELETE", _CUSTOMER, customers.DELETABLE, customers.delete),
    Endpoint("GET", f"{_CUSTOMER}/payment_methods", payment_methods.LISTED, payment_methods.list_of_customer),
    Endpoint("GET", "/v1/payment_methods", payment_methods.LISTED_BY_CUSTOMER, payment_methods.list_all),
    Endpoint("GET", _METHOD, payment_methods.READABLE, payment_methods.retrieve),
    Endpoint("POST", f"{_METHOD}/attach", payment_methods.ATTACHABLE, payment_methods.attach),
    Endpoint("POST", f"{_METHOD}/detach", payment_methods.READABLE, payment_methods.detach),
    Endpoint("POST", "/v1/payment_intents", intents.CREATABLE, intents.create),
    Endpoint("GET", "/v1/payment_intents", intents.LISTED, intents.list_all),
    Endpoint("GET", _INTENT, intents.READABLE, intents.retrieve),
    Endpoint("POST", _INTENT, intents.UPDATABLE, intents.update),
    Endpoint("POST", f"{_INTENT}/confirm", intents.CONFIRMABLE, intents.confirm),
    Endpoint("POST", f"{_INTENT}/cancel", intents.CANCELABLE, intents.cancel),
    Endpoint("POST", "/v1/setup_intents", setup_intents.CREATABLE, setup_intents.create),
    Endpoint("GET", "/v1/setup_intents", setup_intents.LISTED, setup_intents.list_all),
    Endpoint("GET", _SETUP, setup_intents.READABLE, setup_intents.retrieve),
    Endpoint("POST", _SETUP, setup_intents.UPDATABLE, setup_intents.update),
    Endpoint("POST", f"{_SETUP}/confirm", setup_intents.CONFIRMABLE, setup_intents.confirm),
    Endpoint("POST", f"{_SETUP}/cancel", setup_intents.CANCELABLE, setup_intents.cancel),
    Endpoint("GET", "/v1/charges", charges.LISTED, charges.list_all),
    Endpoint("GET", "/v1/charges/{charge}", charges.READABLE, charges.retrieve),
    Endpoint("POST", _SESSIONS, sessions.CREATABLE, sessions.create),
    Endpoint("GET", _SESSIONS, sessions.LISTED, sessions.list_all),
    Endpoint("GET", _SESSION, sessions.READABLE, sessions.retrieve),
    Endpoint("POST", f"{_SESSION}/expire", sessions.READABLE, sessions.expire),
    Endpoint("GET", f"{_SESSION}/line_items", sessions.READABLE, sessions.line_items),
    Endpoint("POST", "/v1/refunds", refunds.CREATABLE, refunds.create),
    Endpoint("GET", "/v1/refunds", refunds.LISTED, refunds.list_all),
    Endpoint("GET", "/v1/refunds/{refund}", refunds.READABLE, refunds.retrieve),
    Endpoint("POST", "/v1/refunds/{refund}", refunds.UPDATABLE, refunds.update),
    Endpoint("GET", "/v1/disputes", disputes.LISTED, disputes.list_all),
    Endpoint("GET", _DISPUTE, disputes.READABLE, disputes.retrieve),
    Endpoint("POST", _DISPUTE, disputes.UPDATABLE, disputes.update),
    Endpoint("POST", f"{_DISPUTE}/close", disputes.READABLE, disputes.close),
    Endpoint("GET", _WARNINGS, fraud_warnings.LISTED, fraud_warnings.list_all),
    Endpoint("GET", f"{_WARNINGS}/{{warning}}", fraud_warnings.READABLE, fraud_warnings.retrieve),
    Endpoint("GET", "/v1/events", events.LISTED, events.list_all),
    Endpoint("GET", "/v1/events/{event}", events.READABLE, events.retrieve),
)


def application(state: Path) -> FastAPI:
    """Return the application that keeps its state in the file `state`."""
    gateway = Gateway(Store(state))
    app = FastAPI(openapi_url=None, lifespan=_delivering(gateway))
    for endpoint in (*ENDPOINTS, *_unrecognized()):
        app.add_api_route(
            endpoint.path, _serving(gateway, endpoint), methods=[endpoint.method], response_model=None
        )
    app.include_router(control_routes(gateway))
    app.include_router(hosted_routes(gateway))
    app.include_router(issuer_routes(gateway))
    app.include_router(webhook_routes(gateway))
    return app


def _delivering(gateway: Gateway) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        courier = asyncio.create_task(gateway.courier.run())
        yield
        courier.cancel()
        with suppress(asyncio.CancelledError):
            await courier

    return lifespan


def _serving(gateway: Gateway, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return await gateway.serve(endpoint, request)

    return serve


def _unrecognized() -> list[Endpoint]:
    def refuse(method: str) -> Endpoint:
        def run(_call: object, _given: object, path: str) -> dict[str, object]:
            message = f"Unrecognized request URL ({method}: /v1/{path}): not one this stand-in knows."
            raise invalid_request(message, status=404)

        return Endpoint(method, "/v1/{rest:path}", {}, run)

    return [refuse(method) for method in ("GET", "POST", "DELETE")]
