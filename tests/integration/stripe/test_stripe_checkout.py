"""A buyer pays, or saves a card, on the page of a Checkout Session."""

from typing import Any

import httpx
import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, charges_of
from stripe_browser import Browser

from sandbox.stripe.controls import Controls

_SUCCESS = "https://example.com/done?session={CHECKOUT_SESSION_ID}"
_CANCEL = "https://example.com/canceled"
_DAY_S = 24 * 3600


def _item(amount: int = 2_500, currency: str = "usd", name: str = "Funds") -> Any:
    return {
        "quantity": 1,
        "price_data": {"currency": currency, "unit_amount": amount, "product_data": {"name": name}},
    }


def _session(account: Account, **more: Any) -> sdk.checkout.Session:
    return account.client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [_item()],
            "success_url": _SUCCESS,
            "cancel_url": _CANCEL,
            "allowed_payment_method_types": ["card"],
            **more,
        }
    )


def _setup_session(account: Account, **more: Any) -> sdk.checkout.Session:
    return account.client.v1.checkout.sessions.create(
        {"mode": "setup", "currency": "usd", "success_url": _SUCCESS, **more}
    )


def _seen(account: Account, session: sdk.checkout.Session) -> sdk.checkout.Session:
    return account.client.v1.checkout.sessions.retrieve(session.id)


