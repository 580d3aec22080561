"""Stripe's webhooks: verified, stored once, answered at once. What they tell of is done by a worker."""

import structlog
from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import ClientDisconnect

from shared.clock import utc_now
from shared.gateways.stripe_payments import configured_payments
from shared.gateways.stripe_webhooks import Webhook, WebhookRefusedError, read_webhook
from shared.messaging.failure import is_transient
from shared.operations.event_handlers import configured_events
from shared.operations.stripe_events import StripeEvents
from shared.settings import Settings

log = structlog.get_logger(__name__)

#: Stripe's events are some kilobytes.
_BODY_MAX = 1024 * 1024


class _RefusedError(Exception):
    """What is answered instead of taking a webhook."""

    def __init__(self, status_code: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.code = code


def webhook_routes(engine: AsyncEngine, settings: Settings) -> APIRouter:
    """Return the route that Stripe's webhooks come to.

    Without a key or a secret it answers 503, not 404: Stripe then keeps the events, tries again for days, and
    tells its owner.
    """
    router = APIRouter()
    receiver = _configured_receiver(engine, settings)

    @router.post("/webhooks/stripe")
    async def receive(request: Request) -> Response:
        """Take a webhook of Stripe."""
        try:
            taker = _switched_on(receiver)
            await taker.take(await _body(request), request.headers.get("stripe-signature"))
        except _RefusedError as refused:
            log.warning("webhook refused", status=refused.status_code, why=str(refused))
            error = {"message": str(refused), "type": "webhook_error", "code": refused.code}
            return JSONResponse({"error": error}, refused.status_code)
        return JSONResponse({"received": True})

    return router


class _Receiver:
    """Takes the webhooks of one Stripe account."""

    def __init__(self, events: StripeEvents, secrets: tuple[str, ...], *, live: bool) -> None:
        self._events = events
        self._secrets = secrets
        self._live = live

    async def take(self, body: bytes, signature: str | None) -> None:
        """Store what a webhook tells; raises _RefusedError."""
        webhook = self._verified(body, signature)
        if webhook.type not in self._events.types:
            return
        if webhook.event is None:
            why = "the event is about an object without an id"
            raise _RefusedError(status.HTTP_400_BAD_REQUEST, "invalid_webhook", why)
        try:
            await self._events.store([webhook.event])
        except Exception as error:
            if not is_transient(error):
                raise
            why = "the database cannot take it now; send it again"
            raise _RefusedError(status.HTTP_503_SERVICE_UNAVAILABLE, "unavailable", why) from error

    def _verified(self, body: bytes, signature: str | None) -> Webhook:
        try:
            webhook = read_webhook(body, signature, self._secrets, utc_now())
        except WebhookRefusedError as error:
            raise _RefusedError(status.HTTP_400_BAD_REQUEST, "invalid_webhook", str(error)) from error
        if webhook.live is not self._live:
            told, ours = ("live", "test") if webhook.live else ("test", "live")
            why = f"this is a {told} event, and PAYG_STRIPE_API_KEY is a {ours} key"
            raise _RefusedError(status.HTTP_400_BAD_REQUEST, "livemode_mismatch", why)
        return webhook


def _configured_receiver(engine: AsyncEngine, settings: Settings) -> _Receiver | None:
    payments, secrets = configured_payments(settings), settings.stripe_webhook_secrets
    if payments is None or not secrets:
        return None
    return _Receiver(configured_events(engine, payments, settings), secrets, live=payments.connection.live)


def _switched_on(receiver: _Receiver | None) -> _Receiver:
    if receiver is None:
        why = "webhooks are off: set PAYG_STRIPE_API_KEY and PAYG_STRIPE_WEBHOOK_SECRET"
        raise _RefusedError(status.HTTP_503_SERVICE_UNAVAILABLE, "webhooks_off", why)
    return receiver


async def _body(request: Request) -> bytes:
    """Return the body as it came; raises _RefusedError for one that is too large, or did not come."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_MAX:
                why = f"a webhook is at most {_BODY_MAX} bytes"
                raise _RefusedError(status.HTTP_413_CONTENT_TOO_LARGE, "too_large", why)
    except ClientDisconnect as error:
        raise _RefusedError(status.HTTP_400_BAD_REQUEST, "disconnected", "it did not come whole") from error
    return bytes(body)
