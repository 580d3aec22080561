"""Each test card does what its name says."""

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account

from sandbox.stripe.controls import Controls

_GOOD = {
    "pm_card_visa": ("visa", "4242"),
    "pm_card_visa_debit": ("visa", "5556"),
    "pm_card_mastercard": ("mastercard", "4444"),
    "pm_card_mastercard_debit": ("mastercard", "8210"),
    "pm_card_mastercard_prepaid": ("mastercard", "5100"),
    "pm_card_amex": ("amex", "8431"),
    "pm_card_discover": ("discover", "9424"),
    "pm_card_diners": ("diners", "0004"),
    "pm_card_jcb": ("jcb", "0505"),
    "pm_card_unionpay": ("unionpay", "0005"),
    "pm_card_bypassPending": ("visa", "0077"),
    "pm_card_threeDSecureOptional": ("visa", "3055"),
}


@pytest.mark.parametrize(("card", "seen"), _GOOD.items())
def test_a_good_card_pays(card: str, seen: tuple[str, str], stripe: StripeClient, account: Account) -> None:
    intent = account.paid(card)
    method = stripe.v1.payment_methods.retrieve(str(intent.payment_method))
    assert (intent.status, (method.card.brand, method.card.last4)) == ("succeeded", seen)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
        ("pm_card_chargeDeclinedFraudulent", "fraudulent"),
        ("pm_card_radarBlock", "fraudulent"),
    ],
)
def test_a_card_that_is_never_good_cannot_be_saved(card: str, code: str, account: Account) -> None:
    with pytest.raises(sdk.CardError) as declined:
        account.saved_card(account.customer(), card)
    assert declined.value.error.decline_code == code  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_threeDSecureRequiredChargeDeclined", "card_declined"),
        ("pm_card_threeDSecureRequiredProcessingError", "processing_error"),
        ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "card_declined"),
    ],
)
def test_a_card_can_decline_after_its_owner_was_asked(
    card: str, code: str, stripe: StripeClient, account: Account, controls: Controls
) -> None:
    waiting = account.paid(card)
    assert waiting.status == "requires_action"
    controls.authenticate(waiting.id)
    after = stripe.v1.payment_intents.retrieve(waiting.id)
    assert (after.status, after.last_payment_error.code) == ("requires_payment_method", code)  # type: ignore[union-attr]


@pytest.mark.parametrize("card", ["pm_card_threeDSecureRequired", "pm_card_threeDSecure2Required"])
def test_a_card_with_three_d_secure_asks_its_owner(card: str, account: Account) -> None:
    assert account.paid(card).status == "requires_action"
