"""Refunds and disputes: where each stands, and how much of a charge they may take. Pure.

reserved → pending → succeeded → failed, states only move ahead; a bank may fail a refund days after it
succeeded. quarantined: Stripe would not say, and a person has to.
"""

from enum import StrEnum

from shared.domain.topup import NANOS_PER_CENT


class RefundState(StrEnum):
    """Where a refund stands."""

    RESERVED = "reserved"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"


#: States in which the refund has another step at Stripe.
OPEN_REFUNDS = (RefundState.RESERVED, RefundState.PENDING)
_RANKS = {
    RefundState.RESERVED: 0,
    RefundState.QUARANTINED: 0,
    RefundState.PENDING: 1,
    RefundState.SUCCEEDED: 2,
    RefundState.FAILED: 3,
}
# https://docs.stripe.com/api/refunds/object#refund_object-status
_STATES = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}
# https://docs.stripe.com/api/disputes/object#dispute_object-status
_HOLDS_MONEY = ("needs_response", "under_review", "lost")
_INQUIRY = "warning_"
_OVER_WITHOUT_MONEY = ("won", "prevented", "warning_closed")


def state_at_stripe(status: str) -> RefundState:
    """Return the state of a refund by its status at Stripe; one that is not known yet is waited out."""
    return _STATES.get(status, RefundState.PENDING)


def moves_ahead(state: RefundState, to: RefundState) -> bool:
    """Whether that is news: words of Stripe come late and out of order."""
    return _RANKS[to] > _RANKS[state]


def refundable_nanos(left_nanos: int, balance_nanos: int) -> int:
    """Return, in whole cents, what is unspent of the balance and left of the charge."""
    at_most = max(0, min(left_nanos, balance_nanos))
    return at_most - at_most % NANOS_PER_CENT


def holds_money(status: str) -> bool:
    """Whether a dispute in this status has taken its money; an inquiry, and what is won, has not."""
    return status in _HOLDS_MONEY


def needs_care(status: str) -> bool:
    """Whether nothing should be charged by itself while a dispute, or an inquiry, is in this status."""
    return holds_money(status) or (status.startswith(_INQUIRY) and status not in _OVER_WITHOUT_MONEY)


def to_take_nanos(amount_nanos: int, taken_nanos: int, left_nanos: int) -> int:
    """Return how much more a dispute takes: all it is over, and at most what is left of the charge."""
    return max(0, min(amount_nanos - taken_nanos, left_nanos))


def refund_cause(refund_id: str, what: str) -> str:
    """Return the cause of a transfer of a refund, by which the audit knows it."""
    return f"refund {refund_id}: {what}"


def dispute_cause(dispute_id: str) -> str:
    """Return the cause of a transfer that takes what a dispute is over, by which the audit knows it."""
    return f"dispute {dispute_id}"
