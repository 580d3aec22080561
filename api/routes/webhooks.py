"""Stripe's webhooks: verified, stored once, answered at once. What they tell of is done by a worker."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from api.errors import RESPONSES, ApiError
from api.services import Services, services_of
from shared.clock import utc_now
from shared.gateways.stripe_webhooks import Webhook, WebhookRefusedError, read_webhook

log = structlog.get_logger(__name__)

router = APIRouter(
    tags=["webhooks"], responses={status: RESPONSES[status] for status in (400, 408, 413, 503)}
)

#: Stripe's events are some kilobytes.
_BODY_MAX = 1024 * 1024


class Received(BaseModel):
    """The event is safe."""

    received: bool = True


@router.post("/webhooks/stripe")
async def receive(request: Request, services: Annotated[Services, Depends(services_of)]) -> Received:
    """Take a webhook of Stripe.

    Without a key or a secret it answers 503, not 404: Stripe then keeps the events, tries again for days, and
    tells its owner.
    """
    try:
        await _take(await _body(request), request.headers.get("stripe-signature"), services)
    except ApiError as refused:
        log.warning("webhook refused", status=refused.status_code, why=refused.detail)
        raise
    return Received()


async def _take(body: bytes, signature: str | None, services: Services) -> None:
    events, secrets = services.stripe_events, services.settings.stripe_webhook_secrets
    if events is None or not secrets:
        why = "webhooks are off: set PAYG_STRIPE_API_KEY and PAYG_STRIPE_WEBHOOK_SECRET"
        raise ApiError(503, "webhooks_off", why)
    webhook = _verified(body, signature, services)
    if webhook.type not in events.types:
        return
    if webhook.event is None:
        raise ApiError(400, "invalid_webhook", "the event is about an object without an id")
    await events.store([webhook.event])


def _verified(body: bytes, signature: str | None, services: Services) -> Webhook:
    try:
        webhook = read_webhook(body, signature, services.settings.stripe_webhook_secrets, utc_now())
    except WebhookRefusedError as error:
        raise ApiError(400, "invalid_webhook", str(error)) from error
    live = services.payments is not None and services.payments.connection.live
    if webhook.live is not live:
        told, ours = ("live", "test") if webhook.live else ("test", "live")
        why = f"this is a {told} event, and PAYG_STRIPE_API_KEY is a {ours} key"
        raise ApiError(400, "livemode_mismatch", why)
    return webhook


async def _body(request: Request) -> bytes:
    """Return the body as it came; raises ApiError for one that is too large, or did not come."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_MAX:
                raise ApiError(413, "too_large", f"a webhook is at most {_BODY_MAX} bytes")
    except ClientDisconnect as error:
        raise ApiError(400, "disconnected", "it did not come whole") from error
    return bytes(body)
