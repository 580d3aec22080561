"""Amounts are in the smallest unit of their currency, and charged in steps the currency has."""

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account


@pytest.mark.parametrize(
    ("currency", "amount", "spoken"),
    [
        ("usd", 2_050, "$20.50 usd"),
        ("EUR", 2_050, "20.50 eur"),
        ("jpy", 2_050, "2,050 jpy"),
        ("krw", 2_050, "2,050 krw"),
        ("kwd", 2_050, "2.050 kwd"),
        ("isk", 10_000, "100.00 isk"),
    ],
)
def test_each_currency_has_its_decimals(
    currency: str, amount: int, spoken: str, stripe: StripeClient, account: Account
) -> None:
    intent = account.paid(amount=amount, currency=currency)
    assert (intent.amount_received, intent.currency) == (amount, currency.lower())
    refused = f"greater than unrefunded amount on charge \\({spoken.replace('$', '.')}\\)"
    with pytest.raises(sdk.InvalidRequestError, match=refused):
        stripe.v1.refunds.create({"payment_intent": intent.id, "amount": amount * 10})


@pytest.mark.parametrize(("currency", "amount"), [("kwd", 2_055), ("bhd", 5_001), ("isk", 10_050)])
def test_steps_a_currency_does_not_have_are_refused(currency: str, amount: int, account: Account) -> None:
    with pytest.raises(sdk.InvalidRequestError, match="must be divisible by") as refused:
        account.paid(amount=amount, currency=currency)
    assert refused.value.param == "amount"


def test_a_refund_is_held_to_the_steps_too(stripe: StripeClient, account: Account) -> None:
    intent = account.paid(amount=5_000, currency="kwd")
    with pytest.raises(sdk.InvalidRequestError, match="must be divisible by 10"):
        stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 1_005})


@pytest.mark.parametrize(("currency", "amount"), [("jpy", 49), ("kwd", 150), ("gbp", 29)])
def test_too_little_is_too_little_in_any_currency(currency: str, amount: int, account: Account) -> None:
    with pytest.raises(sdk.InvalidRequestError) as refused:
        account.paid(amount=amount, currency=currency)
    assert refused.value.code == "amount_too_small"
