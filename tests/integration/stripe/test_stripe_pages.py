"""Pages are safe and complete by themselves, and the bank's page serves intents without a session, too."""

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from stripe import StripeClient
from stripe_account import Account
from stripe_browser import Browser

_BACK = "https://example.com/back?a=1"


def _session_url(account: Account, name: str = "Funds") -> str:
    session = account.client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": account.customer(),
            "success_url": "https://shop.example/done",
            "line_items": [
                {"price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": name}}}
            ],
        }
    )
    return str(session.url)


def test_a_page_needs_nothing_from_elsewhere_and_may_only_lead_where_it_should(account: Account) -> None:
    with Browser(_session_url(account)) as browser:
        assert browser.policy == (
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            "form-action 'self' https://shop.example"
        )
    style = httpx.get(f"{account.url}/pages/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "http" not in style.text


def test_what_is_sold_is_text_not_markup(account: Account) -> None:
    html = httpx.get(_session_url(account, '<script>alert("x")</script>')).text
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_page_offers_cards_of_every_kind(account: Account) -> None:
    with Browser(_session_url(account)) as browser:
        assert browser.page.fields["card"] == "pm_card_visa"
        assert {"pm_card_chargeDeclined", "pm_card_authenticationRequired"} <= set(browser.page.choices)


def test_an_unknown_card_is_refused_on_the_page(account: Account) -> None:
    with Browser(_session_url(account)) as browser:
        browser.submit(card="pm_card_nonsense")
        assert browser.page.alert == "No such PaymentMethod: 'pm_card_nonsense'"


@pytest.mark.parametrize(("outcome", "status"), [("succeed", "succeeded"), ("fail", "failed")])
def test_an_intent_with_a_return_url_is_confirmed_at_the_bank(
    outcome: str, status: str, account: Account, stripe: StripeClient
) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_authenticationRequired")
    intent = account.intent(customer, card, confirm=True, return_url=_BACK)
    with Browser(intent.next_action.redirect_to_url.url) as browser:  # type: ignore[union-attr, arg-type]
        browser.submit(outcome=outcome)
        told = parse_qs(urlsplit(browser.location).query)
    assert told == {
        "a": ["1"],
        "payment_intent": [intent.id],
        "payment_intent_client_secret": [intent.client_secret],
        "redirect_status": [status],
    }
    after = stripe.v1.payment_intents.retrieve(intent.id)
    assert (after.status == "succeeded") == (status == "succeeded")


def test_a_setup_is_confirmed_at_the_bank(account: Account, stripe: StripeClient) -> None:
    intent = stripe.v1.setup_intents.create(
        {
            "customer": account.customer(),
            "payment_method": "pm_card_authenticationRequired",
            "confirm": True,
            "return_url": _BACK,
        }
    )
    with Browser(intent.next_action.redirect_to_url.url) as browser:  # type: ignore[union-attr, arg-type]
        assert "save this card" in browser.page.text
        browser.submit(outcome="succeed")
        assert "setup_intent_client_secret" in browser.location
    assert httpx.get(intent.next_action.redirect_to_url.url).status_code == 404  # type: ignore[union-attr, arg-type]


def test_a_receipt_shows_what_was_paid_and_refunded(account: Account, stripe: StripeClient) -> None:
    intent = account.paid(description="Funds <for you>")
    url = str(account.charge(intent).receipt_url)
    receipt = httpx.get(url).text
    assert "$20.00 usd" in receipt
    assert "Funds &lt;for you&gt;" in receipt
    stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    assert "$5.00 usd" in httpx.get(url).text


@pytest.mark.parametrize("path", ["/c/pay/cs_test_none", "/authenticate/pi_none", "/receipts/ch_none"])
def test_a_page_of_nothing_says_so(path: str, account: Account) -> None:
    assert httpx.get(f"{account.url}{path}").status_code == 404
