"""What is said of each thing that differs between Stripe and the books, and whether it may be mended."""

from dataclasses import replace
from datetime import timedelta

import pytest
from payment_things import NOW, OPEN, PAID, TOPUP, USD_25

from shared.domain.payment_differences import (
    Amount,
    BookedDispute,
    BookedRefund,
    BookedTopup,
    Difference,
    DifferenceKind,
    DisputeAtStripe,
    Payment,
    RefundAtStripe,
    judge_booked_dispute,
    judge_booked_refund,
    judge_dispute,
    judge_payment,
    judge_refund,
    judge_topup,
    overdue,
)
from shared.domain.topup import TopupState

MINUTE, INSTANT = timedelta(minutes=1), timedelta(microseconds=1)
OTHER = Amount(10 * 10**9, "usd")
REFUND = BookedRefund("acct_1", "ref_1", "top_1", "pending", USD_25, "re_1", NOW)
REFUNDED = RefundAtStripe("re_1", "pi_1", "pending", USD_25, NOW, "ref_1")
DISPUTE = BookedDispute("acct_1", "dp_1", "top_1", "needs_response", USD_25, NOW)
DISPUTED = DisputeAtStripe("dp_1", "pi_1", "needs_response", USD_25, NOW)


def _owned(kind: str, about: str, detail: str, *, mendable: bool = False) -> Difference:
    return Difference(DifferenceKind(kind), about, detail, "acct_1", "top_1", mendable)


@pytest.mark.parametrize(
    ("payment", "topup", "expected"),
    [
        (PAID, TOPUP, None),
        (
            replace(PAID, amount=OTHER),
            TOPUP,
            _owned(
                "amount_differs",
                "pi_1",
                "Stripe took 10.00 usd, the top-up is over 25.00 usd and credited 25.00 usd",
            ),
        ),
        (
            replace(PAID, amount=OTHER),
            OPEN,
            _owned(
                "amount_differs",
                "pi_1",
                "Stripe took 10.00 usd, the top-up is over 25.00 usd and credited nothing",
            ),
        ),
        (
            PAID,
            OPEN,
            _owned(
                "charge_without_credit",
                "pi_1",
                "Stripe took 25.00 usd, and the top-up is confirming without a credit",
                mendable=True,
            ),
        ),
        (
            PAID,
            replace(TOPUP, state=TopupState.PROCESSING),
            _owned("topup_behind", "pi_1", "it was charged and credited, and the top-up is processing"),
        ),
        (
            replace(PAID, status="canceled"),
            TOPUP,
            _owned("credit_without_charge", "pi_1", "credited 25.00 usd, and its intent is canceled"),
        ),
        (
            replace(PAID, status="canceled"),
            OPEN,
            _owned(
                "topup_behind",
                "pi_1",
                "its intent is canceled, and the top-up is confirming",
                mendable=True,
            ),
        ),
        (
            PAID,
            None,
            Difference(
                DifferenceKind.FOREIGN_INTENT,
                "pi_1",
                "Stripe took 25.00 usd for no top-up of the books; its metadata names top_1",
            ),
        ),
        (
            replace(PAID, topup_id=None),
            None,
            Difference(
                DifferenceKind.FOREIGN_INTENT, "pi_1", "Stripe took 25.00 usd for no top-up of the books"
            ),
        ),
        (replace(PAID, status="processing"), None, None),
    ],
)
def test_a_payment(payment: Payment, topup: BookedTopup | None, expected: Difference | None) -> None:
    assert judge_payment(payment, topup) == expected


@pytest.mark.parametrize(
    ("topup", "payment", "expected"),
    [
        (TOPUP, PAID, None),
        (OPEN, PAID, None),
        (
            TOPUP,
            None,
            _owned("credit_without_charge", "pi_1", "credited 25.00 usd, and Stripe has no payment for it"),
        ),
        (
            replace(TOPUP, payment_id=None),
            None,
            _owned("credit_without_charge", "top_1", "credited 25.00 usd, and Stripe has no payment for it"),
        ),
        (
            OPEN,
            None,
            _owned("topup_stuck", "top_1", "confirming, and Stripe does not know its intent pi_1"),
        ),
        (replace(OPEN, state=TopupState.FAILED), None, None),
        (
            replace(OPEN, changed_at=NOW - 16 * MINUTE),
            replace(PAID, status="requires_action"),
            _owned(
                "topup_stuck",
                "top_1",
                "confirming since 2026-11-23 11:44:00 UTC, and its intent is requires_action",
            ),
        ),
        (
            replace(OPEN, state=TopupState.PENDING, payment_id=None, changed_at=NOW - 16 * MINUTE),
            None,
            _owned("topup_stuck", "top_1", "pending since 2026-11-23 11:44:00 UTC"),
        ),
    ],
)
def test_a_top_up(topup: BookedTopup, payment: Payment | None, expected: Difference | None) -> None:
    assert judge_topup(topup, payment, NOW) == expected


def test_a_step_is_late_when_it_takes_longer_than_its_state_explains() -> None:
    patient = replace(OPEN, changed_at=NOW - 15 * MINUTE)
    assert not overdue(patient, NOW)
    assert overdue(patient, NOW + INSTANT)


