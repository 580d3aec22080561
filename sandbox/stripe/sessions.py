"""Checkout Sessions: a page takes the payment or the card (docs.stripe.com/api/checkout/sessions)."""

from urllib.parse import urlsplit

from sandbox.stripe import intents, listing, session_state, setup_intents
from sandbox.stripe.amounts import check_amount
from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, new_id, random_text
from sandbox.stripe.parameters import LIST, METADATA, TEXT, WHOLE, Parameter, Schema
from sandbox.stripe.session_state import KIND

_PRODUCT: Schema = {"name": Parameter(required=True), "description": TEXT, "metadata": METADATA}
_PRICE: Schema = {
    "currency": Parameter(required=True),
    "unit_amount": Parameter("integer", required=True),
    "product_data": Parameter("object", required=True, fields=_PRODUCT),
}
_ITEM: Schema = {"price_data": Parameter("object", required=True, fields=_PRICE), "quantity": WHOLE}
_FOR_INTENT: Schema = {"description": TEXT, "metadata": METADATA}
_FOR_PAYMENT: Schema = {
    **_FOR_INTENT,
    "receipt_email": TEXT,
    "setup_future_usage": Parameter(choices=("off_session", "on_session")),
    "statement_descriptor_suffix": TEXT,
}
CREATABLE: Schema = {
    "mode": Parameter(required=True, choices=("payment", "setup")),
    "ui_mode": Parameter(choices=("hosted_page",)),
    "success_url": Parameter(required=True),
    "cancel_url": TEXT,
    "allowed_payment_method_types": LIST,
    "client_reference_id": TEXT,
    "currency": TEXT,
    "customer": TEXT,
    "customer_creation": Parameter(choices=("always", "if_required")),
    "customer_email": TEXT,
    "expires_at": WHOLE,
    "line_items": Parameter("objects", fields=_ITEM),
    "locale": TEXT,
    "metadata": METADATA,
    "payment_intent_data": Parameter("object", fields=_FOR_PAYMENT),
    "setup_intent_data": Parameter("object", fields=_FOR_INTENT),
    "submit_type": Parameter(choices=("auto", "pay")),
    "expand": LIST,
}
READABLE: Schema = {"expand": LIST}
LISTED: Schema = {"customer": TEXT, "payment_intent": TEXT, "status": TEXT, **listing.DATED}

_LIFE_MIN_S = 30 * 60
_LIFE_MAX_S = 24 * 3600
_OF_THE_OTHER_MODE = {
    "payment": ("setup_intent_data",),
    "setup": ("line_items", "payment_intent_data", "submit_type"),
}


def create(call: Call, given: JsonObject) -> JsonObject:
    """Open a session with a page at its `url`; raises `ApiError` (400) for what its mode does not allow."""
    _check_together(given)
    for name in ("success_url", "cancel_url"):
        if name in given:
            _check_url(given[name], name)
    if "customer" in given:
        call.find("customer", given["customer"], "customer")
    session = _new(call, given)
    if given["mode"] == "setup":
        intent = setup_intents.create(call, _setup_parameters(given))
        call.save(intent | {"_session": session["id"]})
        session["setup_intent"] = intent["id"]
    call.save(session)
    return session


def expire(call: Call, _given: JsonObject, session_id: str) -> JsonObject:
    """End an open session; raises `ApiError` (400) for another."""
    session = retrieve(call, {}, session_id)
    if session["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a '
            f"status of {session['status']}."
        )
        raise invalid_request(message)
    end(call, session)
    return session


def end(call: Call, session: JsonObject) -> None:
    """Expire a session and cancel its intent, where that was not over."""
    if session["setup_intent"] is not None:
        setup_intents.cancel(call, {"cancellation_reason": "abandoned"}, session["setup_intent"])
    elif session["payment_intent"] is not None:
        intent = call.find("payment_intent", session["payment_intent"], "payment_intent")
        intents.abandon(call, intent, "abandoned")
    session_state.expire(call, session)


