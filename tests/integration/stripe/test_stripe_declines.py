"""A card that declines, or wants its owner, answers with Stripe's codes."""

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account, charges_of

from sandbox.stripe.controls import Controls

_DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedLostCard": ("card_declined", "lost_card"),
    "pm_card_chargeDeclinedStolenCard": ("card_declined", "stolen_card"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": ("incorrect_cvc", "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", "processing_error"),
    "pm_card_chargeCustomerFail": ("card_declined", "generic_decline"),
}


@pytest.mark.parametrize(("card", "codes"), _DECLINES.items())
def test_a_decline_says_why_and_leaves_the_intent_without_a_card(
    card: str, codes: tuple[str, str], stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    intent = account.intent(customer, account.card_that(customer, card, controls))
    with pytest.raises(sdk.CardError) as declined:
        stripe.v1.payment_intents.confirm(intent.id, {"off_session": True})
    error = declined.value.error
    assert declined.value.http_status == 402
    assert (declined.value.code, error.decline_code) == codes
    assert (error.payment_intent.id, error.payment_intent.status) == (intent.id, "requires_payment_method")
    after = stripe.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert (after.last_payment_error.code, after.last_payment_error.decline_code) == codes
    assert [c["id"] for c in charges_of(controls, customer, "failed")] == [after.latest_charge]
    assert account.event_types()[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_a_saved_card_declines_and_another_pays_the_same_intent(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    bad = account.saved_card(customer, "pm_card_chargeCustomerFail")
    intent = account.intent(customer, bad)
    with pytest.raises(sdk.CardError):
        stripe.v1.payment_intents.confirm(intent.id, {"off_session": True})
    good = account.saved_card(customer)
    paid = stripe.v1.payment_intents.confirm(intent.id, {"off_session": True, "payment_method": good})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert len(charges_of(controls, customer)) == 1


def test_a_card_recovers(account: Account, controls: Controls) -> None:
    customer = account.customer()
    card = account.card_that(customer, "pm_card_chargeDeclinedInsufficientFunds", controls)
    with pytest.raises(sdk.CardError):
        account.intent(customer, card, confirm=True, off_session=True)
    controls.change_card(card, "pm_card_visa")
    assert account.intent(customer, card, confirm=True, off_session=True).status == "succeeded"


def test_authentication_is_refused_off_session(account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_authenticationRequired")
    with pytest.raises(sdk.CardError) as refused:
        account.intent(customer, card, confirm=True, off_session=True)
    assert refused.value.code == "authentication_required"
    assert refused.value.error.payment_intent.status == "requires_payment_method"
    assert account.status(refused.value.error.payment_intent.id) == "requires_payment_method"


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
def test_authentication_is_asked_for_on_session(
    outcome: str, stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_authenticationRequired")
    waiting = account.intent(customer, card, confirm=True, return_url="https://example.com/back")
    assert waiting.status == "requires_action"
    assert waiting.next_action.redirect_to_url.return_url == "https://example.com/back"
    assert account.event_types()[-1] == "payment_intent.requires_action"
    controls.authenticate(waiting.id, outcome)
    after = stripe.v1.payment_intents.retrieve(waiting.id)
    if outcome == "succeed":
        assert after.status == "succeeded"
    else:
        assert after.last_payment_error.code == "payment_intent_authentication_failure"
        assert after.status == "requires_payment_method"


def test_an_intent_that_waits_for_its_owner_can_be_canceled(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_authenticationRequired")
    waiting = account.intent(customer, card, confirm=True)
    assert waiting.next_action.type == "use_stripe_sdk"
    assert stripe.v1.payment_intents.cancel(waiting.id).status == "canceled"


def test_a_card_set_up_for_off_session_wants_its_owner_only_on_session(account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_authenticationRequiredSetupForOffSession")
    assert account.intent(customer, card, confirm=True, off_session=True).status == "succeeded"
    assert account.intent(customer, card, confirm=True).status == "requires_action"
    with pytest.raises(sdk.CardError) as refused:
        account.intent(customer, card, confirm=True, error_on_requires_action=True)
    assert refused.value.code == "authentication_required"
