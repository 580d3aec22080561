"""What differs between Stripe and the books, thing by thing, and over any mixture of them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payment_things import LONG_AGO, NOW, OPEN, PAID, TOPUP, USD_25

from shared.domain.payment_differences import (
    Amount,
    BookedDispute,
    BookedRefund,
    BookedTopup,
    DifferenceKind,
    DisputeAtStripe,
    Payment,
    RefundAtStripe,
    judge_payment,
    overdue,
)
from shared.domain.reconciliation import IN_FLIGHT, AtStripe, Credit, InBooks, Wanted, compare
from shared.domain.topup import OPEN_STATES, TopupState

NEITHER_CHARGED_NOR_CREDITED = ("requires_payment_method", "requires_confirmation", "requires_capture")


def kinds(*payments: Payment, topups: tuple[BookedTopup, ...] = (TOPUP,)) -> list[str]:
    stripe = AtStripe({payment.payment_id: payment for payment in payments})
    return [str(found.kind) for found in compare(stripe, InBooks(topups), NOW).differences]


def mendable(payment: Payment, topup: BookedTopup) -> bool:
    found = judge_payment(payment, topup)
    assert found is not None
    return found.mendable


def test_what_was_charged_and_credited_alike_differs_in_nothing() -> None:
    assert kinds(PAID) == []


def test_sums_are_compared_with_their_currency() -> None:
    assert kinds(replace(PAID, amount=Amount(USD_25.nanos, "jpy"))) == ["amount_differs"]
    assert kinds(replace(PAID, amount=Amount(1, "usd"))) == ["amount_differs"]
    assert kinds(PAID, topups=(replace(TOPUP, credited=Amount(1, "usd")),)) == ["amount_differs"]


@pytest.mark.parametrize("state", [*OPEN_STATES, TopupState.FAILED, TopupState.CANCELED])
def test_a_charge_without_a_credit_has_one_right_answer(state: TopupState) -> None:
    topup = replace(OPEN, state=state)
    assert kinds(PAID, topups=(topup,)) == ["charge_without_credit"]
    assert mendable(PAID, topup)


def test_it_is_left_to_a_person_where_the_top_up_was_parked_or_given_up_before_it_had_an_intent() -> None:
    assert not mendable(PAID, replace(OPEN, state=TopupState.QUARANTINED))
    assert not mendable(PAID, replace(OPEN, state=TopupState.FAILED, payment_id=None))
    assert not mendable(PAID, replace(OPEN, state=TopupState.SUCCEEDED))


@pytest.mark.parametrize("state", [state for state in TopupState if state is not TopupState.SUCCEEDED])
def test_what_was_credited_is_never_offered_for_another_credit(state: TopupState) -> None:
    topup = replace(TOPUP, state=state)
    assert kinds(PAID, topups=(topup,)) == ["topup_behind"]
    assert not mendable(PAID, topup)


@pytest.mark.parametrize("status", [*NEITHER_CHARGED_NOR_CREDITED, "canceled", "processing"])
def test_a_credit_without_a_charge_is_never_mended(status: str) -> None:
    payment = replace(PAID, status=status)
    assert kinds(payment) == ["credit_without_charge"]
    assert not mendable(payment, TOPUP)


def test_a_decline_is_no_difference() -> None:
    for status in NEITHER_CHARGED_NOR_CREDITED:
        assert kinds(replace(PAID, status=status), topups=(OPEN,)) == []


@pytest.mark.parametrize(
    ("status", "state", "by_checkout", "behind"),
    [
        ("canceled", TopupState.ACTION_REQUIRED, False, True),
        ("canceled", TopupState.CANCELED, False, False),
        ("requires_action", TopupState.CONFIRMING, False, True),
        ("requires_action", TopupState.CONFIRMING, True, False),
        ("requires_action", TopupState.ACTION_REQUIRED, False, False),
        ("processing", TopupState.CONFIRMING, False, True),
        ("processing", TopupState.PROCESSING, False, False),
    ],
)
def test_an_intent_that_moved_on(status: str, state: TopupState, *, by_checkout: bool, behind: bool) -> None:
    topup = replace(OPEN, state=state, by_checkout=by_checkout)
    expected = ["topup_behind"] if behind else []
    assert kinds(replace(PAID, status=status), topups=(topup,)) == expected


@pytest.mark.parametrize("changes", [{"account_id": "acct_2"}, {"customer_id": "cus_2"}])
def test_metadata_is_believed_only_where_account_and_customer_agree(changes: dict[str, str]) -> None:
    waiting = replace(OPEN, state=TopupState.PENDING, payment_id=None)
    assert kinds(PAID, topups=(waiting,)) == ["charge_without_credit"]
    assert kinds(replace(PAID, **changes), topups=(waiting,)) == ["foreign_intent"]  # type: ignore[arg-type]
    assert kinds(PAID, topups=(replace(waiting, customer_id=None),)) == ["foreign_intent"]


def test_a_stranger_is_named_once_it_took_money() -> None:
    assert kinds(PAID, topups=()) == ["foreign_intent"]
    assert kinds(replace(PAID, status="requires_confirmation"), topups=()) == []


@pytest.mark.parametrize("payment_age", [0, 1])
@pytest.mark.parametrize("row_age", [0, 1])
def test_what_moved_a_moment_ago_is_not_examined(payment_age: int, row_age: int) -> None:
    ages = [NOW - IN_FLIGHT + timedelta(seconds=1), NOW - IN_FLIGHT]
    payment = replace(PAID, moved_at=ages[payment_age])
    topup = replace(OPEN, changed_at=ages[row_age])
    comparison = compare(AtStripe({"pi_1": payment}), InBooks([topup]), NOW)
    seen = payment_age == row_age == 1
    assert ("pi_1" in comparison.examined) is seen
    assert bool(comparison.differences) is seen


def test_a_clock_that_is_an_hour_ahead_at_stripe_hides_nothing() -> None:
    assert kinds(replace(PAID, moved_at=NOW + timedelta(hours=1)), topups=(OPEN,)) == [
        "charge_without_credit"
    ]


@pytest.mark.parametrize("state", OPEN_STATES)
def test_an_open_top_up_is_stuck_only_after_all_its_state_explains(state: TopupState) -> None:
    topup = replace(OPEN, state=state)
    assert not overdue(replace(topup, changed_at=NOW - timedelta(minutes=14)), NOW)
    assert overdue(replace(topup, changed_at=NOW - timedelta(days=9)), NOW)
    assert not overdue(replace(topup, by_checkout=True, changed_at=NOW - timedelta(hours=24)), NOW)


def test_every_kind_that_remains_open_can_be_looked_at_again() -> None:
    refund = RefundAtStripe("re_1", "pi_1", "succeeded", USD_25, LONG_AGO)
    dispute = DisputeAtStripe("du_1", "pi_1", "needs_response", USD_25, LONG_AGO)
    books = InBooks(
        [replace(TOPUP, topup_id="top_2", payment_id="pi_2")],
        [BookedRefund("acct_1", "ref_2", "top_2", "reserved", USD_25, None, NOW - timedelta(hours=1))],
        [BookedDispute("acct_1", "du_2", "top_2", "needs_response", USD_25, LONG_AGO)],
        [Credit("acct_1", 7, USD_25)],
    )
    stripe = AtStripe({"pi_1": PAID, "pi_2": None}, {"re_1": refund}, {"du_1": dispute, "du_2": None})
    wanted = Wanted.to_see_again(compare(stripe, books, NOW).differences)
    assert wanted == Wanted(
        payments={"pi_1", "pi_2"},
        disputes={"du_2"},
        topups={("acct_1", "top_2")},
        credits={("acct_1", 7)},
        booked_refunds={"ref_2"},
    )


_moments = st.sampled_from([NOW, NOW - timedelta(seconds=29), LONG_AGO, NOW - timedelta(days=2)])
_amounts = st.builds(Amount, st.sampled_from([5 * 10**9, 25 * 10**9]), st.sampled_from(["usd", "usd", "jpy"]))
_numbers = st.integers(0, 3).map(str)
_statuses = st.sampled_from(["succeeded", "canceled", "processing", "requires_action", "requires_capture"])
_payments = st.builds(
    Payment,
    payment_id=_numbers.map("pi_".__add__),
    status=_statuses,
    amount=_amounts,
    moved_at=_moments,
    customer_id=_numbers.map("cus_".__add__),
    topup_id=st.none() | _numbers.map("top_".__add__),
    account_id=st.none() | _numbers.map("acct_".__add__),
)
_topups = st.builds(
    BookedTopup,
    account_id=_numbers.map("acct_".__add__),
    topup_id=_numbers.map("top_".__add__),
    state=st.sampled_from(TopupState),
    by_checkout=st.booleans(),
    amount=_amounts,
    payment_id=st.none() | _numbers.map("pi_".__add__),
    customer_id=st.none() | _numbers.map("cus_".__add__),
    credited=st.none() | _amounts,
    changed_at=_moments,
)
_stripes = st.lists(_payments, max_size=4, unique_by=lambda payment: payment.payment_id).map(
    lambda payments: {payment.payment_id: payment for payment in payments}
)
_rows = st.lists(_topups, max_size=4, unique_by=lambda topup: topup.topup_id)


@given(_stripes, _rows)
def test_over_any_mixture_money_is_accounted_for_or_named(
    payments: dict[str, Payment], topups: list[BookedTopup]
) -> None:
    """Of all that stood still, no charge and no credit passes without its counterpart or a name."""
    asked: dict[str, Payment | None] = dict.fromkeys(t.payment_id for t in topups if t.payment_id) | payments
    comparison = compare(AtStripe(asked), InBooks(topups), NOW)
    named = {found.stripe_id for found in comparison.differences}
    assert len({found.key for found in comparison.differences}) == len(comparison.differences)
    assert named <= comparison.examined | {t.payment_id for t in topups}
    still = [topup for topup in topups if NOW - topup.changed_at >= IN_FLIGHT]
    if len(still) < len(topups):
        return
    for payment in payments.values():
        if payment.charged and NOW - payment.moved_at >= IN_FLIGHT:
            paid_for = [t for t in topups if t.payment_id == payment.payment_id and t.credited]
            assert payment.payment_id in named or paid_for or payment.topup_id in named
    for topup in topups:
        found = payments.get(topup.payment_id or "")
        covered = found is not None and (found.charged or NOW - found.moved_at < IN_FLIGHT)
        if topup.credited and not covered:
            assert {topup.topup_id, topup.payment_id} & named


@given(_stripes, _rows)
def test_over_any_mixture_nothing_credited_is_settled_again(
    payments: dict[str, Payment], topups: list[BookedTopup]
) -> None:
    rows = {topup.topup_id: topup for topup in topups}
    for found in compare(AtStripe(dict(payments)), InBooks(topups), NOW).differences:
        if found.mendable:
            topup = rows[found.topup_id or ""]
            assert topup.credited is None
            assert topup.payment_id in (None, found.stripe_id)
            assert (found.account_id, found.kind) != (None, DifferenceKind.FOREIGN_INTENT)
