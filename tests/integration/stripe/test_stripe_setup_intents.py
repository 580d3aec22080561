"""A SetupIntent saves a card without a charge, with its owner where the bank wants that."""

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account

from sandbox.stripe.controls import Controls

_RETURN_URL = "https://example.com/back?from=stripe"


def _setup(account: Account, customer: str, card: str, **more: object) -> sdk.SetupIntent:
    return account.client.v1.setup_intents.create(
        {"customer": customer, "payment_method": card, "allowed_payment_method_types": ["card"], **more}  # type: ignore[typeddict-item]
    )


def test_create_then_confirm_saves_the_card(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intent = stripe.v1.setup_intents.create({"customer": customer, "metadata": {"account": "7"}})
    assert (intent.status, intent.usage) == ("requires_payment_method", "off_session")
    assert intent.client_secret.startswith(f"{intent.id}_secret_")  # type: ignore[union-attr]
    done = stripe.v1.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (done.status, done.metadata.to_dict()) == ("succeeded", {"account": "7"})  # type: ignore[union-attr]
    assert [card.id for card in stripe.v1.customers.payment_methods.list(customer).data] == [
        done.payment_method
    ]
    assert account.event_types()[-3:] == [
        "setup_intent.created",
        "payment_method.attached",
        "setup_intent.succeeded",
    ]
    assert account.intent(customer, str(done.payment_method), confirm=True, off_session=True).status == (
        "succeeded"
    )


async def test_the_asynchronous_sdk_does_the_same(stripe: StripeClient, account: Account) -> None:
    intent = await stripe.v1.setup_intents.create_async(
        {"customer": account.customer(), "payment_method": "pm_card_visa", "confirm": True}
    )
    assert (await stripe.v1.setup_intents.retrieve_async(intent.id)).status == "succeeded"


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
def test_the_owner_is_asked_and_answers(
    outcome: str, stripe: StripeClient, account: Account, controls: Controls
) -> None:
    customer = account.customer()
    waiting = _setup(
        account, customer, "pm_card_authenticationRequired", confirm=True, return_url=_RETURN_URL
    )
    assert waiting.status == "requires_action"
    assert waiting.next_action.redirect_to_url.return_url == _RETURN_URL  # type: ignore[union-attr]
    assert account.event_types()[-1] == "setup_intent.requires_action"
    controls.authenticate(waiting.id, outcome)
    after = stripe.v1.setup_intents.retrieve(waiting.id)
    if outcome == "succeed":
        assert after.status == "succeeded"
    else:
        assert after.status == "requires_payment_method"
        assert after.last_setup_error.code == "setup_intent_authentication_failure"  # type: ignore[union-attr]
        assert account.event_types()[-1] == "setup_intent.setup_failed"
        assert stripe.v1.customers.payment_methods.list(customer).data == []


def test_a_card_that_was_set_up_is_charged_without_its_owner(account: Account, controls: Controls) -> None:
    customer = account.customer()
    attached = account.saved_card(customer, "pm_card_authenticationRequiredOnSetup")
    with pytest.raises(sdk.CardError) as refused:
        account.intent(customer, attached, confirm=True, off_session=True)
    assert refused.value.code == "authentication_required"
    waiting = _setup(account, customer, attached, confirm=True)
    assert waiting.next_action.type == "use_stripe_sdk"  # type: ignore[union-attr]
    controls.authenticate(waiting.id)
    assert account.intent(customer, attached, confirm=True, off_session=True).status == "succeeded"
    assert account.intent(customer, attached, confirm=True).status == "requires_action"


def test_a_card_that_always_wants_its_owner_does_so_when_set_up_too(
    account: Account, controls: Controls
) -> None:
    customer = account.customer()
    card = account.saved_card(customer, "pm_card_authenticationRequired")
    controls.authenticate(_setup(account, customer, card, confirm=True).id)
    with pytest.raises(sdk.CardError):
        account.intent(customer, card, confirm=True, off_session=True)


def test_a_card_that_declines_is_not_saved(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intent = _setup(account, customer, "pm_card_chargeDeclinedExpiredCard")
    with pytest.raises(sdk.CardError) as declined:
        stripe.v1.setup_intents.confirm(intent.id)
    assert (declined.value.code, declined.value.error.setup_intent.id) == ("expired_card", intent.id)  # type: ignore[union-attr]
    after = stripe.v1.setup_intents.retrieve(intent.id)
    assert (after.status, after.last_setup_error.code) == ("requires_payment_method", "expired_card")  # type: ignore[union-attr]
    assert stripe.v1.customers.payment_methods.list(customer).data == []
    again = stripe.v1.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert again.status == "succeeded"


def test_a_canceled_or_succeeded_intent_is_over(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    canceled = stripe.v1.setup_intents.cancel(
        _setup(account, customer, "pm_card_visa").id, {"cancellation_reason": "abandoned"}
    )
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert account.event_types()[-1] == "setup_intent.canceled"
    succeeded = _setup(account, customer, "pm_card_visa", confirm=True)
    for over in (canceled, succeeded):
        with pytest.raises(sdk.InvalidRequestError) as refused:
            stripe.v1.setup_intents.confirm(over.id)
        assert refused.value.code == "setup_intent_unexpected_state"


def test_intents_are_listed_by_customer(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    intents = [_setup(account, customer, "pm_card_visa").id for _ in range(2)]
    _setup(account, account.customer(), "pm_card_visa")
    listed = stripe.v1.setup_intents.list({"customer": customer}).data
    assert [intent.id for intent in listed] == intents[::-1]


def test_an_intent_is_updated_while_it_is_open(stripe: StripeClient, account: Account) -> None:
    intent = stripe.v1.setup_intents.create({"customer": account.customer()})
    updated = stripe.v1.setup_intents.update(
        intent.id, {"payment_method": "pm_card_visa", "metadata": {"a": "1"}}
    )
    assert (updated.status, updated.metadata.to_dict()) == ("requires_confirmation", {"a": "1"})  # type: ignore[union-attr]


def test_a_confirmation_is_idempotent(stripe: StripeClient, account: Account) -> None:
    intent = _setup(account, account.customer(), "pm_card_visa")
    first, again = (
        stripe.v1.setup_intents.confirm(intent.id, {}, {"idempotency_key": "k"}) for _ in range(2)
    )
    assert (first.id, again.status) == (again.id, "succeeded")
    assert again.last_response.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("usage", ["off_session", "on_session"])
def test_a_payment_can_save_its_card(usage: str, stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    paid = account.intent(customer, "pm_card_visa", setup_future_usage=usage, confirm=True)
    assert (paid.status, paid.setup_future_usage) == ("succeeded", usage)
    saved = stripe.v1.customers.payment_methods.list(customer).data
    assert [card.id for card in saved] == [paid.payment_method]
