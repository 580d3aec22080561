"""What tests and people order from the stand-in, under `/_control/`, as JSON and without a key.

It stands for what is not in Stripe's API: the network, the issuer, the owner of the card, and time.
"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from sandbox.stripe import attempts, cardholder, session_state, sessions
from sandbox.stripe.accounts import account_of_key
from sandbox.stripe.call import Call
from sandbox.stripe.cards import GENERIC_DECLINE, card_named
from sandbox.stripe.faults import Fault, FaultKind, Phase
from sandbox.stripe.gateway import Gateway
from sandbox.stripe.objects import JsonObject, public


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FaultOrder(_Order):
    """A fault to come; see `faults.Fault`. 409 and 429 are by default answered before anything is done."""

    kind: FaultKind
    times: Annotated[int, Field(ge=1)] | None = 1
    path: str = "/v1/"
    method: Literal["GET", "POST", "DELETE"] | None = None
    status: Annotated[int, Field(ge=400, le=599)] = 500
    code: str | None = None
    phase: Phase | None = None
    delay_ms: Annotated[int, Field(ge=0)] = 0


class Outcome(_Order):
    """How what an intent waits for ends; `card` is the test card whose decline a failure is like."""

    intent: str
    outcome: Literal["succeed", "fail"]
    card: str | None = None


class CardChange(_Order):
    """A saved card that behaves like another test card from now on."""

    payment_method: str
    card: str


class Alteration(_Order):
    """Fields of any object of the account's, replaced without an event: metadata as a whole, too."""

    object: str
    fields: JsonObject


class Time(_Order):
    """Seconds to add to how far the clock is ahead, and what its error is to be."""

    advance_s: float = 0.0
    skew_s: float | None = None


class Keys(_Order):
    """An idempotency key, None for all."""

    key: str | None = None


def control_routes(gateway: Gateway) -> APIRouter:  # noqa: C901 - a list of small routes
    """Return the routes below `/_control/` for one stand-in."""
    router = APIRouter(prefix="/_control")
    store = gateway.store

    @router.get("/health")
    async def health() -> JsonObject:
        return {"ok": True}

    @router.get("/faults")
    async def standing() -> list[JsonObject]:
        return [asdict(fault) for fault in gateway.faults.standing]

    @router.post("/faults")
    async def order(fault: FaultOrder) -> JsonObject:
        phase = fault.phase or ("before" if fault.status in {409, 429} else "during")
        gateway.faults.standing.append(Fault(**fault.model_dump(exclude={"phase"}), phase=phase))
        return {"standing": len(gateway.faults.standing)}

    @router.delete("/faults")
    async def clear() -> JsonObject:
        gateway.faults.standing.clear()
        return {"standing": 0}

    @router.post("/release")
    async def release(order: Outcome, request: Request) -> JsonObject:
        call, intent = _waiting(gateway, order.intent, "processing", request)
        card = card_named(order.card) if order.card else None
        decline = card.decline if card and card.decline else GENERIC_DECLINE
        with store.transaction():
            method = call.find("payment_method", intent["payment_method"], "payment_method")
            attempts.settle(call, intent, method, None if order.outcome == "succeed" else decline)
        return public(intent)

    @router.post("/authenticate")
    async def authenticate(order: Outcome, request: Request) -> JsonObject:
        call, intent = _waiting(gateway, order.intent, "requires_action", request)
        with store.transaction():
            cardholder.authenticate(call, intent, succeeds=order.outcome == "succeed")
        return public(intent)

    @router.post("/cards")
    async def change(order: CardChange) -> JsonObject:
        account = store.owner(order.payment_method)
        method = store.get(account, "payment_method", order.payment_method) if account else None
        if account is None or method is None or card_named(order.card) is None:
            raise HTTPException(404, "no such payment method or test card")
        store.put(account, method | {"_card": order.card})
        return {"payment_method": order.payment_method, "card": order.card}

    @router.post("/idempotency/forget")
    async def forget(keys: Keys) -> JsonObject:
        return {"forgotten": gateway.keys.forget(keys.key)}

    @router.post("/alter")
    async def alter(order: Alteration) -> JsonObject:
        owned = store.owned(order.object)
        if owned is None:
            raise HTTPException(404, f"no such object: {order.object}")
        account, stored = owned
        store.put(account, stored | order.fields)
        return public(stored | order.fields)

    @router.post("/clock")
    async def clock(order: Time, request: Request) -> JsonObject:
        gateway.clock.ahead_s += order.advance_s
        _end_sessions(gateway, request)
        if order.skew_s is not None:
            gateway.clock.skew_s = order.skew_s
        return {"now_s": gateway.clock.now_s()}

    @router.delete("/clock")
    async def put_right() -> JsonObject:
        gateway.clock.ahead_s = gateway.clock.skew_s = 0.0
        return {"now_s": gateway.clock.now_s()}

    @router.get("/requests")
    async def requests(api_key: str | None = None) -> list[JsonObject]:
        account = account_of_key(api_key) if api_key is not None else None
        return [made for made in gateway.requests if account in {None, made["account"]}]

    @router.get("/objects/{kind}")
    async def objects(kind: str) -> list[JsonObject]:
        return [public(each) for each in store.every(kind)]

    @router.get("/charges")
    async def charges() -> list[JsonObject]:
        return [_summary(charge) for charge in store.every("charge")]

    return router


def _waiting(gateway: Gateway, intent_id: str, status: str, request: Request) -> tuple[Call, JsonObject]:
    owned = gateway.store.owned(intent_id)
    if owned is None:
        raise HTTPException(404, f"no such intent: {intent_id}")
    account, intent = owned
    if intent.get("status") != status:
        raise HTTPException(409, f"it is {intent.get('status')}, not {status}")
    return gateway.call(account, request), intent


def _end_sessions(gateway: Gateway, request: Request) -> None:
    """Let the sessions whose time is over expire now, not when someone next looks at them."""
    with gateway.store.transaction():
        for session in gateway.store.every(session_state.KIND):
            account = gateway.store.owner(session["id"])
            if account is not None:
                sessions.retrieve(gateway.call(account, request), {}, session["id"])


def _summary(charge: JsonObject) -> JsonObject:
    kept = ("id", "currency", "customer", "payment_intent", "payment_method", "status", "metadata", "created")
    later = ("amount_refunded", "disputed")
    return {name: charge[name] for name in kept + later} | {"amount_cents": charge["amount"]}
