"""The page of a Checkout Session: what is bought, and a form with the test cards."""

from fastapi import Response

from sandbox.stripe import pages
from sandbox.stripe.amounts import spoken
from sandbox.stripe.call import Call
from sandbox.stripe.cards import card_named
from sandbox.stripe.objects import JsonObject

_CARDS = {
    "pm_card_visa": "Succeeds",
    "pm_card_mastercard": "Succeeds",
    "pm_card_authenticationRequired": "Asks its owner, every time",
    "pm_card_authenticationRequiredOnSetup": "Asks its owner once, then can be charged without",
    "pm_card_chargeDeclined": "Declined",
    "pm_card_chargeDeclinedInsufficientFunds": "Declined: insufficient funds",
    "pm_card_chargeDeclinedExpiredCard": "Declined: expired",
    "pm_card_chargeDeclinedIncorrectCvc": "Declined: wrong security code",
    "pm_card_chargeCustomerFail": "Can be saved, declines every charge",
    "pm_card_createDispute": "Succeeds, then is disputed",
    "pm_card_pendingRefund": "Succeeds, and refunds stay pending",
}
_CARD = """
<label><input type="radio" name="card" value="$name" required$checked>
<span>$says<small>$name</small></span> <span class="number">$brand •••• $last4</span></label>"""
_ITEM = "<li><span>$name &times; $quantity</span> <span>$amount</span></li>"
_EMAIL = """
<label class="label" for="email">Email</label>
<input id="email" type="email" name="email" autocomplete="email" required value="$email">"""
_KNOWN = '<p class="quiet">$email</p>'
_ALERT = '<p role="alert">$message</p>'
_BACK = '<a class="back" href="$url">← Back</a>'


def shown(call: Call, session: JsonObject, refusal: str | None = None, chosen: str | None = None) -> Response:
    """Return the page, which says why after a refusal."""
    setup = session["mode"] == "setup"
    total = "Nothing to pay" if setup else spoken(session["amount_total"], session["currency"])
    back = session["cancel_url"]
    return pages.page(
        "checkout",
        "Save a card" if setup else f"Pay {total}",
        leads_to=(session["success_url"], back),
        back=pages.fill(_BACK, url=back) if back else pages.Html(),
        what="Save a card for later" if setup else "Your payment",
        total=total,
        items=_items(session),
        how="Card" if setup else "Pay with a card",
        alert=pages.fill(_ALERT, message=refusal) if refusal else pages.Html(),
        email=_email(call, session),
        cards=pages.Html("".join(_card(name, says, chosen) for name, says in _CARDS.items())),
        action="Save card" if setup else f"Pay {total}",
    )


def _items(session: JsonObject) -> pages.Html:
    return pages.Html(
        "".join(
            pages.fill(
                _ITEM,
                name=item["description"],
                quantity=str(item["quantity"]),
                amount=spoken(item["amount_total"], item["currency"]),
            )
            for item in session["_line_items"]
        )
    )


def _email(call: Call, session: JsonObject) -> pages.Html:
    if session["customer"] is not None:
        known = call.find("customer", session["customer"], "customer")["email"]
        return pages.fill(_KNOWN, email=known) if known else pages.Html()
    if session["mode"] == "setup" or session["customer_email"] is not None:
        return pages.fill(_KNOWN, email=session["customer_email"] or "")
    return pages.fill(_EMAIL, email=(session["customer_details"] or {}).get("email") or "")


def _card(name: str, says: str, chosen: str | None) -> pages.Html:
    card = card_named(name)
    if card is None:
        raise LookupError(f"no such test card: {name}")
    return pages.fill(
        _CARD,
        name=name,
        says=says,
        brand=card.brand.capitalize(),
        last4=card.last4,
        checked=pages.Html(" checked" if name == (chosen or "pm_card_visa") else ""),
    )
