"""Refunds and disputes at Stripe against those of the books."""

from datetime import timedelta
from typing import Any

from low_money import DOLLAR, LowMoney, later
from low_reconciliation import (
    MINUTES,
    by_hand,
    charge_outside,
    charged,
    named,
    refund_outside,
)
from stripe_spec import faults_of

from shared.clock import utc_now
from shared.domain.payment_differences import Difference, DifferenceKind
from shared.operations.audit import audit
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.reconcile import Reconciliation, Report

_HOUR = timedelta(hours=1)


def _looking(money: LowMoney, ahead: timedelta = MINUTES) -> Reconciliation:
    """Return runs that name differences and mend none."""
    return Reconciliation(money.engine, money.payments, later(ahead), {})


async def _look(money: LowMoney) -> Report:
    return await _looking(money).run(utc_now() - _HOUR)


async def _book_refund(money: LowMoney, account_id: str, topup_id: str, **values: Any) -> str:
    row = {
        "account": account_id,
        "topup": topup_id,
        "state": "succeeded",
        "amount": 5 * DOLLAR,
        "stripe": None,
        **values,
    }
    await by_hand(
        money,
        "INSERT INTO refunds (account_id, refund_id, topup_id, state, amount_nanos, reason, stripe_refund_id,"
        " transfer_seq) VALUES (:account, 'ref_1', :topup, :state, :amount, 'asked', :stripe, 1)",
        **row,
    )
    return "ref_1"


async def _book_dispute(
    money: LowMoney, account_id: str, topup_id: str, dispute_id: str, **more: Any
) -> None:
    row = {"status": "needs_response", "amount": 25 * DOLLAR, **more}
    await by_hand(
        money,
        "INSERT INTO disputes (account_id, dispute_id, topup_id, status, reason, amount_nanos)"
        " VALUES (:account, :dispute, :topup, :status, 'fraudulent', :amount)",
        account=account_id,
        dispute=dispute_id,
        topup=topup_id,
        **row,
    )


async def test_a_refund_made_past_payg_is_named(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    refund = await refund_outside(money, intent_id, 500)
    report = await _look(money)
    assert await named(money) == {refund: "refund_not_booked"}
    assert (report.open[0]["account_id"], report.open[0]["topup_id"]) == (account_id, topup_id)
    assert (await audit(money.engine)).ok


async def test_a_refund_that_is_booked_differs_in_nothing(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    refund = await refund_outside(money, intent_id, 500)
    await _book_refund(money, account_id, topup_id, stripe=refund)
    report = await _looking(money).run(utc_now() - _HOUR, thorough=True)
    assert (len(report.refunds), report.open) == (1, [])


async def test_a_refund_of_a_strangers_charge_is_nobodys_refund(money: LowMoney) -> None:
    stranger = await charge_outside(money)
    await refund_outside(money, stranger, 500)
    await _look(money)
    assert await named(money) == {stranger: "foreign_intent"}


async def test_a_refund_that_failed_at_stripe_differs(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    refund = await refund_outside(money, intent_id, 500)
    await _book_refund(money, account_id, topup_id, stripe=refund)
    money.controls.settle_refund(refund, "fail")
    report = await _look(money)
    assert await named(money) == {refund: "refund_differs"}
    assert report.open[0]["detail"].startswith("failed at Stripe, succeeded in the books")


async def test_a_refund_over_another_amount_differs(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    refund = await refund_outside(money, intent_id, 700)
    await _book_refund(money, account_id, topup_id, stripe=refund)
    await _look(money)
    assert await named(money) == {refund: "refund_differs"}


async def test_a_refund_that_stripe_does_not_have_is_named(money: LowMoney) -> None:
    account_id, topup_id, _ = await charged(money)
    await _book_refund(money, account_id, topup_id, stripe="re_gone")
    await _look(money)
    assert await named(money) == {"re_gone": "refund_unknown"}


async def test_a_reserved_refund_that_never_reached_stripe_is_named_after_a_while(money: LowMoney) -> None:
    account_id, topup_id, _ = await charged(money)
    refund_id = await _book_refund(money, account_id, topup_id, state="reserved")
    await _look(money)
    assert await named(money) == {}
    await _looking(money, timedelta(minutes=20)).run(utc_now() - _HOUR)
    assert await named(money) == {refund_id: "refund_unknown"}
    await by_hand(money, "UPDATE refunds SET state = 'failed'")
    await _looking(money, timedelta(minutes=20)).run(utc_now() - _HOUR)
    assert await named(money) == {}


async def test_a_dispute_that_is_not_booked_is_named_and_an_inquiry_is_not(money: LowMoney) -> None:
    _, _, intent_id = await charged(money)
    _, _, asked = await charged(money)
    dispute = money.controls.dispute(intent_id)
    money.controls.dispute(asked, inquiry=True)
    report = await _look(money)
    assert len(report.disputes) == 2
    assert await named(money) == {dispute: "dispute_not_booked"}


async def test_a_dispute_that_was_decided_differs_from_its_row(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    dispute = money.controls.dispute(intent_id)
    await _book_dispute(money, account_id, topup_id, dispute)
    await _look(money)
    assert await named(money) == {}
    money.controls.end_dispute(dispute, "won")
    days_on = _looking(money, timedelta(days=9))
    await days_on.run(utc_now() + timedelta(days=8))
    assert await named(money) == {}  # out of every window
    await days_on.run(utc_now() + timedelta(days=8), thorough=True)
    assert await named(money) == {dispute: "dispute_differs"}
    assert faults_of(money.controls.requests(money.stripe_key)) == []


async def test_a_dispute_that_stripe_does_not_have_is_named(money: LowMoney) -> None:
    account_id, topup_id, _ = await charged(money)
    await _book_dispute(money, account_id, topup_id, "du_gone")
    await _look(money)
    assert await named(money) == {"du_gone": "dispute_unknown"}


async def test_what_a_mender_books_is_written_down_as_mended(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    refund = await refund_outside(money, intent_id, 500)

    async def book(found: Difference) -> Outcome:
        assert (found.account_id, found.topup_id) == (account_id, topup_id)
        await _book_refund(money, account_id, topup_id, stripe=found.stripe_id)
        return Outcome()

    table = {DifferenceKind.REFUND_NOT_BOOKED: book}
    mending = Reconciliation(money.engine, money.payments, later(MINUTES), table)
    report = await mending.run(utc_now() - _HOUR)
    assert [d["stripe_id"] for d in report.mended] == [refund]
    assert report.open == []


async def test_what_a_mender_could_not_help_stays_open(money: LowMoney) -> None:
    _, _, intent_id = await charged(money)
    dispute = money.controls.dispute(intent_id)

    async def nothing(_found: Difference) -> Outcome:
        return Outcome()

    table = {DifferenceKind.DISPUTE_NOT_BOOKED: nothing}
    mending = Reconciliation(money.engine, money.payments, later(MINUTES), table)
    report = await mending.run(utc_now() - _HOUR)
    assert [d["stripe_id"] for d in report.open] == [dispute]
    assert report.mended == []
