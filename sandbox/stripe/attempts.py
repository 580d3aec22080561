"""One attempt to charge a card for an intent, and the states it can leave the intent in.

Source: docs.stripe.com/payments/paymentintents/lifecycle and docs.stripe.com/declines.
"""

from sandbox.stripe import authentication, charges, disputes, fraud_warnings, session_state
from sandbox.stripe.call import Call
from sandbox.stripe.cards import AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED, Card, Decline
from sandbox.stripe.errors import ApiError, api_error, document_of
from sandbox.stripe.objects import JsonObject, public
from sandbox.stripe.payment_methods import card_of, save_for


def attempt(call: Call, intent: JsonObject, method: JsonObject, given: JsonObject) -> None:
    """Charge the card, or find out that its owner must authenticate first.

    `given` are the parameters of the confirmation. Leaves the intent succeeded, processing or, on-session,
    requires_action. Raises `ApiError` (402) for a decline, with the intent back in requires_payment_method;
    what it changed by then is to be kept.
    """
    intent |= {
        "payment_method": method["id"],
        "next_action": None,
        "last_payment_error": None,
        "_attempts": intent["_attempts"] + 1,
    }
    off_session = given.get("off_session", False)
    if card_of(method).authenticates(off_session=off_session, set_up=method["_set_up"]):
        if off_session or given.get("error_on_requires_action", False):
            raise _declined(call, intent, method, AUTHENTICATION_REQUIRED)
        _ask_for_action(call, intent, given.get("return_url"))
    elif call.hold():
        _hold(call, intent, method)
    else:
        declined = settle(call, intent, method, card_of(method).decline)
        if declined is not None:
            raise declined


def authenticate(call: Call, intent: JsonObject, method: JsonObject, *, succeeds: bool) -> None:
    """Go on as if the owner of the card had, or had not, authenticated an intent in requires_action."""
    intent["next_action"] = None
    settle(call, intent, method, card_of(method).decline if succeeds else AUTHENTICATION_FAILED)


def settle(call: Call, intent: JsonObject, method: JsonObject, decline: Decline | None) -> ApiError | None:
    """Make the charge, the one an intent in processing waits for if there is one, or refuse it.

    Returns the error to answer with for a decline.
    """
    if decline is not None:
        return _declined(call, intent, method, decline)
    charge = _charge_of(call, intent, method)
    charges.complete(call, charge)
    intent |= {
        "status": "succeeded",
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
    }
    _keep_or_use_up(call, intent, method)
    call.save(intent)
    call.emit("payment_intent.succeeded", intent)
    session_state.follow(call, intent)
    _regret(call, charge, card_of(method))
    return None


def _regret(call: Call, charge: JsonObject, card: Card) -> None:
    """Do what the owner or the issuer of some test cards does after a charge."""
    if card.fraud_type is not None:
        fraud_warnings.warn(call, charge, card.fraud_type)
    if card.dispute is not None:
        disputes.begin(call, charge, charge["amount"], card.dispute, inquiry=card.inquiry)


def _keep_or_use_up(call: Call, intent: JsonObject, method: JsonObject) -> None:
    usage = intent["setup_future_usage"]
    if usage is not None and intent["customer"] is not None:
        save_for(call, method, intent["customer"], set_up=usage == "off_session")
    elif method["customer"] is None:
        call.save(method | {"_used_up": True})


def _ask_for_action(call: Call, intent: JsonObject, return_url: str | None) -> None:
    action = authentication.next_action(call, intent, return_url)
    intent |= {"status": "requires_action", "next_action": action}
    call.save(intent)
    call.emit("payment_intent.requires_action", intent)


def _hold(call: Call, intent: JsonObject, method: JsonObject) -> None:
    charge = charges.begin(call, intent, method)
    call.save(charge)
    call.emit("charge.pending", charge)
    intent |= {"status": "processing", "latest_charge": charge["id"]}
    call.save(intent)
    call.emit("payment_intent.processing", intent)
    session_state.follow(call, intent)


def _declined(call: Call, intent: JsonObject, method: JsonObject, decline: Decline) -> ApiError:
    charge = _charge_of(call, intent, method)
    charges.refuse(call, charge, decline)
    error: JsonObject = {
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": document_of(decline.code),
        "message": decline.message,
        "payment_method": public(method),
        "type": "card_error",
    }
    if decline.decline_code is None:
        del error["decline_code"]
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "latest_charge": charge["id"],
        "last_payment_error": error,
    }
    call.save(intent)
    call.emit("payment_intent.payment_failed", intent)
    session_state.follow(call, intent)
    return api_error(402, "card_error", **_without_type(error), payment_intent=public(intent))


def _charge_of(call: Call, intent: JsonObject, method: JsonObject) -> JsonObject:
    if intent["status"] == "processing":
        return call.find("charge", intent["latest_charge"], "charge")
    return charges.begin(call, intent, method)


def _without_type(error: JsonObject) -> JsonObject:
    return {name: value for name, value in error.items() if name not in {"type", "doc_url"}}
