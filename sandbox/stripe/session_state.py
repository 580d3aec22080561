"""How a Checkout Session follows its intent, and ends (docs.stripe.com/api/checkout/sessions)."""

from sandbox.stripe.call import Call
from sandbox.stripe.objects import JsonObject

KIND = "checkout.session"


def follow(call: Call, intent: JsonObject) -> None:
    """Bring the session of an intent, where it has one, up to what has become of the intent.

    Money on its way completes the session unpaid; what becomes of it is told later, asynchronously.
    """
    if intent["_session"] is None:
        return
    session = call.find(KIND, intent["_session"], "session")
    done = intent["status"] == "succeeded"
    if session["status"] == "open" and (done or intent["status"] == "processing"):
        _complete(call, session, intent)
    elif session["status"] == "complete" and session["payment_status"] == "unpaid":
        session["payment_status"] = "paid" if done else "unpaid"
        call.save(session)
        how = "succeeded" if done else "failed"
        call.emit(f"{KIND}.async_payment_{how}", session)


def expire(call: Call, session: JsonObject) -> None:
    """End an open session; its intent is canceled."""
    session |= {"status": "expired", "url": None}
    call.save(session)
    call.emit(f"{KIND}.expired", session)


def is_due(session: JsonObject, now_s: int) -> bool:
    """Whether the time of an open session is over."""
    return bool(session["status"] == "open" and session["expires_at"] <= now_s)


def _complete(call: Call, session: JsonObject, intent: JsonObject) -> None:
    paid = "paid" if intent["status"] == "succeeded" else "unpaid"
    session |= {
        "status": "complete",
        "payment_status": paid if session["mode"] == "payment" else "no_payment_required",
        "url": None,
    }
    call.save(session)
    call.emit(f"{KIND}.completed", session)
