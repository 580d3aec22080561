"""What remains of a transfer, however refunds, disputes and what was given back follow each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.corrections import REVERSED_KIND, Correction, Reversals, Reversible
from shared.domain.ledger import TransferKind
from shared.domain.refunds import (
    RefundState,
    holds_money,
    moves_ahead,
    needs_care,
    refundable_nanos,
    state_at_stripe,
    to_take_nanos,
)

_SIGN = {kind: -1 if reversed_ is TransferKind.TOPUP else 1 for kind, reversed_ in REVERSED_KIND.items()}
_AMOUNTS = st.integers(1, 100)


def _topup(amount: int) -> Reversible:
    return Reversible(TransferKind.TOPUP, amount, "topup", None)


def _reversing(kind: TransferKind, amount: int, reverses: int) -> Reversible:
    return Reversible(kind, _SIGN[kind] * amount, "why", reverses)


@given(st.data())
def test_what_remains_of_top_ups_is_what_all_transfers_come_to(data: st.DataObject) -> None:
    reversals = Reversals()
    for seq in range(1, data.draw(st.integers(1, 30), label="transfers")):
        kinds: list[tuple[TransferKind, int | None]] = [(TransferKind.TOPUP, None)]
        kinds += [
            (kind, target)
            for kind, reversed_ in REVERSED_KIND.items()
            for target, transfer in reversals.by_seq.items()
            if transfer.kind == reversed_
        ]
        kind, target = data.draw(st.sampled_from(kinds))
        amount = data.draw(_AMOUNTS)
        if target is None:
            reversals.add(seq, _topup(amount))
        elif amount <= reversals.remains_of(target):
            reversals.add(seq, _reversing(kind, amount, target))
        else:
            with pytest.raises(ValueError, match="more than remains"):
                reversals.add(seq, _reversing(kind, amount, target))
    by_seq = reversals.by_seq
    assert all(0 <= reversals.remains_of(seq) <= abs(by_seq[seq].amount_nanos) for seq in by_seq)
    topups = [seq for seq in by_seq if by_seq[seq].kind == TransferKind.TOPUP]
    total = sum(transfer.amount_nanos for transfer in by_seq.values())
    assert sum(reversals.remains_of(seq) for seq in topups) == total


@pytest.mark.parametrize("amount", [0, 5])
def test_a_refund_that_takes_nothing_is_none(amount: int) -> None:
    reversals = Reversals()
    reversals.add(1, _topup(10))
    with pytest.raises(ValueError, match=f"a refund of {amount}"):
        reversals.add(2, Reversible(TransferKind.REFUND, amount, "why", 1))


@given(_AMOUNTS, _AMOUNTS)
def test_what_was_given_back_can_be_taken_again(amount: int, part: int) -> None:
    reversals = Reversals()
    reversals.add(1, _topup(amount + part))
    reversals.add(2, _reversing(TransferKind.REFUND, amount + part, 1))
    reversals.add(3, _reversing(TransferKind.REFUND_RETURNED, part, 2))
    assert [reversals.remains_of(seq) for seq in (1, 2, 3)] == [part, amount, part]
    reversals.add(4, _reversing(TransferKind.DISPUTE, part, 1))
    assert reversals.remains_of(1) == 0


@pytest.mark.parametrize(
    ("transfer", "why"),
    [
        (_reversing(TransferKind.REFUND, 1, 9), "reverses number 9, which is no topup"),
        (_reversing(TransferKind.DISPUTE_REINSTATED, 1, 1), "reverses number 1, which is no dispute"),
        (Reversible(TransferKind.REFUND, -1, "", None), "of kind refund with reverses_seq None"),
        (Reversible(TransferKind.CREDIT, 1, "", 1), "of kind credit with reverses_seq 1"),
        (Reversible(TransferKind.REFUND, 1, "", 1), "a refund of 1"),
    ],
)
def test_a_correction_of_the_wrong_kind_or_sign_is_none(transfer: Reversible, why: str) -> None:
    reversals = Reversals()
    reversals.add(1, _topup(10))
    with pytest.raises(ValueError, match=why):
        reversals.add(2, transfer)


def test_a_correction_says_what_it_reverses() -> None:
    assert Correction(TransferKind.REFUND, -5, "why", 2).reverses_seq == 2


@given(st.integers(-(10**10), 10**10), st.integers(-(10**10), 10**10))
def test_what_can_be_refunded_is_whole_cents_of_what_is_left_and_unspent(left: int, balance: int) -> None:
    nanos = refundable_nanos(left, balance)
    assert nanos % 10**7 == 0
    assert nanos <= max(0, left)
    assert nanos <= max(0, balance)
    assert nanos + 10**7 > min(left, balance)


@given(_AMOUNTS, _AMOUNTS, _AMOUNTS)
def test_a_dispute_takes_what_it_is_over_and_no_more_than_is_left(amount: int, taken: int, left: int) -> None:
    more = to_take_nanos(amount, taken, left)
    assert 0 <= more <= left
    assert more == 0 or taken + more <= amount


def test_refunds_move_ahead_only() -> None:
    order = [RefundState.RESERVED, RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED]
    for number, state in enumerate(order):
        assert [moves_ahead(state, to) for to in order] == [to > number for to in range(4)]
    assert moves_ahead(RefundState.QUARANTINED, RefundState.PENDING)


def test_stripes_statuses_of_refunds_are_known() -> None:
    known = ("pending", "requires_action", "succeeded", "failed", "canceled")
    assert [state_at_stripe(status) for status in known] == [
        *(RefundState.PENDING, RefundState.PENDING),
        *(RefundState.SUCCEEDED, RefundState.FAILED, RefundState.FAILED),
    ]


def test_a_status_that_stripe_may_invent_decides_nothing() -> None:
    assert state_at_stripe("on_its_way") is RefundState.PENDING


def test_stripes_statuses_of_disputes_are_known() -> None:
    holding = ("needs_response", "under_review", "lost")
    asking = ("warning_needs_response", "warning_under_review")
    over = ("warning_closed", "won", "prevented")
    assert [(holds_money(status), needs_care(status)) for status in (*holding, *asking, *over)] == [
        *[(True, True)] * 3,
        *[(False, True)] * 2,
        *[(False, False)] * 3,
    ]
