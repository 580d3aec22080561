"""Disputes: a cardholder asks the issuer for the money (docs.stripe.com/disputes/how-disputes-work).

An inquiry takes no money yet, and its charge can still be refunded.
"""

from typing import Literal

from sandbox.stripe import fraud_warnings, listing
from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, merged, new_id
from sandbox.stripe.parameters import FLAG, LIST, METADATA, TEXT, Schema

READABLE: Schema = {"expand": LIST}
LISTED: Schema = {"charge": TEXT, "payment_intent": TEXT, **listing.DATED}
UPDATABLE: Schema = {"evidence": METADATA, "metadata": METADATA, "submit": FLAG, "expand": LIST}

CLOSED = ("won", "lost", "warning_closed")
_EVIDENCE_S = 9 * 24 * 3600


def begin(call: Call, charge: JsonObject, amount: int, reason: str, *, inquiry: bool = False) -> JsonObject:
    """Dispute an amount of a charge; unless it is an inquiry, the money is taken at once."""
    dispute = _new(call, charge, amount, reason)
    dispute["status"] = "warning_needs_response" if inquiry else "needs_response"
    dispute["is_charge_refundable"] = inquiry
    charge["disputed"] = True
    call.save(charge)
    call.save(dispute)
    call.emit("charge.dispute.created", dispute)
    if not inquiry:
        _withdraw(call, dispute, charge)
    fraud_warnings.acted_on(call, charge)
    return dispute


def escalate(call: Call, dispute: JsonObject) -> None:
    """Make a dispute of an inquiry: the money is taken now."""
    dispute |= {"status": "needs_response", "is_charge_refundable": False}
    call.save(dispute)
    call.emit("charge.dispute.updated", dispute)
    _withdraw(call, dispute, call.find("charge", dispute["charge"], "charge"))


def end(call: Call, dispute: JsonObject, outcome: Literal["won", "lost"]) -> None:
    """Decide a dispute: what is won comes back; an inquiry closes without money."""
    inquiry = dispute["status"].startswith("warning_")
    dispute["status"] = "warning_closed" if inquiry else outcome
    call.save(dispute)
    if outcome == "won" and not inquiry:
        charge = call.find("charge", dispute["charge"], "charge")
        call.save(charge | {"_charged_back": False})
        call.emit("charge.dispute.funds_reinstated", dispute)
    call.emit("charge.dispute.closed", dispute)


def update(call: Call, given: JsonObject, dispute_id: str) -> JsonObject:
    """Add evidence, and with `submit` (the default) send it to the issuer; raises `ApiError` once closed."""
    dispute = _open(call, dispute_id)
    dispute["metadata"] = merged(dispute["metadata"], given)
    dispute["evidence"] |= given.get("evidence", {})
    details = dispute["evidence_details"]
    details["has_evidence"] = bool(dispute["evidence"])
    if "evidence" in given and given.get("submit", True):
        details["submission_count"] += 1
        dispute["status"] = dispute["status"].replace("needs_response", "under_review")
    call.save(dispute)
    call.emit("charge.dispute.updated", dispute)
    return dispute


def close(call: Call, _given: JsonObject, dispute_id: str) -> JsonObject:
    """Accept a dispute: it is lost. Raises `ApiError` (400) once closed."""
    dispute = _open(call, dispute_id)
    end(call, dispute, "lost")
    return dispute


def retrieve(call: Call, _given: JsonObject, dispute_id: str) -> JsonObject:
    """Return a dispute."""
    return call.find("dispute", dispute_id, "id")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List disputes, optionally those of a charge or an intent."""
    return listing.page(call, "dispute", "/v1/disputes", given, ("charge", "payment_intent"))


def _open(call: Call, dispute_id: str) -> JsonObject:
    dispute = call.find("dispute", dispute_id, "id")
    if dispute["status"] in CLOSED:
        raise invalid_request("This dispute is already closed.", param="id")
    return dispute


def _withdraw(call: Call, dispute: JsonObject, charge: JsonObject) -> None:
    call.save(charge | {"_charged_back": True})
    call.emit("charge.dispute.funds_withdrawn", dispute)


def _new(call: Call, charge: JsonObject, amount: int, reason: str) -> JsonObject:
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": call.now_s,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": call.now_s + _EVIDENCE_S,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
    }
