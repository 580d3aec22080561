"""PaymentIntents: their endpoints and the states that allow them (docs.stripe.com/api/payment_intents)."""

from sandbox.stripe import listing
from sandbox.stripe.amounts import check_amount
from sandbox.stripe.attempts import attempt
from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError, invalid_request
from sandbox.stripe.objects import JsonObject, merged, new_id, public, random_text
from sandbox.stripe.parameters import FLAG, LIST, METADATA, TEXT, WHOLE, Parameter, Schema
from sandbox.stripe.payment_methods import usable

# Stripe's limit is "variable"; beyond it a confirmation cancels the intent.
ATTEMPTS_MAX = 10

_CARD_OPTIONS: Schema = {
    "request_three_d_secure": Parameter(choices=("automatic",)),
    "setup_future_usage": Parameter(choices=("none",)),
}
_ATTEMPT: Schema = {
    "payment_method": TEXT,
    "off_session": Parameter("off_session"),
    "error_on_requires_action": FLAG,
    "return_url": TEXT,
    "receipt_email": TEXT,
    "setup_future_usage": Parameter(choices=("off_session", "on_session")),
    "payment_method_options": Parameter("object", fields={"card": Parameter("object", fields=_CARD_OPTIONS)}),
    "expand": LIST,
}
CONFIRMABLE: Schema = _ATTEMPT
CREATABLE: Schema = {
    **_ATTEMPT,
    "amount": Parameter("integer", required=True),
    "currency": Parameter(required=True),
    "customer": TEXT,
    "description": TEXT,
    "metadata": METADATA,
    "confirm": FLAG,
    "allowed_payment_method_types": LIST,
    "automatic_payment_methods": Parameter(
        "object", fields={"enabled": FLAG, "allow_redirects": Parameter(choices=("always", "never"))}
    ),
    "statement_descriptor_suffix": TEXT,
}
_UPDATABLE_WHILE_OPEN: Schema = {
    "amount": WHOLE,
    "payment_method": TEXT,
    "receipt_email": TEXT,
    "setup_future_usage": Parameter(choices=("off_session", "on_session")),
}
UPDATABLE: Schema = {**_UPDATABLE_WHILE_OPEN, "description": TEXT, "metadata": METADATA, "expand": LIST}
REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")
CANCELABLE: Schema = {"cancellation_reason": Parameter(choices=REASONS), "expand": LIST}
READABLE: Schema = {"client_secret": TEXT, "expand": LIST}
LISTED: Schema = {"customer": TEXT, **listing.DATED, "limit": WHOLE}

_CONFIRMED_FROM = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(call: Call, given: JsonObject) -> JsonObject:
    """Create an intent and, with `confirm`, charge it; raises `ApiError`, 402 for a decline."""
    currency = check_amount(given["amount"], given["currency"])
    _check_together(given)
    if "customer" in given:
        call.find("customer", given["customer"], "customer")
    method = usable(call, given, given.get("customer"))
    intent = _new(call, given, currency, method)
    call.save(intent)
    call.emit("payment_intent.created", intent)
    if given.get("confirm", False):
        _charge(call, intent, method, given)
    return intent


def confirm(call: Call, given: JsonObject, intent_id: str) -> JsonObject:
    """Charge an intent; raises `ApiError`: 402 for a decline, 400 for a state that does not allow it."""
    intent = call.find("payment_intent", intent_id, "intent")
    _check_own(intent, "confirm")
    status = intent["status"]
    if status == "succeeded":
        message = (
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously "
            "confirmed."
        )
        raise _unexpected_state(intent, message)
    if status not in _CONFIRMED_FROM:
        raise _unexpected_state(intent, _refusal("confirm", status, "confirmed", _CONFIRMED_FROM))
    if intent["_attempts"] >= ATTEMPTS_MAX:
        abandon(call, intent, None)
        raise _unexpected_state(
            intent, "This PaymentIntent was confirmed too many times: it is canceled now."
        )
    method = usable(call, given, intent["customer"])
    if method is None and intent["payment_method"] is not None:
        method = call.find("payment_method", intent["payment_method"], "payment_method")
    _charge(call, intent, method, given)
    return intent


def cancel(call: Call, given: JsonObject, intent_id: str) -> JsonObject:
    """Cancel an intent whose money is neither taken nor on its way; raises `ApiError` (400) otherwise."""
    intent = call.find("payment_intent", intent_id, "intent")
    _check_own(intent, "cancel")
    if intent["status"] not in _CONFIRMED_FROM:
        raise _unexpected_state(intent, _refusal("cancel", intent["status"], "canceled", _CONFIRMED_FROM))
    abandon(call, intent, given.get("cancellation_reason"))
    return intent


