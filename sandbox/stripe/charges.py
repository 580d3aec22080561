"""Charges: one for each attempt to take money (docs.stripe.com/api/charges)."""

from sandbox.stripe import listing
from sandbox.stripe.call import Call
from sandbox.stripe.cards import Decline
from sandbox.stripe.objects import JsonObject, new_id
from sandbox.stripe.parameters import LIST, TEXT, Schema

LISTED: Schema = {"customer": TEXT, "payment_intent": TEXT, **listing.DATED}
READABLE: Schema = {"expand": LIST}

_APPROVED = {
    "network_status": "approved_by_network",
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def begin(call: Call, intent: JsonObject, method: JsonObject) -> JsonObject:
    """Return a new charge for an intent, neither made nor refused yet, and not stored yet."""
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "captured": False,
        "created": call.now_s,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": intent["metadata"],
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {
            "card": {"brand": method["card"]["brand"], "last4": method["card"]["last4"]},
            "type": "card",
        },
        "receipt_url": None,
        "refunded": False,
        "_charged_back": False,
        "status": "pending",
    }


def complete(call: Call, charge: JsonObject) -> None:
    """Take the money."""
    charge |= {
        "status": "succeeded",
        "paid": True,
        "captured": True,
        "amount_captured": charge["amount"],
        "outcome": _APPROVED,
        "receipt_url": f"{call.base_url}/receipts/{charge['id']}",
    }
    call.save(charge)
    call.emit("charge.succeeded", charge)


def refuse(call: Call, charge: JsonObject, decline: Decline) -> None:
    """Record that the money was not given."""
    charge |= {
        "status": "failed",
        "failure_code": decline.code,
        "failure_message": decline.message,
        "outcome": {
            "network_status": "declined_by_network",
            "reason": decline.decline_code,
            "seller_message": "The bank did not approve the charge.",
            "type": "issuer_declined",
        },
    }
    call.save(charge)
    call.emit("charge.failed", charge)


def retrieve(call: Call, _given: JsonObject, charge_id: str) -> JsonObject:
    """Return a charge."""
    return call.find("charge", charge_id, "id")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List charges, optionally those of a customer or an intent."""
    return listing.page(call, "charge", "/v1/charges", given, ("customer", "payment_intent"))
