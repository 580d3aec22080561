"""Orders about webhooks, under `/_control/webhooks`: where they go, when, how often, and how spoilt."""

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict

from sandbox.stripe.accounts import account_of_key
from sandbox.stripe.courier import event_body
from sandbox.stripe.gateway import Gateway
from sandbox.stripe.objects import JsonObject
from sandbox.stripe.outbox import Delivery, WebhookEndpoint
from sandbox.stripe.signatures import Signature


class Release(BaseModel):
    """In which order what is held is sent: as it happened, the other way, or these events only."""

    model_config = ConfigDict(extra="forbid")

    order: Literal["given", "reversed"] | list[str] = "given"


class Sending(BaseModel):
    """One more sending, not repeated on failure: of an event, or of a body that need not be one."""

    model_config = ConfigDict(extra="forbid")

    event: str | None = None
    body: str | None = None
    copies: int = 1
    at_once: bool = False
    signature: Signature = "valid"


def webhook_routes(gateway: Gateway) -> APIRouter:
    """Return the routes below `/_control/webhooks` for one stand-in."""
    router = APIRouter(prefix="/_control/webhooks")
    outbox, courier = gateway.outbox, gateway.courier

    @router.post("")
    async def add(settings: JsonObject) -> JsonObject:
        key = settings.pop("api_key", None)
        account = account_of_key(key) if key is not None else None
        return _kept(gateway, {**settings, "account": account})

    @router.patch("/{endpoint_id}")
    async def change(endpoint_id: str, settings: JsonObject) -> JsonObject:
        return _kept(gateway, _endpoint(gateway, endpoint_id).model_dump() | settings)

    @router.delete("/{endpoint_id}")
    async def remove(endpoint_id: str) -> JsonObject:
        with gateway.store.transaction():
            outbox.remove(_endpoint(gateway, endpoint_id).id)
        return {"id": endpoint_id, "deleted": True}

    @router.get("/{endpoint_id}/deliveries")
    async def deliveries(endpoint_id: str) -> list[JsonObject]:
        return [_shown(each) for each in outbox.deliveries(_endpoint(gateway, endpoint_id).id)]

    @router.post("/{endpoint_id}/release")
    async def release(endpoint_id: str, how: Release) -> list[int]:
        held = outbox.deliveries(_endpoint(gateway, endpoint_id).id, "held")
        return [await courier.deliver(delivery) for delivery in _ordered(held, how.order)]

    @router.post("/{endpoint_id}/send")
    async def send(endpoint_id: str, what: Sending) -> list[int]:
        ways = what.model_dump(include={"copies", "at_once", "signature"})
        endpoint = _endpoint(gateway, endpoint_id).model_copy(update=ways)
        return await courier.send(endpoint, _body(gateway, what))

    return router


def _kept(gateway: Gateway, settings: JsonObject) -> JsonObject:
    try:
        endpoint = WebhookEndpoint.model_validate(settings)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    with gateway.store.transaction():
        gateway.outbox.keep(endpoint)
    return endpoint.model_dump()


def _endpoint(gateway: Gateway, endpoint_id: str) -> WebhookEndpoint:
    endpoint = gateway.outbox.endpoint(endpoint_id)
    if endpoint is None:
        raise HTTPException(404, f"no such webhook endpoint: {endpoint_id}")
    return endpoint


def _ordered(held: list[Delivery], order: Literal["given", "reversed"] | list[str]) -> list[Delivery]:
    if isinstance(order, list):
        by_event = {delivery.event["id"]: delivery for delivery in held}
        return [by_event[event_id] for event_id in order if event_id in by_event]
    return held if order == "given" else held[::-1]


def _body(gateway: Gateway, what: Sending) -> bytes:
    if what.body is not None:
        return what.body.encode()
    owned = gateway.store.owned(what.event or "")
    if owned is None:
        raise HTTPException(404, f"no such event: {what.event}")
    return event_body(owned[1])


def _shown(delivery: Delivery) -> JsonObject:
    return {
        "event": delivery.event["id"],
        "type": delivery.event["type"],
        "state": delivery.state,
        "statuses": delivery.statuses,
    }
