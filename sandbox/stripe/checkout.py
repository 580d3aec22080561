"""What the buyer does on the page of a Checkout Session: submit a card, and see where that leads."""

from sandbox.stripe import attempts, customers, intents, session_state, setup_intents
from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError
from sandbox.stripe.objects import JsonObject
from sandbox.stripe.payment_methods import resolve

SESSION_ID = "{CHECKOUT_SESSION_ID}"


def submit(call: Call, session: JsonObject, card: str, email: str | None) -> str | None:
    """Pay with, or save, the test card; returns what to tell the buyer where that was refused."""
    _remember(call, session, email)
    intent = _intent(call, session)
    try:
        if session["mode"] == "setup":
            given = {"payment_method": card, "return_url": session["url"]}
            setup_intents.confirm(call, given, intent["id"])
        else:
            method = resolve(call, card, "payment_method")
            call.save(method)
            attempts.attempt(call, intent, method, {"return_url": session["url"]})
    except ApiError as error:
        return str(error)
    return None


def destination(call: Call, session_id: str) -> str:
    """Return where the buyer goes now: the success page, the bank's page, or the page of the session."""
    session = call.find(session_state.KIND, session_id, "session")
    if session["status"] == "complete":
        return str(session["success_url"].replace(SESSION_ID, session_id))
    intent = intent_of(call, session)
    if intent is not None and intent["next_action"] is not None:
        return str(intent["next_action"]["redirect_to_url"]["url"])
    return str(session["url"])


def intent_of(call: Call, session: JsonObject) -> JsonObject | None:
    """Return the payment or setup intent of a session, None while there is none yet."""
    kind = "setup_intent" if session["mode"] == "setup" else "payment_intent"
    return call.find(kind, session[kind], kind) if session[kind] is not None else None


def _remember(call: Call, session: JsonObject, email: str | None) -> None:
    """Note who pays; a customer is made where the card is to be saved, or always if so asked."""
    address = email or session["customer_email"]
    saves = "setup_future_usage" in session["_payment_intent_data"]
    if session["customer"] is None and (saves or session["customer_creation"] == "always"):
        session["customer"] = customers.create(call, {"email": address} if address else {})["id"]
    elif session["customer"] is not None:
        address = call.find("customer", session["customer"], "customer")["email"] or address
    session["customer_details"] = {"address": None, "email": address, "name": None, "phone": None}
    call.save(session)


def _intent(call: Call, session: JsonObject) -> JsonObject:
    intent = intent_of(call, session)
    if intent is not None:
        return intent
    given = {"amount": session["amount_total"], "currency": session["currency"]}
    for name in ("customer", "allowed_payment_method_types"):
        if session[name] is not None:
            given[name] = session[name]
    intent = intents.create(call, given | session["_payment_intent_data"])
    intent["_session"] = session["id"]
    call.save(intent)
    session["payment_intent"] = intent["id"]
    call.save(session)
    return intent
