"""Refunds: money of a charge given back, all or part of what it has left (docs.stripe.com/api/refunds)."""

from typing import Literal

from sandbox.stripe import fraud_warnings, listing
from sandbox.stripe.amounts import check_step, spoken
from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, merged, new_id
from sandbox.stripe.parameters import LIST, METADATA, TEXT, WHOLE, Parameter, Schema
from sandbox.stripe.payment_methods import card_of

CREATABLE: Schema = {
    "charge": TEXT,
    "payment_intent": TEXT,
    "amount": WHOLE,
    "reason": Parameter(choices=("duplicate", "fraudulent", "requested_by_customer")),
    "metadata": METADATA,
    "expand": LIST,
}
READABLE: Schema = {"expand": LIST}
UPDATABLE: Schema = {"metadata": METADATA, "expand": LIST}
LISTED: Schema = {"charge": TEXT, "payment_intent": TEXT, **listing.DATED}


def create(call: Call, given: JsonObject) -> JsonObject:
    """Give money back; without an amount, all that is left.

    Raises `ApiError` (400) for more than is left, a charge that was refunded or charged back, and an intent
    without a charge. The refund stays pending for some test cards, or where a fault "hold" was ordered.
    """
    charge = _charge(call, given)
    amount = _amount(charge, given)
    pending = call.hold() or card_of(_method(call, charge)).refund == "pending"
    refund = _new(call, charge, amount, given)
    refund["status"] = "pending" if pending else "succeeded"
    call.save(refund)
    _take_off(call, charge, amount)
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge)
    if charge["refunded"]:
        fraud_warnings.acted_on(call, charge)
    return refund


def settle(call: Call, refund: JsonObject, outcome: Literal["succeed", "fail"], reason: str) -> None:
    """End a pending refund, or let one that had succeeded fail later, as a bank may.

    What failed is on the charge again; `reason` is a `failure_reason`. Raises `ApiError` (400) for a refund
    that is over.
    """
    allowed = ("pending",) if outcome == "succeed" else ("pending", "succeeded")
    if refund["status"] not in allowed:
        raise invalid_request(f"The refund is {refund['status']}.", param="id")
    if outcome == "succeed":
        refund["status"] = "succeeded"
    else:
        refund |= {"status": "failed", "failure_reason": reason}
        _take_off(call, call.find("charge", refund["charge"], "charge"), -refund["amount"])
    call.save(refund)
    if outcome == "fail":
        call.emit("refund.failed", refund)
    _tell_updated(call, refund)


def update(call: Call, given: JsonObject, refund_id: str) -> JsonObject:
    """Change the metadata of a refund."""
    refund = call.find("refund", refund_id, "id")
    refund["metadata"] = merged(refund["metadata"], given)
    call.save(refund)
    _tell_updated(call, refund)
    return refund


def retrieve(call: Call, _given: JsonObject, refund_id: str) -> JsonObject:
    """Return a refund."""
    return call.find("refund", refund_id, "id")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List refunds, optionally those of a charge or an intent."""
    return listing.page(call, "refund", "/v1/refunds", given, ("charge", "payment_intent"))


def _charge(call: Call, given: JsonObject) -> JsonObject:
    if ("charge" in given) == ("payment_intent" in given):
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid_request(message, "parameter_missing" if "charge" not in given else None)
    if "charge" in given:
        charge = call.find("charge", given["charge"], "charge")
    else:
        intent = call.find("payment_intent", given["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise invalid_request(message, "payment_intent_unexpected_state", "payment_intent")
        charge = call.find("charge", intent["latest_charge"], "payment_intent")
    _check_refundable(charge)
    return charge


def _check_refundable(charge: JsonObject) -> None:
    if not charge["paid"]:
        message = f"Charge {charge['id']} was not paid: there is nothing to refund."
        raise invalid_request(message, "charge_not_refundable", "charge")
    if charge["_charged_back"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid_request(message, "charge_disputed", "charge")
    if charge["refunded"]:
        message = f"Charge {charge['id']} has already been refunded."
        raise invalid_request(message, "charge_already_refunded", "charge")


def _amount(charge: JsonObject, given: JsonObject) -> int:
    left: int = charge["amount_captured"] - charge["amount_refunded"]
    amount: int = given.get("amount", left)
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid_request(message, "parameter_invalid_integer", "amount")
    check_step(amount, charge["currency"])
    if amount > left:
        asked, there = spoken(amount, charge["currency"]), spoken(left, charge["currency"])
        message = f"Refund amount ({asked}) is greater than unrefunded amount on charge ({there})"
        raise invalid_request(message, param="amount")
    return amount


def _method(call: Call, charge: JsonObject) -> JsonObject:
    return call.find("payment_method", charge["payment_method"], "charge")


def _take_off(call: Call, charge: JsonObject, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    call.save(charge)


def _tell_updated(call: Call, refund: JsonObject) -> None:
    call.emit("refund.updated", refund)
    call.emit("charge.refund.updated", refund)


def _new(call: Call, charge: JsonObject, amount: int, given: JsonObject) -> JsonObject:
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": call.now_s,
        "currency": charge["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": given.get("metadata", {}),
        "payment_intent": charge["payment_intent"],
        "reason": given.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "transfer_reversal": None,
    }
