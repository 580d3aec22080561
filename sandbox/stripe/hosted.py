"""The pages that Stripe would host: checkout, the bank's question to the owner of a card, receipts."""

from datetime import UTC, datetime
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from sandbox.stripe import authentication, cardholder, checkout, checkout_page, pages, session_state, sessions
from sandbox.stripe.amounts import spoken
from sandbox.stripe.call import Call
from sandbox.stripe.gateway import Gateway
from sandbox.stripe.objects import JsonObject

_CHECKOUT = "/c/pay/{session_id}"
_CHALLENGE = "/authenticate/{intent_id}"


def hosted_routes(gateway: Gateway) -> APIRouter:
    """Return the routes of the pages of one stand-in."""
    router = APIRouter()

    @router.get(_CHECKOUT)
    async def look(session_id: str, request: Request) -> Response:
        return _checkout(gateway, session_id, request)

    @router.post(_CHECKOUT)
    async def pay(session_id: str, request: Request) -> Response:
        return _checkout(gateway, session_id, request, _fields(await request.body()))

    @router.get(_CHALLENGE)
    async def ask(intent_id: str, request: Request) -> Response:
        return _challenge(gateway, intent_id, request)

    @router.post(_CHALLENGE)
    async def answer(intent_id: str, request: Request) -> Response:
        return _challenge(gateway, intent_id, request, _fields(await request.body()))

    @router.get("/receipts/{charge_id}")
    async def receipt(charge_id: str) -> Response:
        return _receipt(gateway, charge_id)

    @router.get("/pages/style.css")
    async def style() -> Response:
        return Response(pages.style(), media_type="text/css")

    return router


def _checkout(
    gateway: Gateway, session_id: str, request: Request, fields: dict[str, str] | None = None
) -> Response:
    """Show the page of a session or, with the `fields` of its form, do what the buyer submitted."""
    account, found = gateway.store.owned(session_id) or ("", {})
    if found.get("object") != session_state.KIND:
        return _message("Not found", "There is no such checkout.", status=404)
    call = _call(gateway, account, request)
    with gateway.store.transaction():
        session = sessions.retrieve(call, {}, session_id)
        if session["status"] != "open":
            return _over(session)
        if fields is None:
            return checkout_page.shown(call, session)
        refusal = checkout.submit(call, session, fields.get("card", ""), fields.get("email"))
        session = sessions.retrieve(call, {}, session_id)
        if refusal is not None:
            return checkout_page.shown(call, session, refusal, fields.get("card"))
        return RedirectResponse(checkout.destination(call, session_id), 303)


def _challenge(
    gateway: Gateway, intent_id: str, request: Request, fields: dict[str, str] | None = None
) -> Response:
    """Ask the owner of a card or, with the `fields` of the form, go on with the answer."""
    account, intent = gateway.store.owned(intent_id) or ("", {})
    if intent.get("status") != "requires_action":
        return _message("Nothing to confirm", "This payment does not wait for you.", status=404)
    call = _call(gateway, account, request)
    back = intent["next_action"].get("redirect_to_url", {}).get("return_url")
    if fields is None:
        what = _asked(intent)
        return pages.page("challenge", what, leads_to=(back, *_session_urls(call, intent)), what=what)
    with gateway.store.transaction():
        cardholder.authenticate(call, intent, succeeds=fields.get("outcome") == "succeed")
        if intent["_session"] is not None:
            return RedirectResponse(checkout.destination(call, intent["_session"]), 303)
    if back is None:
        return _message("Thank you", "You may close this page.")
    return RedirectResponse(authentication.returned_to(back, intent), 303)


def _receipt(gateway: Gateway, charge_id: str) -> Response:
    _, charge = gateway.store.owned(charge_id) or ("", {})
    if charge.get("object") != "charge" or not charge["paid"]:
        return _message("Not found", "There is no such receipt.", status=404)
    card, currency = charge["payment_method_details"]["card"], charge["currency"]
    return pages.page(
        "receipt",
        "Receipt",
        total=spoken(charge["amount"], currency),
        state="Refunded" if charge["refunded"] else "Paid",
        date=f"{datetime.fromtimestamp(charge['created'], UTC):%d %B %Y, %H:%M} UTC",
        card=f"{card['brand'].capitalize()} •••• {card['last4']}",
        description=charge["description"] or "—",
        refunded=spoken(charge["amount_refunded"], currency),
        charge=charge_id,
    )


def _over(session: JsonObject) -> Response:
    if session["status"] == "complete":
        link = session["success_url"].replace(checkout.SESSION_ID, session["id"])
        return _message("All done", "This checkout is complete.", link=link)
    link = session["cancel_url"]
    return _message("Expired", "This checkout has expired.", status=410, link=link)


def _message(title: str, message: str, *, status: int = 200, link: str | None = None) -> Response:
    onward = pages.fill('<a class="button" href="$link">Continue</a>', link=link) if link else pages.Html()
    return pages.page("message", title, status=status, message=message, link=onward)


def _asked(intent: JsonObject) -> str:
    if intent["object"] == "setup_intent":
        return "Confirm that you save this card"
    return f"Confirm your payment of {spoken(intent['amount'], intent['currency'])}"


def _session_urls(call: Call, intent: JsonObject) -> tuple[str | None, ...]:
    if intent["_session"] is None:
        return ()
    session = call.find(session_state.KIND, intent["_session"], "session")
    return session["success_url"], session["cancel_url"]


def _call(gateway: Gateway, account: str, request: Request) -> Call:
    def hold() -> bool:
        return gateway.faults.take("hold", request.method, request.url.path) is not None

    return gateway.call(account, request, hold=hold)


def _fields(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}
