"""What banks and cardholders do after a charge, ordered under `/_control/`."""

from typing import Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from sandbox.stripe import disputes, fraud_warnings, refunds
from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError
from sandbox.stripe.gateway import Gateway
from sandbox.stripe.objects import JsonObject, public


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RefundEnd(_Order):
    """How a refund ends; `reason` is the `failure_reason` of one that fails."""

    outcome: Literal["succeed", "fail"]
    reason: str = "lost_or_stolen_card"


class Disputing(_Order):
    """A charge, or the intent it was made for, and how much of it: all when there is no amount."""

    charge: str
    amount: int | None = None
    reason: str = "fraudulent"
    inquiry: bool = False


class DisputeStep(_Order):
    """What happens to a dispute; "escalate" is for an inquiry."""

    step: Literal["escalate", "won", "lost"]


class Warned(_Order):
    """A charge, or the intent it was made for, and what the issuer says happened."""

    charge: str
    fraud_type: str = "made_with_stolen_card"


def issuer_routes(gateway: Gateway) -> APIRouter:
    """Return the routes for one stand-in."""
    router = APIRouter(prefix="/_control")

    @router.post("/refunds/{refund_id}")
    async def settle(refund_id: str, order: RefundEnd, request: Request) -> JsonObject:
        call, refund = _owned(gateway, refund_id, "refund", request)
        try:
            with gateway.store.transaction():
                refunds.settle(call, refund, order.outcome, order.reason)
        except ApiError as error:
            raise HTTPException(409, str(error)) from error
        return public(refund)

    @router.post("/disputes")
    async def dispute(order: Disputing, request: Request) -> JsonObject:
        call, charge = _charge(gateway, order.charge, request)
        amount = charge["amount"] if order.amount is None else order.amount
        with gateway.store.transaction():
            return public(disputes.begin(call, charge, amount, order.reason, inquiry=order.inquiry))

    @router.post("/disputes/{dispute_id}")
    async def step(dispute_id: str, order: DisputeStep, request: Request) -> JsonObject:
        call, disputed = _owned(gateway, dispute_id, "dispute", request)
        _check_step(disputed, order.step)
        with gateway.store.transaction():
            if order.step == "escalate":
                disputes.escalate(call, disputed)
            else:
                disputes.end(call, disputed, order.step)
        return public(disputed)

    @router.post("/fraud_warnings")
    async def warn(order: Warned, request: Request) -> JsonObject:
        call, charge = _charge(gateway, order.charge, request)
        with gateway.store.transaction():
            return public(fraud_warnings.warn(call, charge, order.fraud_type))

    return router


def _check_step(dispute: JsonObject, step: str) -> None:
    status = dispute["status"]
    if status in disputes.CLOSED or (step == "escalate" and not status.startswith("warning_")):
        raise HTTPException(409, f"the dispute is {status}")


def _owned(gateway: Gateway, object_id: str, kind: str, request: Request) -> tuple[Call, JsonObject]:
    owned = gateway.store.owned(object_id)
    if owned is None or owned[1]["object"] != kind:
        raise HTTPException(404, f"no such {kind}: {object_id}")
    account, found = owned
    return gateway.call(account, request), found


def _charge(gateway: Gateway, object_id: str, request: Request) -> tuple[Call, JsonObject]:
    """Return the paid charge with the id, or of the intent with it."""
    charge_id = object_id
    if object_id.startswith("pi_"):
        charge_id = _owned(gateway, object_id, "payment_intent", request)[1]["latest_charge"] or object_id
    call, charge = _owned(gateway, charge_id, "charge", request)
    if not charge["paid"]:
        raise HTTPException(409, f"{charge_id} was not paid")
    return call, charge
