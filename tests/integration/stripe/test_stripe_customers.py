"""Customers and their saved cards behave as at Stripe."""

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account


def test_a_customer_is_found_again_with_its_metadata(stripe: StripeClient) -> None:
    created = stripe.v1.customers.create({"email": "a@example.com", "metadata": {"account": "7"}})
    assert stripe.v1.customers.retrieve(created.id).metadata["account"] == "7"


def test_a_test_card_gives_a_payment_method_of_its_own_each_time(
    stripe: StripeClient, account: Account
) -> None:
    customer = account.customer()
    first, second = account.saved_card(customer), account.saved_card(customer, "pm_card_mastercard")
    assert first.startswith("pm_")
    assert first != second
    listed = stripe.v1.payment_methods.list({"customer": customer, "type": "card"})
    assert [(card.id, card.card.brand) for card in listed.data] == [(second, "mastercard"), (first, "visa")]
    assert [card.id for card in stripe.v1.customers.payment_methods.list(customer).data] == [second, first]
    assert stripe.v1.payment_methods.retrieve(first).card.last4 == "4242"


def test_the_default_card_is_one_of_the_customer(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    stripe.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": card}})
    assert stripe.v1.customers.retrieve(customer).invoice_settings.default_payment_method == card
    with pytest.raises(sdk.InvalidRequestError) as refused:
        stripe.v1.customers.update(account.customer(), {"invoice_settings": {"default_payment_method": card}})
    assert refused.value.code == "resource_missing"


def test_a_detached_card_is_gone_for_good(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    stripe.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": card}})
    assert stripe.v1.payment_methods.detach(card).customer is None
    assert stripe.v1.payment_methods.list({"customer": customer}).data == []
    assert stripe.v1.customers.retrieve(customer).invoice_settings.default_payment_method is None
    with pytest.raises(sdk.InvalidRequestError, match="may not be used again"):
        account.saved_card(customer, card)
    with pytest.raises(sdk.InvalidRequestError, match="may not be used again"):
        account.intent(customer, card)


def test_a_card_of_one_customer_cannot_be_charged_for_another(account: Account) -> None:
    card = account.saved_card(account.customer())
    with pytest.raises(sdk.InvalidRequestError):
        account.intent(account.customer(), card)


def test_a_card_that_declines_cannot_be_saved(account: Account) -> None:
    with pytest.raises(sdk.CardError) as declined:
        account.saved_card(account.customer(), "pm_card_chargeDeclined")
    assert declined.value.code == "card_declined"


def test_a_deleted_customer_leaves_nothing_but_the_fact(stripe: StripeClient, account: Account) -> None:
    customer = account.customer()
    card = account.saved_card(customer)
    assert stripe.v1.customers.delete(customer).deleted
    assert stripe.v1.customers.retrieve(customer).to_dict() == {
        "id": customer,
        "object": "customer",
        "deleted": True,
    }
    assert stripe.v1.payment_methods.retrieve(card).customer is None
    assert stripe.v1.customers.list().data == []
    assert account.event_types()[-2:] == ["payment_method.detached", "customer.deleted"]
    for refuse in (account.intent, account.saved_card, stripe.v1.customers.delete):
        with pytest.raises(sdk.InvalidRequestError) as missing:
            refuse(customer)
        assert missing.value.code == "resource_missing"


def test_customers_are_found_by_their_address(stripe: StripeClient, account: Account) -> None:
    account.customer()
    found = stripe.v1.customers.create({"email": "b@example.com"})
    assert [each.id for each in stripe.v1.customers.list({"email": "b@example.com"}).data] == [found.id]


def test_accounts_do_not_see_each_other(account: Account) -> None:
    stranger = Account(account.url, f"{account.key}_stranger")
    with pytest.raises(sdk.InvalidRequestError) as missing:
        stranger.client.v1.customers.retrieve(account.customer())
    assert (missing.value.code, missing.value.http_status) == ("resource_missing", 404)
    assert stranger.client.v1.payment_intents.list().data == []
