"""SetupIntents: a card is saved for later without a charge (docs.stripe.com/api/setup_intents)."""

from sandbox.stripe import authentication, listing, session_state
from sandbox.stripe.call import Call
from sandbox.stripe.cards import SETUP_AUTHENTICATION_FAILED, Decline
from sandbox.stripe.errors import ApiError, api_error, document_of, invalid_request
from sandbox.stripe.objects import JsonObject, merged, new_id, public, random_text
from sandbox.stripe.parameters import FLAG, LIST, METADATA, TEXT, Parameter, Schema
from sandbox.stripe.payment_methods import card_of, save_for, usable

_CARD_OPTIONS: Schema = {"request_three_d_secure": Parameter(choices=("automatic",))}
CONFIRMABLE: Schema = {
    "payment_method": TEXT,
    "return_url": TEXT,
    "payment_method_options": Parameter("object", fields={"card": Parameter("object", fields=_CARD_OPTIONS)}),
    "expand": LIST,
}
UPDATABLE: Schema = {
    "payment_method": TEXT,
    "customer": TEXT,
    "description": TEXT,
    "metadata": METADATA,
    "expand": LIST,
}
CREATABLE: Schema = {
    **CONFIRMABLE,
    **UPDATABLE,
    "confirm": FLAG,
    "usage": Parameter(choices=("off_session", "on_session")),
    "allowed_payment_method_types": LIST,
    "automatic_payment_methods": Parameter(
        "object", fields={"enabled": FLAG, "allow_redirects": Parameter(choices=("always", "never"))}
    ),
}
CANCELABLE: Schema = {
    "cancellation_reason": Parameter(choices=("abandoned", "duplicate", "requested_by_customer")),
    "expand": LIST,
}
READABLE: Schema = {"client_secret": TEXT, "expand": LIST}
LISTED: Schema = {"customer": TEXT, "payment_method": TEXT, **listing.DATED}

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(call: Call, given: JsonObject) -> JsonObject:
    """Create a SetupIntent and, with `confirm`, save the card; raises `ApiError`, 402 for a decline."""
    if "return_url" in given and not given.get("confirm", False):
        message = "`return_url` can only be passed when creating a SetupIntent if `confirm` is true."
        raise invalid_request(message, param="return_url")
    if "card" not in given.get("allowed_payment_method_types", ["card"]):
        message = "This stand-in for Stripe knows cards only."
        raise invalid_request(message, param="allowed_payment_method_types")
    if "customer" in given:
        call.find("customer", given["customer"], "customer")
    method = usable(call, given, given.get("customer"))
    intent = _new(call, given, method)
    call.save(intent)
    call.emit("setup_intent.created", intent)
    if given.get("confirm", False):
        _attempt(call, intent, method, given.get("return_url"))
    return intent


def confirm(call: Call, given: JsonObject, intent_id: str) -> JsonObject:
    """Save the card, or ask its owner to authenticate; raises `ApiError`, 402 for a decline."""
    intent = _open(call, intent_id, "confirm")
    method = usable(call, given, intent["customer"])
    if method is None and intent["payment_method"] is not None:
        method = call.find("payment_method", intent["payment_method"], "payment_method")
    _attempt(call, intent, method, given.get("return_url"))
    return intent


def authenticate(call: Call, intent: JsonObject, *, succeeds: bool) -> None:
    """Go on as if the owner of the card had, or had not, authenticated an intent in requires_action."""
    intent["next_action"] = None
    method = call.find("payment_method", intent["payment_method"], "payment_method")
    if succeeds:
        _succeed(call, intent, method)
    else:
        _refuse(call, intent, method, SETUP_AUTHENTICATION_FAILED)


def update(call: Call, given: JsonObject, intent_id: str) -> JsonObject:
    """Change an intent that is not over; raises `ApiError` (400) otherwise."""
    intent = _open(call, intent_id, "update")
    if "customer" in given:
        intent["customer"] = call.find("customer", given["customer"], "customer")["id"]
    method = usable(call, given, intent["customer"])
    if method is not None:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation", "next_action": None}
    intent["metadata"] = merged(intent["metadata"], given)
    intent["description"] = given.get("description", intent["description"])
    call.save(intent)
    return intent


