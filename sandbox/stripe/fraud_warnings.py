"""Early fraud warnings: what issuers report before a dispute.

Source: docs.stripe.com/api/radar/early_fraud_warnings.
"""

from sandbox.stripe import listing
from sandbox.stripe.call import Call
from sandbox.stripe.objects import JsonObject, new_id
from sandbox.stripe.parameters import LIST, TEXT, Schema

_KIND = "radar.early_fraud_warning"

READABLE: Schema = {"expand": LIST}
LISTED: Schema = {"charge": TEXT, "payment_intent": TEXT, **listing.DATED}


def warn(call: Call, charge: JsonObject, fraud_type: str) -> JsonObject:
    """Report a charge as fraud; it can be acted on while the charge is neither refunded nor disputed."""
    warning: JsonObject = {
        "id": new_id("issfr"),
        "object": _KIND,
        "actionable": not (charge["refunded"] or charge["disputed"]),
        "charge": charge["id"],
        "created": call.now_s,
        "fraud_type": fraud_type,
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
    call.save(warning)
    call.emit(f"{_KIND}.created", warning)
    return warning


def acted_on(call: Call, charge: JsonObject) -> None:
    """Note that a charge was refunded in full or disputed: nothing more can be done about its warnings."""
    for warning in call.those(_KIND, charge=charge["id"], actionable=True):
        warning["actionable"] = False
        call.save(warning)
        call.emit(f"{_KIND}.updated", warning)


def retrieve(call: Call, _given: JsonObject, warning_id: str) -> JsonObject:
    """Return a warning."""
    return call.find(_KIND, warning_id, "id")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List warnings, optionally those of a charge or an intent."""
    return listing.page(call, _KIND, "/v1/radar/early_fraud_warnings", given, ("charge", "payment_intent"))