def update(call: Call, given: JsonObject, intent_id: str) -> JsonObject:
    """Change an intent; raises `ApiError` (400) for what cannot be changed once money is on its way."""
    intent = call.find("payment_intent", intent_id, "intent")
    for name in sorted(_UPDATABLE_WHILE_OPEN.keys() & given.keys()):
        if intent["status"] not in _CONFIRMED_FROM:
            message = (
                f"This PaymentIntent's {name} could not be updated because it has a status of "
                f"{intent['status']}."
            )
            raise _unexpected_state(intent, message)
    if "amount" in given:
        check_amount(given["amount"], intent["currency"])
    method = usable(call, given, intent["customer"])
    if method is not None:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation", "next_action": None}
    kept = ("amount", "receipt_email", "setup_future_usage", "description")
    intent |= {name: given[name] for name in kept if name in given}
    intent["metadata"] = merged(intent["metadata"], given)
    call.save(intent)
    return intent


def retrieve(call: Call, _given: JsonObject, intent_id: str) -> JsonObject:
    """Return an intent."""
    return call.find("payment_intent", intent_id, "intent")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List intents, optionally those of a customer."""
    return listing.page(call, "payment_intent", "/v1/payment_intents", given, ("customer",))


def _charge(call: Call, intent: JsonObject, method: JsonObject | None, given: JsonObject) -> None:
    if method is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
            "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
            "directly with a payment method or ConfirmationToken."
        )
        raise _unexpected_state(intent, message)
    for name in ("receipt_email", "setup_future_usage"):
        intent[name] = given.get(name, intent[name])
    attempt(call, intent, method, given)


def _check_together(given: JsonObject) -> None:
    confirming = given.get("confirm", False)
    for name in ("off_session", "error_on_requires_action", "return_url"):
        if name in given and not confirming:
            message = f"`{name}` can only be passed when creating a PaymentIntent if `confirm` is true."
            raise invalid_request(message, param=name)
    if "allowed_payment_method_types" in given and "automatic_payment_methods" in given:
        message = "You may only specify one of: allowed_payment_method_types, automatic_payment_methods."
        raise invalid_request(message, param="allowed_payment_method_types")
    if "card" not in given.get("allowed_payment_method_types", ["card"]):
        message = "This stand-in for Stripe knows cards only."
        raise invalid_request(message, param="allowed_payment_method_types")


def _new(call: Call, given: JsonObject, currency: str, method: JsonObject | None) -> JsonObject:
    intent_id = new_id("pi")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": given.get("automatic_payment_methods"),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{random_text()}",
        "confirmation_method": "automatic",
        "created": call.now_s,
        "currency": currency,
        "customer": given.get("customer"),
        "description": given.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": given.get("metadata", {}),
        "next_action": None,
        "payment_method": method["id"] if method else None,
        "payment_method_options": given.get("payment_method_options", {"card": {}}),
        "payment_method_types": ["card"],
        "receipt_email": given.get("receipt_email"),
        "setup_future_usage": given.get("setup_future_usage"),
        "statement_descriptor_suffix": given.get("statement_descriptor_suffix"),
        "status": "requires_confirmation" if method else "requires_payment_method",
        "_attempts": 0,
        "_session": None,
    }


def abandon(call: Call, intent: JsonObject, reason: str | None) -> None:
    """Cancel an intent, whatever its state."""
    intent |= {
        "status": "canceled",
        "canceled_at": call.now_s,
        "cancellation_reason": reason,
        "next_action": None,
    }
    call.save(intent)
    call.emit("payment_intent.canceled", intent)


def _check_own(intent: JsonObject, verb: str) -> None:
    if intent["_session"] is not None:
        message = f"You cannot {verb} this PaymentIntent because it belongs to a Checkout Session."
        raise _unexpected_state(intent, message)


def _refusal(verb: str, status: str, done: str, allowed: tuple[str, ...]) -> str:
    return (
        f"You cannot {verb} this PaymentIntent because it has a status of {status}. Only a PaymentIntent "
        f"with one of the following statuses may be {done}: {', '.join(allowed)}."
    )


def _unexpected_state(intent: JsonObject, message: str) -> ApiError:
    code = "payment_intent_unexpected_state"
    return invalid_request(message, code, payment_intent=public(intent))
