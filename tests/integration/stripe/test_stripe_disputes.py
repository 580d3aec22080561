"""Cardholders dispute, issuers warn, and Stripe says so."""

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account

from sandbox.stripe.controls import Controls


def test_a_dispute_takes_the_money(stripe: StripeClient, account: Account, controls: Controls) -> None:
    intent = account.paid()
    dispute = stripe.v1.disputes.retrieve(controls.dispute(intent.id, reason="product_not_received"))
    assert (dispute.status, dispute.amount, dispute.reason) == (
        "needs_response",
        2_000,
        "product_not_received",
    )
    assert (dispute.charge, dispute.payment_intent) == (intent.latest_charge, intent.id)
    assert account.charge(intent).disputed
    assert account.event_types()[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


def test_a_charge_that_was_charged_back_cannot_be_refunded(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid()
    dispute = controls.dispute(intent.id)
    with pytest.raises(sdk.InvalidRequestError) as refused:
        stripe.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    controls.end_dispute(dispute, "won")
    assert stripe.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


@pytest.mark.parametrize(
    ("outcome", "events"),
    [
        ("won", ["charge.dispute.funds_reinstated", "charge.dispute.closed"]),
        ("lost", ["charge.dispute.funds_withdrawn", "charge.dispute.closed"]),
    ],
)
def test_a_dispute_is_won_or_lost(
    outcome: str, events: list[str], stripe: StripeClient, account: Account, controls: Controls
) -> None:
    dispute = controls.dispute(account.paid().id, 500)
    controls.end_dispute(dispute, outcome)
    ended = stripe.v1.disputes.retrieve(dispute)
    assert (ended.status, ended.amount) == (outcome, 500)
    assert account.event_types()[-2:] == events
    with pytest.raises(sdk.InvalidRequestError, match="already closed"):
        stripe.v1.disputes.close(dispute)


def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid()
    inquiry = controls.dispute(intent.id, inquiry=True)
    asked = stripe.v1.disputes.retrieve(inquiry)
    assert (asked.status, asked.is_charge_refundable) == ("warning_needs_response", True)
    assert account.event_types()[-1] == "charge.dispute.created"
    stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    controls.escalate_dispute(inquiry)
    assert account.event_types()[-2:] == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
    with pytest.raises(sdk.InvalidRequestError, match="charged back"):
        stripe.v1.refunds.create({"payment_intent": intent.id})


def test_an_inquiry_closes_without_money(stripe: StripeClient, account: Account, controls: Controls) -> None:
    inquiry = controls.dispute(account.paid().id, inquiry=True)
    controls.end_dispute(inquiry, "won")
    assert stripe.v1.disputes.retrieve(inquiry).status == "warning_closed"
    assert account.event_types()[-1] == "charge.dispute.closed"
    assert "charge.dispute.funds_reinstated" not in account.event_types()


def test_evidence_is_sent_or_the_dispute_accepted(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    first, second = (controls.dispute(account.paid().id) for _ in range(2))
    answered = stripe.v1.disputes.update(first, {"evidence": {"uncategorized_text": "delivered"}})
    assert (answered.status, answered.evidence_details.submission_count) == ("under_review", 1)
    assert account.event_types()[-1] == "charge.dispute.updated"
    assert stripe.v1.disputes.close(second).status == "lost"


def test_disputes_are_listed_by_charge_and_by_intent(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent, other = account.paid(), account.paid()
    dispute = controls.dispute(intent.id)
    controls.dispute(str(other.latest_charge))
    assert [each.id for each in stripe.v1.disputes.list({"payment_intent": intent.id}).data] == [dispute]
    assert [each.id for each in stripe.v1.disputes.list({"charge": str(intent.latest_charge)}).data] == [
        dispute
    ]
    assert len(stripe.v1.disputes.list().data) == 2


def test_an_issuer_warns_of_fraud_until_the_charge_is_refunded(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid()
    warned = controls.warn_of_fraud(intent.id, "unauthorized_use_of_card")
    warning = stripe.v1.radar.early_fraud_warnings.retrieve(warned)
    assert (warning.actionable, warning.fraud_type) == (True, "unauthorized_use_of_card")
    assert account.event_types()[-1] == "radar.early_fraud_warning.created"
    stripe.v1.refunds.create({"payment_intent": intent.id})
    assert account.event_types()[-1] == "radar.early_fraud_warning.updated"
    listed = stripe.v1.radar.early_fraud_warnings.list({"charge": str(intent.latest_charge)}).data
    assert [(each.id, each.actionable) for each in listed] == [(warned, False)]


@pytest.mark.parametrize(
    ("card", "event"),
    [
        ("pm_card_createDispute", "charge.dispute.funds_withdrawn"),
        ("pm_card_createDisputeProductNotReceived", "charge.dispute.funds_withdrawn"),
        ("pm_card_createDisputeInquiry", "charge.dispute.created"),
        ("pm_card_createIssuerFraudRecord", "radar.early_fraud_warning.created"),
    ],
)
def test_some_test_cards_bring_it_by_themselves(card: str, event: str, account: Account) -> None:
    assert account.paid(card).status == "succeeded"
    assert account.event_types()[-1] == event