def retrieve(call: Call, _given: JsonObject, session_id: str) -> JsonObject:
    """Return a session, which expires here when its time is over."""
    session = call.find(KIND, session_id, "session")
    if session_state.is_due(session, call.now_s):
        end(call, session)
    return session


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List sessions, optionally those of a customer, an intent or a status."""
    for session in call.those(KIND, status="open"):
        retrieve(call, {}, session["id"])
    by = ("customer", "payment_intent", "status")
    return listing.page(call, KIND, "/v1/checkout/sessions", given, by)


def line_items(call: Call, _given: JsonObject, session_id: str) -> JsonObject:
    """Return what a session sells."""
    items = call.find(KIND, session_id, "session")["_line_items"]
    url = f"/v1/checkout/sessions/{session_id}/line_items"
    return {"object": "list", "data": items, "has_more": False, "url": url}


def _check_together(given: JsonObject) -> None:
    mode = given["mode"]
    for name in _OF_THE_OTHER_MODE[mode]:
        if name in given:
            raise invalid_request(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if mode == "payment" and not given.get("line_items"):
        message = "Missing required param: line_items."
        raise invalid_request(message, "parameter_missing", "line_items")
    if mode == "setup" and not {"currency", "allowed_payment_method_types"} & given.keys():
        message = "You must provide `currency` in `setup` mode, or `allowed_payment_method_types`."
        raise invalid_request(message, "parameter_missing", "currency")
    if {"customer", "customer_email"} <= given.keys():
        message = "You may only specify one of these parameters: customer, customer_email."
        raise invalid_request(message, param="customer_email")


def _check_url(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise invalid_request("Not a valid URL", "url_invalid", name)


def _expires_at(call: Call, given: JsonObject) -> int:
    expires_at: int = given.get("expires_at", call.now_s + _LIFE_MAX_S)
    life_s = expires_at - call.now_s
    if not _LIFE_MIN_S <= life_s <= _LIFE_MAX_S:
        bound = "at least 30 minutes" if life_s < _LIFE_MIN_S else "less than 24 hours"
        message = f"The `expires_at` timestamp must be {bound} from Checkout Session creation."
        raise invalid_request(message, param="expires_at")
    return expires_at


def _items(given: JsonObject) -> list[JsonObject]:
    items = []
    for item in given.get("line_items", []):
        price, quantity = item["price_data"], item.get("quantity", 1)
        total = price["unit_amount"] * quantity
        items.append(
            {
                "id": new_id("li"),
                "object": "item",
                "amount_subtotal": total,
                "amount_total": total,
                "currency": price["currency"].lower(),
                "description": price["product_data"]["name"],
                "quantity": quantity,
            }
        )
    return items


def _price(items: list[JsonObject]) -> JsonObject:
    """Return the currency and the amounts of a session that sells these."""
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        message = "All line items of a session must have the same currency."
        raise invalid_request(message, param="line_items")
    total = sum(item["amount_total"] for item in items)
    currency = check_amount(total, currencies.pop())
    return {"currency": currency, "amount_subtotal": total, "amount_total": total}


def _setup_parameters(given: JsonObject) -> JsonObject:
    passed = {"customer", "allowed_payment_method_types"} & given.keys()
    of_intent: JsonObject = given.get("setup_intent_data", {})
    return {name: given[name] for name in passed} | of_intent


def _new(call: Call, given: JsonObject) -> JsonObject:
    items = _items(given)
    session_id = f"cs_test_{random_text()}{random_text()}"
    price = _price(items) if items else {}
    return {
        "id": session_id,
        "object": KIND,
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "amount_subtotal": None,
        "amount_total": None,
        "cancel_url": given.get("cancel_url"),
        "client_reference_id": given.get("client_reference_id"),
        "created": call.now_s,
        "currency": given.get("currency"),
        "customer": given.get("customer"),
        "customer_creation": given.get("customer_creation", "if_required"),
        "customer_details": None,
        "customer_email": given.get("customer_email"),
        "expires_at": _expires_at(call, given),
        "livemode": False,
        "locale": given.get("locale"),
        "metadata": given.get("metadata", {}),
        "mode": given["mode"],
        "payment_intent": None,
        "payment_method_types": ["card"],
        "payment_status": "unpaid" if given["mode"] == "payment" else "no_payment_required",
        "setup_intent": None,
        "status": "open",
        "success_url": given["success_url"],
        "ui_mode": "hosted_page",
        "url": f"{call.base_url}/c/pay/{session_id}",
        "_line_items": items,
        "_payment_intent_data": given.get("payment_intent_data", {}),
        **price,
    }
