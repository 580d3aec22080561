"""Which row is held beside which payment, refund and dispute of Stripe, and what is passed over for now."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from payment_things import LONG_AGO, NOW, OPEN, PAID, TOPUP, USD_25

from shared.domain.payment_differences import (
    Amount,
    BookedDispute,
    BookedRefund,
    BookedTopup,
    Difference,
    DifferenceKind,
    DisputeAtStripe,
    RefundAtStripe,
)
from shared.domain.reconciliation import IN_FLIGHT, AtStripe, Comparison, Credit, InBooks, Wanted, compare

OTHER = Amount(10 * 10**9, "usd")
REFUND = BookedRefund("acct_1", "ref_1", "top_1", "succeeded", USD_25, "re_1", LONG_AGO)
REFUNDED = RefundAtStripe("re_1", "pi_1", "succeeded", USD_25, LONG_AGO, "ref_1")
DISPUTE = BookedDispute("acct_1", "dp_1", "top_1", "lost", USD_25, LONG_AGO)
DISPUTED = DisputeAtStripe("dp_1", "pi_1", "lost", USD_25, LONG_AGO)
#: The last moment that counts as just now, on either side, and the first that does not.
JUST_NOW = [NOW - IN_FLIGHT + timedelta(microseconds=1), NOW + IN_FLIGHT - timedelta(microseconds=1)]
BEFORE = NOW - IN_FLIGHT


def refunds(
    refund: RefundAtStripe | None, *rows: BookedRefund, topups: Sequence[BookedTopup] = (TOPUP,)
) -> Comparison:
    stripe = AtStripe({"pi_1": PAID}, {"re_1": refund})
    return compare(stripe, InBooks(topups, refunds=rows), NOW)


def disputes(
    dispute: DisputeAtStripe | None, *rows: BookedDispute, topups: Sequence[BookedTopup] = (TOPUP,)
) -> Comparison:
    stripe = AtStripe({"pi_1": PAID}, disputes={"dp_1": dispute})
    return compare(stripe, InBooks(topups, disputes=rows), NOW)


def kinds(comparison: Comparison) -> list[str]:
    return [str(found.kind) for found in comparison.differences]


def test_a_refund_is_held_beside_the_row_that_has_its_id() -> None:
    alike = refunds(REFUNDED, REFUND)
    assert (kinds(alike), alike.examined) == ([], {"pi_1", "top_1", "re_1", "ref_1"})
    assert kinds(refunds(replace(REFUNDED, booked_id=None), REFUND)) == []
    assert kinds(refunds(replace(REFUNDED, amount=OTHER), REFUND)) == ["refund_differs"]


def test_a_refund_is_held_beside_the_row_that_its_metadata_names_where_that_has_no_id_yet() -> None:
    reserved = replace(REFUND, state="reserved", stripe_refund_id=None)
    assert kinds(refunds(REFUNDED, reserved)) == ["refund_differs"]
    # That row has another refund already.
    taken = replace(REFUND, stripe_refund_id="re_2")
    assert kinds(refunds(REFUNDED, taken)) == ["refund_not_booked", "refund_unknown"]
    assert kinds(refunds(replace(REFUNDED, booked_id="ref_9"), reserved)) == ["refund_not_booked"]


def test_a_refund_is_never_held_beside_a_row_of_another_top_up() -> None:
    assert kinds(refunds(REFUNDED, replace(REFUND, topup_id="top_2"))) == ["refund_not_booked"]
    # Where nobody has the payment the row's word is all there is.
    assert kinds(refunds(REFUNDED, REFUND, topups=())) == ["foreign_intent"]


def test_a_refund_of_the_books_that_stripe_was_asked_for_and_does_not_know_is_named() -> None:
    unknown = refunds(None, REFUND)
    assert (kinds(unknown), unknown.examined) == (["refund_unknown"], {"pi_1", "top_1", "ref_1", "re_1"})
    # The id that the books have decides, whatever the metadata of another refund says.
    second = replace(REFUND, refund_id="ref_2", stripe_refund_id="re_2")
    assert kinds(refunds(replace(REFUNDED, booked_id="ref_2"), REFUND, second)) == ["refund_unknown"]


def test_a_reserved_refund_that_stripe_knows_by_its_metadata_is_not_unknown() -> None:
    pending = replace(REFUND, state="pending", stripe_refund_id=None)
    assert kinds(refunds(replace(REFUNDED, status="pending"), pending)) == []
    assert kinds(refunds(None, pending)) == ["refund_unknown"]


@pytest.mark.parametrize("moment", JUST_NOW)
def test_a_refund_that_moved_just_now_is_passed_over(moment: datetime) -> None:
    differs = replace(REFUNDED, amount=OTHER)
    moving, waiting = replace(differs, moved_at=moment), replace(REFUND, changed_at=moment)
    assert kinds(refunds(moving, REFUND)) == kinds(refunds(differs, waiting)) == []
    assert refunds(differs, waiting).examined == {"pi_1", "top_1"}
    assert kinds(refunds(replace(differs, moved_at=BEFORE), replace(REFUND, changed_at=BEFORE))) == [
        "refund_differs"
    ]


def test_one_refund_that_moves_does_not_hide_the_next() -> None:
    second = replace(REFUNDED, amount=OTHER)
    stripe = AtStripe({}, {"re_0": replace(REFUNDED, refund_id="re_0", moved_at=NOW), "re_1": second})
    rows = [replace(REFUND, refund_id="ref_0", stripe_refund_id="re_9", changed_at=NOW), REFUND]
    comparison = compare(stripe, InBooks([], rows), NOW)
    assert (kinds(comparison), comparison.examined) == (["refund_differs"], {"re_1", "ref_1"})


def test_a_dispute_is_held_beside_the_row_of_its_id_or_the_top_up_of_its_payment() -> None:
    alike = disputes(DISPUTED, DISPUTE)
    assert (kinds(alike), alike.examined) == ([], {"pi_1", "top_1", "dp_1"})
    assert kinds(disputes(replace(DISPUTED, status="won"), DISPUTE)) == ["dispute_differs"]
    [found] = disputes(DISPUTED).differences
    assert (found.kind, found.stripe_id, found.topup_id) == ("dispute_not_booked", "dp_1", "top_1")
    assert kinds(disputes(None, DISPUTE)) == ["dispute_unknown"]
    # Nobody's payment: a stranger's dispute.
    assert kinds(disputes(DISPUTED, topups=())) == ["foreign_intent"]


@pytest.mark.parametrize("moment", JUST_NOW)
def test_a_dispute_that_moved_just_now_is_passed_over(moment: datetime) -> None:
    won = replace(DISPUTED, status="won")
    assert kinds(disputes(replace(won, moved_at=moment), DISPUTE)) == []
    assert kinds(disputes(won, replace(DISPUTE, changed_at=moment))) == []
    assert kinds(disputes(None, replace(DISPUTE, changed_at=moment))) == []
    assert kinds(disputes(replace(won, moved_at=BEFORE), replace(DISPUTE, changed_at=BEFORE))) == [
        "dispute_differs"
    ]


def test_one_dispute_that_moves_does_not_hide_the_next() -> None:
    moving, second = replace(DISPUTED, dispute_id="dp_0", moved_at=NOW), replace(DISPUTED, status="won")
    stripe = AtStripe({}, disputes={"dp_0": moving, "dp_1": second})
    rows = [replace(DISPUTE, dispute_id="dp_9", changed_at=NOW), DISPUTE]
    comparison = compare(stripe, InBooks([], disputes=rows), NOW)
    assert (kinds(comparison), comparison.examined) == (["dispute_differs"], {"dp_1"})


def test_what_stripe_does_not_know_is_passed_over_while_its_top_up_moves() -> None:
    moving = replace(OPEN, changed_at=NOW)
    still = replace(OPEN, topup_id="top_2", payment_id="pi_2")
    comparison = compare(AtStripe({"pi_1": None, "pi_2": None}), InBooks([moving, still]), NOW)
    assert comparison.examined == {"pi_2", "top_2"}
    assert [found.topup_id for found in comparison.differences] == ["top_2"]


def test_a_top_up_about_which_nothing_was_asked_is_as_it_should_be() -> None:
    comparison = compare(AtStripe({}), InBooks([TOPUP, replace(OPEN, topup_id="top_2")]), NOW)
    assert (comparison.differences, comparison.examined) == ((), {"top_1", "top_2"})


def test_of_two_top_ups_that_claim_a_payment_the_one_it_names_has_it() -> None:
    second = replace(TOPUP, topup_id="top_2")
    for topups in ([TOPUP, second], [second, TOPUP]):
        [found] = compare(AtStripe({"pi_1": PAID}), InBooks(topups), NOW).differences
        assert (found.kind, found.topup_id) == ("credit_without_charge", "top_2")
    nobodys = AtStripe({"pi_1": replace(PAID, topup_id=None)})
    [found] = compare(nobodys, InBooks([second, TOPUP]), NOW).differences
    assert (found.kind, found.topup_id) == ("credit_without_charge", "top_1")


def test_a_payment_that_names_a_top_up_with_another_payment_is_a_strangers() -> None:
    other = replace(TOPUP, payment_id="pi_2")
    stripe = AtStripe({"pi_1": PAID, "pi_2": replace(PAID, payment_id="pi_2")})
    [found] = compare(stripe, InBooks([other]), NOW).differences
    assert (found.kind, found.stripe_id) == ("foreign_intent", "pi_1")


def test_a_payment_without_metadata_is_never_the_one_of_a_top_up_without_a_customer() -> None:
    without = replace(OPEN, payment_id=None, customer_id=None)
    nameless = replace(PAID, customer_id=None)
    assert kinds(compare(AtStripe({"pi_1": nameless}), InBooks([without]), NOW)) == ["foreign_intent"]
    claimed = replace(OPEN, payment_id=None)
    assert kinds(compare(AtStripe({"pi_1": PAID}), InBooks([claimed]), NOW)) == ["charge_without_credit"]


def test_a_credit_for_no_top_up_is_named_with_its_place_in_the_books() -> None:
    comparison = compare(AtStripe(), InBooks(credits=[Credit("acct_1", 7, USD_25)]), NOW)
    detail = "credited 25.00 usd for a top-up that the books do not have"
    assert comparison.differences == (
        Difference(DifferenceKind.CREDIT_WITHOUT_CHARGE, "acct_1/7", detail, "acct_1"),
    )
    assert comparison.examined == {"acct_1/7"}


@pytest.mark.parametrize(
    ("kind", "about", "wanted"),
    [
        ("refund_unknown", "ref_1", Wanted(booked_refunds={"ref_1"})),
        ("refund_differs", "re_1", Wanted(refunds={"re_1"})),
        ("dispute_differs", "dp_1", Wanted(disputes={"dp_1"})),
        ("credit_without_charge", "acct/with/slashes/7", Wanted(credits={("acct/with/slashes", 7)})),
        ("charge_without_credit", "pi_1", Wanted(payments={"pi_1"})),
    ],
)
def test_a_difference_is_looked_at_again_by_what_it_is_about(kind: str, about: str, wanted: Wanted) -> None:
    assert Wanted.to_see_again([Difference(DifferenceKind(kind), about, "")]) == wanted
