"""Payment methods: test cards, and copies of them that are saved (docs.stripe.com/api/payment_methods)."""

import hashlib

from sandbox.stripe import listing
from sandbox.stripe.call import Call
from sandbox.stripe.cards import Card, card_named
from sandbox.stripe.errors import api_error, invalid_request
from sandbox.stripe.objects import JsonObject, new_id
from sandbox.stripe.parameters import LIST, Parameter, Schema

ATTACHABLE: Schema = {"customer": Parameter(required=True), "expand": LIST}
READABLE: Schema = {"expand": LIST}
LISTED: Schema = {"type": Parameter(choices=("card",)), **listing.PAGED}
LISTED_BY_CUSTOMER: Schema = {"customer": Parameter(required=True), **LISTED}

USED_UP = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
    "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
    "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first."
)


def resolve(call: Call, name: str, param: str) -> JsonObject:
    """Return a saved payment method by its id, or a new unsaved one by the name of a test card."""
    card = card_named(name)
    return call.find("payment_method", name, param) if card is None else _copy(call, name, card)


def card_of(method: JsonObject) -> Card:
    """Return the test card a payment method behaves as."""
    card = card_named(method["_card"])
    if card is None:
        raise LookupError(f"{method['id']} is of no known test card: {method['_card']}")
    return card


def attach(call: Call, given: JsonObject, name: str) -> JsonObject:
    """Save a card for a customer; a test card gives a payment method of its own each time.

    Raises `ApiError`: 402 for a card that declines the check Stripe makes when a card is saved.
    """
    customer = call.find("customer", given["customer"], "customer")
    method = resolve(call, name, "id")
    if method["customer"] == customer["id"]:
        return method
    if method["customer"] is not None:
        raise invalid_request("The payment method you provided has already been attached to a customer.")
    if method["_used_up"]:
        raise invalid_request(USED_UP)
    card = card_of(method)
    if card.decline is not None and not card.attaches:
        decline = card.decline
        raise api_error(
            402, "card_error", decline.message, decline.code, decline_code=decline.decline_code, param=""
        )
    method["customer"] = customer["id"]
    call.save(method)
    call.emit("payment_method.attached", method)
    return method


def usable(call: Call, given: JsonObject, customer_id: str | None) -> JsonObject | None:
    """Return the payment method that a request names, None without one.

    Raises `ApiError` (400) for one that is another customer's, or that may not be used again.
    """
    if "payment_method" not in given:
        return None
    method = resolve(call, given["payment_method"], "payment_method")
    if method["_used_up"]:
        raise invalid_request(USED_UP, param="payment_method")
    if method["customer"] not in {None, customer_id}:
        message = "The provided PaymentMethod belongs to a Customer: supply that Customer with the intent."
        raise invalid_request(message, param="payment_method")
    call.save(method)
    return method


def save_for(call: Call, method: JsonObject, customer_id: str, *, set_up: bool) -> None:
    """Keep a card that an intent has used; one `set_up` for it is charged off-session without its owner."""
    attached = method["customer"] is None
    method |= {"customer": customer_id, "_set_up": method["_set_up"] or set_up}
    call.save(method)
    if attached:
        call.emit("payment_method.attached", method)


def detach(call: Call, _given: JsonObject, method_id: str) -> JsonObject:
    """Take a card from its customer, for good; it is no longer anyone's default."""
    method = call.find("payment_method", method_id, "id")
    if method["customer"] is None:
        raise invalid_request(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    customer = call.find("customer", method["customer"], "customer")
    if customer["invoice_settings"]["default_payment_method"] == method_id:
        customer["invoice_settings"]["default_payment_method"] = None
        call.save(customer)
    method |= {"customer": None, "_used_up": True}
    call.save(method)
    call.emit("payment_method.detached", method)
    return method


def retrieve(call: Call, _given: JsonObject, method_id: str) -> JsonObject:
    """Return a payment method."""
    return call.find("payment_method", method_id, "id")


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List the cards of a customer."""
    call.find("customer", given["customer"], "customer")
    return listing.page(call, "payment_method", "/v1/payment_methods", given, ("customer",))


def list_of_customer(call: Call, given: JsonObject, customer_id: str) -> JsonObject:
    """List the cards of the customer in the path."""
    call.find("customer", customer_id, "id")
    path = f"/v1/customers/{customer_id}/payment_methods"
    return listing.page(call, "payment_method", path, given | {"customer": customer_id}, ("customer",))


def _copy(call: Call, name: str, card: Card) -> JsonObject:
    return {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "card": {
            "brand": card.brand,
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": hashlib.sha256(f"{call.account}{card.last4}".encode()).hexdigest()[:16],
            "funding": "credit",
            "last4": card.last4,
            "three_d_secure_usage": {"supported": True},
        },
        "created": call.now_s,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_card": name,
        "_used_up": False,
        "_set_up": False,
    }