_DIFFERS = "refund_differs"


@pytest.mark.parametrize(
    ("refund", "booked", "expected"),
    [
        (REFUNDED, REFUND, None),
        (REFUNDED, replace(REFUND, state="succeeded"), None),
        (replace(REFUNDED, status="succeeded"), replace(REFUND, state="succeeded"), None),
        (replace(REFUNDED, status="failed"), replace(REFUND, state="failed"), None),
        (
            replace(REFUNDED, amount=OTHER),
            REFUND,
            _owned(_DIFFERS, "re_1", "Stripe gave back 10.00 usd, the books 25.00 usd"),
        ),
        (
            replace(REFUNDED, status="canceled"),
            REFUND,
            _owned(_DIFFERS, "re_1", "canceled at Stripe, pending in the books", mendable=True),
        ),
        (
            replace(REFUNDED, status="succeeded"),
            replace(REFUND, state="failed"),
            _owned(_DIFFERS, "re_1", "succeeded at Stripe, failed in the books"),
        ),
        (
            REFUNDED,
            replace(REFUND, state="quarantined"),
            _owned(_DIFFERS, "re_1", "pending at Stripe, quarantined in the books"),
        ),
        (
            replace(REFUNDED, status="failed"),
            replace(REFUND, state="quarantined"),
            _owned(_DIFFERS, "re_1", "failed at Stripe, quarantined in the books"),
        ),
        (
            replace(REFUNDED, status="succeeded"),
            REFUND,
            _owned(_DIFFERS, "re_1", "succeeded at Stripe, pending in the books", mendable=True),
        ),
        (
            REFUNDED,
            None,
            _owned(
                "refund_not_booked",
                "re_1",
                "Stripe gave back 25.00 usd (pending), and the books do not know",
                mendable=True,
            ),
        ),
        (replace(REFUNDED, status="failed"), None, None),
    ],
)
def test_a_refund(refund: RefundAtStripe, booked: BookedRefund | None, expected: Difference | None) -> None:
    assert judge_refund(refund, booked, TOPUP) == expected


@pytest.mark.parametrize(
    ("refund", "known", "about"),
    [
        (REFUND, True, None),
        (REFUND, False, "re_1"),
        (replace(REFUND, state="succeeded"), False, "re_1"),
        (replace(REFUND, state="failed"), False, None),
        (replace(REFUND, state="quarantined"), False, None),
        # It was perhaps not asked for yet.
        (replace(REFUND, state="reserved", stripe_refund_id=None, changed_at=NOW - 15 * MINUTE), False, None),
        (
            replace(REFUND, state="reserved", stripe_refund_id=None, changed_at=NOW - 15 * MINUTE - INSTANT),
            False,
            "ref_1",
        ),
        (replace(REFUND, state="reserved"), False, "re_1"),
        (replace(REFUND, stripe_refund_id=None), False, "ref_1"),
    ],
)
def test_a_refund_of_the_books(refund: BookedRefund, known: bool, about: str | None) -> None:  # noqa: FBT001
    detail = f"25.00 usd, {refund.state} in the books, and Stripe does not have it"
    expected = _owned("refund_unknown", about, detail) if about else None
    assert judge_booked_refund(refund, known=known, now=NOW) == expected


@pytest.mark.parametrize(
    ("dispute", "booked", "expected"),
    [
        (DISPUTED, DISPUTE, None),
        (
            replace(DISPUTED, amount=OTHER),
            DISPUTE,
            _owned("dispute_differs", "dp_1", "over 10.00 usd at Stripe, over 25.00 usd in the books"),
        ),
        (
            replace(DISPUTED, status="won"),
            DISPUTE,
            _owned("dispute_differs", "dp_1", "won at Stripe, needs_response in the books", mendable=True),
        ),
        (
            DISPUTED,
            None,
            _owned(
                "dispute_not_booked",
                "dp_1",
                "Stripe has a dispute over 25.00 usd (needs_response), and the books do not know",
                mendable=True,
            ),
        ),
        (replace(DISPUTED, status="warning_under_review"), None, None),
    ],
)
def test_a_dispute(
    dispute: DisputeAtStripe, booked: BookedDispute | None, expected: Difference | None
) -> None:
    assert judge_dispute(dispute, booked, TOPUP) == expected


def test_a_dispute_of_the_books() -> None:
    detail = "over 25.00 usd, needs_response in the books, and Stripe does not have it"
    assert judge_booked_dispute(DISPUTE) == _owned("dispute_unknown", "dp_1", detail)


def test_what_is_of_no_top_up_of_ours_is_a_strangers() -> None:
    assert judge_refund(REFUNDED, None, None) is None
    assert judge_dispute(DISPUTED, None, None) is None


def test_the_owner_is_that_of_the_row_where_there_is_one() -> None:
    another = replace(TOPUP, account_id="acct_2", topup_id="top_2")
    refund = judge_refund(replace(REFUNDED, status="succeeded"), REFUND, another)
    dispute = judge_dispute(replace(DISPUTED, status="won"), DISPUTE, another)
    assert refund is not None
    assert dispute is not None
    assert {(d.account_id, d.topup_id) for d in (refund, dispute)} == {("acct_1", "top_1")}
