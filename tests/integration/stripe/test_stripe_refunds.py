"""A charge gives back what it has left, once, and a refund may end later than it began."""

import asyncio

import pytest
import stripe as sdk
from stripe import StripeClient
from stripe_account import Account

from sandbox.stripe.controls import Controls


def test_all_of_a_charge_is_given_back(stripe: StripeClient, account: Account) -> None:
    intent = account.paid()
    refund = stripe.v1.refunds.create(
        {"payment_intent": intent.id, "reason": "requested_by_customer", "metadata": {"topup": "t1"}}
    )
    assert (refund.status, refund.amount, refund.charge) == ("succeeded", 2_000, intent.latest_charge)
    assert (refund.reason, refund.metadata.to_dict()) == ("requested_by_customer", {"topup": "t1"})
    charge = account.charge(intent)
    assert (charge.refunded, charge.amount_refunded) == (True, 2_000)
    assert account.event_types()[-2:] == ["refund.created", "charge.refunded"]
    assert account.status(intent.id) == "succeeded"


def test_parts_are_given_back_up_to_what_is_left(stripe: StripeClient, account: Account) -> None:
    charge = str(account.paid().latest_charge)
    stripe.v1.refunds.create({"charge": charge, "amount": 1_500})
    with pytest.raises(sdk.InvalidRequestError, match=r"\(\$5.01 usd\) is greater than .* \(\$5.00 usd\)"):
        stripe.v1.refunds.create({"charge": charge, "amount": 501})
    assert stripe.v1.refunds.create({"charge": charge}).amount == 500
    with pytest.raises(sdk.InvalidRequestError) as refused:
        stripe.v1.refunds.create({"charge": charge, "amount": 1})
    assert refused.value.code == "charge_already_refunded"


@pytest.mark.parametrize("amount", [0, -5])
def test_nothing_and_less_cannot_be_given_back(amount: int, stripe: StripeClient, account: Account) -> None:
    with pytest.raises(sdk.InvalidRequestError) as refused:
        stripe.v1.refunds.create({"payment_intent": account.paid().id, "amount": amount})
    assert (refused.value.code, refused.value.param) == ("parameter_invalid_integer", "amount")


def test_what_was_not_paid_cannot_be_given_back(stripe: StripeClient, account: Account) -> None:
    intent = account.intent(account.customer())
    with pytest.raises(sdk.InvalidRequestError, match="does not have a successful charge to refund"):
        stripe.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(sdk.InvalidRequestError) as missing:
        stripe.v1.refunds.create({"reason": "duplicate"})
    assert missing.value.code == "parameter_missing"


def test_a_refund_is_idempotent(stripe: StripeClient, account: Account) -> None:
    intent = account.paid()
    first, again = (
        stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 700}, {"idempotency_key": "k"})
        for _ in range(2)
    )
    assert first.id == again.id
    assert account.charge(intent).amount_refunded == 700


async def test_refunds_at_once_never_give_back_more_than_was_paid(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid()
    controls.fault("delay", times=None, path="/v1/refunds", delay_ms=20)
    answers = await asyncio.gather(
        *(
            stripe.v1.refunds.create_async({"payment_intent": intent.id, "amount": 600}, {})
            for _ in range(20)
        ),
        return_exceptions=True,
    )
    assert len([answer for answer in answers if isinstance(answer, sdk.Refund)]) == 3
    assert account.charge(intent).amount_refunded == 1_800


def test_refunds_are_listed_by_charge_and_by_intent(stripe: StripeClient, account: Account) -> None:
    intent, other = account.paid(), account.paid()
    made = [stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 100}).id for _ in range(3)]
    stripe.v1.refunds.create({"payment_intent": other.id})
    by_intent = stripe.v1.refunds.list({"payment_intent": intent.id, "limit": 2})
    assert [refund.id for refund in by_intent.auto_paging_iter()] == made[::-1]
    by_charge = stripe.v1.refunds.list({"charge": str(intent.latest_charge)})
    assert [refund.id for refund in by_charge.data] == made[::-1]
    assert len(stripe.v1.refunds.list().data) == 4
    assert stripe.v1.refunds.retrieve(made[0], {"expand": ["charge"]}).charge.id == intent.latest_charge  # type: ignore[union-attr]


def test_metadata_of_a_refund_can_be_changed(stripe: StripeClient, account: Account) -> None:
    refund = stripe.v1.refunds.create({"payment_intent": account.paid().id, "metadata": {"a": "1"}})
    updated = stripe.v1.refunds.update(refund.id, {"metadata": {"a": "", "b": "2"}})
    assert updated.metadata.to_dict() == {"b": "2"}
    assert account.event_types()[-2:] == ["refund.updated", "charge.refund.updated"]


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
def test_a_pending_refund_ends_later(
    outcome: str, stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid("pm_card_pendingRefund")
    refund = stripe.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    assert account.charge(intent).amount_refunded == 2_000
    controls.settle_refund(refund.id, outcome)
    after = stripe.v1.refunds.retrieve(refund.id)
    if outcome == "succeed":
        assert after.status == "succeeded"
        assert account.event_types()[-2:] == ["refund.updated", "charge.refund.updated"]
    else:
        assert (after.status, after.failure_reason) == ("failed", "lost_or_stolen_card")
        assert account.charge(intent).amount_refunded == 0
        assert account.event_types()[-3:] == ["refund.failed", "refund.updated", "charge.refund.updated"]


def test_a_refund_that_succeeded_can_fail_and_be_made_again(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid("pm_card_refundFail")
    refund = stripe.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    controls.settle_refund(refund.id, "fail", "expired_or_canceled_card")
    assert stripe.v1.refunds.retrieve(refund.id).failure_reason == "expired_or_canceled_card"
    assert account.charge(intent).refunded is False
    assert stripe.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


def test_refunds_can_be_compared_with_the_books(
    stripe: StripeClient, account: Account, controls: Controls
) -> None:
    intent = account.paid()
    refund = stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    (listed,) = (each for each in controls.objects("refund") if each["id"] == refund.id)
    assert (listed["amount"], listed["status"]) == (300, "succeeded")
    (charge,) = (each for each in controls.charges() if each["payment_intent"] == intent.id)
    assert (charge["amount_refunded"], charge["disputed"]) == (300, False)


def test_any_refund_can_be_held(stripe: StripeClient, account: Account, controls: Controls) -> None:
    controls.fault("hold", method="POST", path="/v1/refunds")
    assert stripe.v1.refunds.create({"payment_intent": account.paid().id}).status == "pending"