def test_a_session_is_open_until_it_is_paid(account: Account, stripe: StripeClient) -> None:
    customer = account.customer()
    session = _session(
        account,
        customer=customer,
        metadata={"for": "session"},
        client_reference_id="7",
        payment_intent_data={"setup_future_usage": "off_session", "metadata": {"topup": "t1"}},
    )
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert (session.amount_total, session.currency, session.livemode) == (2_500, "usd", False)
    with Browser(str(session.url)) as browser:
        assert "$25.00 usd" in browser.page.text
        assert _CANCEL in browser.page.links
        browser.submit(card="pm_card_visa")
        assert browser.location == f"https://example.com/done?session={session.id}"
    paid = _seen(account, session)
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert (paid.client_reference_id, paid.metadata.to_dict()) == ("7", {"for": "session"})  # type: ignore[union-attr]
    intent = stripe.v1.payment_intents.retrieve(str(paid.payment_intent))
    assert (intent.status, intent.amount, intent.customer) == ("succeeded", 2_500, customer)
    assert intent.metadata.to_dict() == {"topup": "t1"}
    assert [card.id for card in stripe.v1.customers.payment_methods.list(customer).data] == [
        intent.payment_method
    ]
    assert account.event_types()[-5:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_method.attached",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_card_that_declines_can_be_replaced(account: Account, controls: Controls) -> None:
    customer = account.customer()
    session = _session(account, customer=customer)
    with Browser(str(session.url)) as browser:
        browser.submit(card="pm_card_chargeDeclinedInsufficientFunds")
        assert browser.page.alert == "Your card has insufficient funds."
        assert browser.page.fields["card"] == "pm_card_chargeDeclinedInsufficientFunds"
        assert _seen(account, session).status == "open"
        browser.submit(card="pm_card_visa")
    assert _seen(account, session).payment_status == "paid"
    assert len(charges_of(controls, customer)) == 1
    assert len(charges_of(controls, customer, "failed")) == 1


def test_the_bank_asks_and_the_buyer_completes_or_fails(account: Account) -> None:
    session = _session(account, customer=account.customer())
    with Browser(str(session.url)) as browser:
        browser.submit(card="pm_card_authenticationRequired")
        assert "/authenticate/pi_" in browser.location
        assert "Confirm your payment of $25.00 usd" in browser.page.text
        browser.submit(outcome="fail")
        assert browser.location == session.url
        assert _seen(account, session).status == "open"
        browser.submit(card="pm_card_authenticationRequired")
        browser.submit(outcome="succeed")
        assert browser.location == f"https://example.com/done?session={session.id}"
    assert _seen(account, session).payment_status == "paid"


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_authenticationRequiredOnSetup"])
def test_a_card_is_saved_without_a_payment(card: str, account: Account, stripe: StripeClient) -> None:
    customer = account.customer()
    session = _setup_session(account, customer=customer, setup_intent_data={"metadata": {"a": "1"}})
    assert str(session.setup_intent).startswith("seti_")
    with Browser(str(session.url)) as browser:
        browser.submit(card=card)
        if "/authenticate/" in browser.location:
            browser.submit(outcome="succeed")
        assert browser.location == f"https://example.com/done?session={session.id}"
    intent = stripe.v1.setup_intents.retrieve(str(session.setup_intent))
    assert (intent.status, intent.metadata.to_dict()) == ("succeeded", {"a": "1"})  # type: ignore[union-attr]
    done = _seen(account, session)
    assert (done.status, done.payment_status) == ("complete", "no_payment_required")
    saved = str(intent.payment_method)
    assert account.intent(customer, saved, confirm=True, off_session=True).status == "succeeded"
    assert "checkout.session.completed" in account.event_types()


def test_a_card_that_cannot_be_saved_is_refused(account: Account) -> None:
    session = _setup_session(account, customer=account.customer())
    with Browser(str(session.url)) as browser:
        browser.submit(card="pm_card_chargeDeclinedExpiredCard")
        assert browser.page.alert == "Your card has expired."


def test_a_buyer_without_a_customer_gives_an_address(account: Account, stripe: StripeClient) -> None:
    session = _session(account, customer_creation="always")
    with Browser(str(session.url)) as browser:
        assert "email" in browser.page.fields
        browser.submit(card="pm_card_visa", email="buyer@example.com")
    paid = _seen(account, session)
    assert paid.customer_details.email == "buyer@example.com"  # type: ignore[union-attr]
    assert stripe.v1.customers.retrieve(str(paid.customer)).email == "buyer@example.com"


def test_a_session_is_paid_once(account: Account, controls: Controls) -> None:
    customer = account.customer()
    session = _session(account, customer=customer)
    for _ in range(3):
        httpx.post(str(session.url), data={"card": "pm_card_visa"})
    assert len(charges_of(controls, customer)) == 1
    answer = httpx.get(str(session.url))
    assert "complete" in answer.text


def test_an_expired_session_cannot_be_paid(
    account: Account, controls: Controls, stripe: StripeClient
) -> None:
    customer = account.customer()
    session = _session(account, customer=customer)
    assert stripe.v1.checkout.sessions.expire(session.id).status == "expired"
    assert account.event_types()[-1] == "checkout.session.expired"
    assert httpx.post(str(session.url), data={"card": "pm_card_visa"}).status_code == 410
    assert charges_of(controls, customer) == []
    with pytest.raises(sdk.InvalidRequestError, match="status of expired"):
        stripe.v1.checkout.sessions.expire(session.id)


def test_expiry_cancels_the_intent_of_a_declined_attempt(account: Account, stripe: StripeClient) -> None:
    session = _session(account, customer=account.customer())
    httpx.post(str(session.url), data={"card": "pm_card_chargeDeclined"})
    intent = str(_seen(account, session).payment_intent)
    for refuse in (stripe.v1.payment_intents.confirm, stripe.v1.payment_intents.cancel):
        with pytest.raises(sdk.InvalidRequestError, match="belongs to a Checkout Session"):
            refuse(intent)
    stripe.v1.checkout.sessions.expire(session.id)
    assert account.status(intent) == "canceled"


def test_a_session_expires_by_itself_after_a_day(account: Account, controls: Controls) -> None:
    session = _session(account, customer=account.customer())
    controls.advance_clock(_DAY_S + 1)
    assert account.event_types()[-1] == "checkout.session.expired"
    assert _seen(account, session).status == "expired"


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
def test_money_that_is_long_on_its_way_comes_or_does_not(
    outcome: Any, account: Account, controls: Controls
) -> None:
    controls.fault("hold", path="/c/pay/")
    session = _session(account, customer=account.customer())
    httpx.post(str(session.url), data={"card": "pm_card_visa"})
    complete = _seen(account, session)
    assert (complete.status, complete.payment_status) == ("complete", "unpaid")
    controls.release(str(complete.payment_intent), outcome)
    how = "succeeded" if outcome == "succeed" else "failed"
    assert account.event_types()[-1] == f"checkout.session.async_payment_{how}"
    assert _seen(account, session).payment_status == ("paid" if outcome == "succeed" else "unpaid")


def test_sessions_are_listed_by_what_became_of_them(account: Account, stripe: StripeClient) -> None:
    customer = account.customer()
    paid, left = (_session(account, customer=customer) for _ in range(2))
    httpx.post(str(paid.url), data={"card": "pm_card_visa"})
    sessions = stripe.v1.checkout.sessions
    assert [each.id for each in sessions.list({"customer": customer}).data] == [left.id, paid.id]
    assert [each.id for each in sessions.list({"status": "open"}).data] == [left.id]
    by_intent = sessions.list({"payment_intent": str(_seen(account, paid).payment_intent)}).data
    assert [each.id for each in by_intent] == [paid.id]
    items = stripe.v1.checkout.sessions.line_items.list(paid.id).data
    assert [(item.description, item.amount_total) for item in items] == [("Funds", 2_500)]


_WRONG = {
    "no line items": ({"line_items": []}, "line_items"),
    "below the minimum": ({"line_items": [_item(49)]}, "amount"),
    "two currencies": ({"line_items": [_item(), _item(currency="eur")]}, "line_items"),
    "not a URL": ({"success_url": "javascript:alert(1)"}, "success_url"),
    "the other mode": ({"setup_intent_data": {"description": "x"}}, "setup_intent_data"),
    "two who pay": ({"customer_email": "a@example.com", "customer": True}, "customer_email"),
    "too short": ({"expires_at": 5}, "expires_at"),
    "unknown below": ({"line_items": [{**_item(), "colour": "red"}]}, "line_items[0][colour]"),
    "removed": ({"payment_method_types": ["card"]}, "payment_method_types"),
}


@pytest.mark.parametrize(("change", "param"), _WRONG.values(), ids=_WRONG.keys())
def test_a_wrong_session_is_refused(change: dict[str, Any], param: str, account: Account) -> None:
    if change.get("customer"):
        change = {**change, "customer": account.customer()}
    with pytest.raises(sdk.InvalidRequestError) as refused:
        _session(account, **change)
    assert refused.value.param == param


def test_a_session_is_idempotent(stripe: StripeClient) -> None:
    parameters: Any = {"mode": "setup", "currency": "usd", "success_url": _SUCCESS}
    first, again = (
        stripe.v1.checkout.sessions.create(parameters, {"idempotency_key": "k"}) for _ in range(2)
    )
    assert first.id == again.id