def cancel(call: Call, given: JsonObject, intent_id: str) -> JsonObject:
    """Cancel an intent that is not over; raises `ApiError` (400) otherwise."""
    intent = _open(call, intent_id, "cancel")
    intent |= {"status": "canceled", "cancellation_reason": given.get("cancellation_reason")}
    intent["next_action"] = None
    call.save(intent)
    call.emit("setup_intent.canceled", intent)
    return intent


def retrieve(call: Call, _given: JsonObject, intent_id: str) -> JsonObject:
    """Return an intent."""
    return call.find("setup_intent", intent_id, "intent")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List intents, optionally those of a customer or a payment method."""
    return listing.page(call, "setup_intent", "/v1/setup_intents", given, ("customer", "payment_method"))


def _open(call: Call, intent_id: str, verb: str) -> JsonObject:
    intent = call.find("setup_intent", intent_id, "intent")
    if intent["status"] in _OPEN:
        return intent
    message = f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}."
    raise _unexpected_state(intent, message)


def _attempt(call: Call, intent: JsonObject, method: JsonObject | None, return_url: str | None) -> None:
    if method is None:
        message = "You cannot confirm this SetupIntent because it's missing a payment method."
        raise _unexpected_state(intent, message)
    intent |= {"payment_method": method["id"], "next_action": None, "last_setup_error": None}
    card = card_of(method)
    if card.decline is not None and not card.attaches:
        raise _refuse(call, intent, method, card.decline)
    if card.authenticates(off_session=True, set_up=method["_set_up"]):
        intent["status"] = "requires_action"
        intent["next_action"] = authentication.next_action(call, intent, return_url)
        call.save(intent)
        call.emit("setup_intent.requires_action", intent)
    else:
        _succeed(call, intent, method)


def _succeed(call: Call, intent: JsonObject, method: JsonObject) -> None:
    intent |= {"status": "succeeded", "last_setup_error": None}
    call.save(intent)
    if intent["customer"] is not None:
        save_for(call, method, intent["customer"], set_up=intent["usage"] == "off_session")
    call.emit("setup_intent.succeeded", intent)
    session_state.follow(call, intent)


def _refuse(call: Call, intent: JsonObject, method: JsonObject, decline: Decline) -> ApiError:
    error: JsonObject = {
        "code": decline.code,
        "doc_url": document_of(decline.code),
        "message": decline.message,
        "payment_method": public(method),
        "type": "card_error",
    }
    if decline.decline_code is not None:
        error["decline_code"] = decline.decline_code
    intent |= {"status": "requires_payment_method", "payment_method": None, "last_setup_error": error}
    call.save(intent)
    call.emit("setup_intent.setup_failed", intent)
    told = {name: value for name, value in error.items() if name not in {"type", "doc_url"}}
    return api_error(402, "card_error", **told, setup_intent=public(intent))


def _unexpected_state(intent: JsonObject, message: str) -> ApiError:
    return invalid_request(message, "setup_intent_unexpected_state", setup_intent=public(intent))


def _new(call: Call, given: JsonObject, method: JsonObject | None) -> JsonObject:
    intent_id = new_id("seti")
    return {
        "id": intent_id,
        "object": "setup_intent",
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "application": None,
        "automatic_payment_methods": given.get("automatic_payment_methods"),
        "cancellation_reason": None,
        "client_secret": f"{intent_id}_secret_{random_text()}",
        "created": call.now_s,
        "customer": given.get("customer"),
        "description": given.get("description"),
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": given.get("metadata", {}),
        "next_action": None,
        "payment_method": method["id"] if method else None,
        "payment_method_options": given.get("payment_method_options", {"card": {}}),
        "payment_method_types": ["card"],
        "status": "requires_confirmation" if method else "requires_payment_method",
        "usage": given.get("usage", "off_session"),
        "_session": None,
    }
