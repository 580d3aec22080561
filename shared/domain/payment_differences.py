"""One thing at Stripe beside its row in the books: what they differ in, if in anything. Pure.

A difference that has one right answer is ``mendable``; the others are left to a person.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from shared.domain.money import format_dollars
from shared.domain.topup import OPEN_STATES, TopupState


class DifferenceKind(StrEnum):
    """What can differ between Stripe and the books."""

    CHARGE_WITHOUT_CREDIT = "charge_without_credit"
    CREDIT_WITHOUT_CHARGE = "credit_without_charge"
    AMOUNT_DIFFERS = "amount_differs"
    TOPUP_BEHIND = "topup_behind"
    TOPUP_STUCK = "topup_stuck"
    FOREIGN_INTENT = "foreign_intent"
    REFUND_NOT_BOOKED = "refund_not_booked"
    REFUND_UNKNOWN = "refund_unknown"
    REFUND_DIFFERS = "refund_differs"
    DISPUTE_NOT_BOOKED = "dispute_not_booked"
    DISPUTE_UNKNOWN = "dispute_unknown"
    DISPUTE_DIFFERS = "dispute_differs"


@dataclass(frozen=True, slots=True)
class Difference:
    """A named difference. ``stripe_id`` is what it is about: Stripe's id, or ours where Stripe has none."""

    kind: DifferenceKind
    stripe_id: str
    detail: str
    account_id: str | None = None
    topup_id: str | None = None
    mendable: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same difference when it is seen again."""
        return str(self.kind), self.stripe_id


class Amount(NamedTuple):
    """Nanos of a currency."""

    nanos: int
    currency: str

    def __str__(self) -> str:
        return f"{format_dollars(self.nanos)} {self.currency}"


@dataclass(frozen=True, slots=True)
class Payment:
    """An intent at Stripe, or a charge that has none. ``amount`` is what was taken, or is to be.

    ``topup_id`` and ``account_id`` are the word of its metadata: a hint, never a proof.
    """

    payment_id: str
    status: str
    amount: Amount
    moved_at: datetime
    customer_id: str | None = None
    topup_id: str | None = None
    account_id: str | None = None

    @property
    def charged(self) -> bool:
        """Whether money was taken."""
        return self.status == "succeeded"


@dataclass(frozen=True, slots=True)
class RefundAtStripe:
    """A refund at Stripe; ``booked_id`` is our refund that its metadata names."""

    refund_id: str
    payment_id: str
    status: str
    amount: Amount
    moved_at: datetime
    booked_id: str | None = None


@dataclass(frozen=True, slots=True)
class DisputeAtStripe:
    """A dispute at Stripe."""

    dispute_id: str
    payment_id: str
    status: str
    amount: Amount
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class BookedTopup:
    """A top-up, its account's customer at Stripe, and what the books were credited with for it."""

    account_id: str
    topup_id: str
    state: TopupState
    by_checkout: bool
    amount: Amount
    payment_id: str | None
    customer_id: str | None
    credited: Amount | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class BookedRefund:
    """A refund in the books."""

    account_id: str
    refund_id: str
    topup_id: str
    state: str
    amount: Amount
    stripe_refund_id: str | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class BookedDispute:
    """A dispute in the books."""

    account_id: str
    dispute_id: str
    topup_id: str
    status: str
    amount: Amount
    changed_at: datetime


#: How long a step may take to be taken, by the state it is taken from, before it counts as stuck.
_PATIENCE = {
    TopupState.PENDING: timedelta(minutes=15),
    TopupState.CREATED: timedelta(minutes=15),
    TopupState.CONFIRMING: timedelta(minutes=15),
    TopupState.PROCESSING: timedelta(days=1),
    TopupState.ACTION_REQUIRED: timedelta(hours=25),
    TopupState.RETRY_WAIT: timedelta(days=8),
}
#: A page of Checkout stays open for a day.
_CHECKOUT_PATIENCE = timedelta(hours=25)
_REFUND_PATIENCE = timedelta(minutes=15)
_REFUND_DEAD = ("failed", "canceled")


def overdue(topup: BookedTopup, now: datetime) -> bool:
    """Whether an open top-up has stood still for longer than its state explains."""
    if topup.state not in OPEN_STATES:
        return False
    patience = _PATIENCE[topup.state]
    if topup.by_checkout:
        patience = max(patience, _CHECKOUT_PATIENCE)
    return now - topup.changed_at > patience


def judge_payment(payment: Payment, topup: BookedTopup | None) -> Difference | None:
    """Compare a payment with the top-up that it belongs to, None for a stranger's."""
    if topup is None:
        return _foreign(payment) if payment.charged else None
    if not payment.charged:
        return _uncharged(payment, topup)
    sums = {topup.amount, topup.credited or topup.amount}
    if sums != {payment.amount}:
        credited = f"credited {topup.credited}" if topup.credited else "credited nothing"
        detail = f"Stripe took {payment.amount}, the top-up is over {topup.amount} and {credited}"
        return _of(topup, DifferenceKind.AMOUNT_DIFFERS, payment.payment_id, detail)
    if topup.credited is None:
        detail = f"Stripe took {payment.amount}, and the top-up is {topup.state} without a credit"
        kind = DifferenceKind.CHARGE_WITHOUT_CREDIT
        return _of(topup, kind, payment.payment_id, detail, mendable=_may_settle(payment, topup))
    if topup.state is not TopupState.SUCCEEDED:
        detail = f"it was charged and credited, and the top-up is {topup.state}"
        return _of(topup, DifferenceKind.TOPUP_BEHIND, payment.payment_id, detail)
    return None


def judge_topup(topup: BookedTopup, payment: Payment | None, now: datetime) -> Difference | None:
    """Look at a top-up from its own side; ``payment`` is that of its intent, None where Stripe has none."""
    if topup.credited is not None and payment is None:
        about = topup.payment_id or topup.topup_id
        detail = f"credited {topup.credited}, and Stripe has no payment for it"
        return _of(topup, DifferenceKind.CREDIT_WITHOUT_CHARGE, about, detail)
    if topup.state in OPEN_STATES and topup.payment_id is not None and payment is None:
        detail = f"{topup.state}, and Stripe does not know its intent {topup.payment_id}"
        return _of(topup, DifferenceKind.TOPUP_STUCK, topup.topup_id, detail)
    if overdue(topup, now):
        status = f", and its intent is {payment.status}" if payment else ""
        detail = f"{topup.state} since {topup.changed_at:%Y-%m-%d %H:%M:%S} UTC{status}"
        return _of(topup, DifferenceKind.TOPUP_STUCK, topup.topup_id, detail)
    return None


def judge_refund(
    refund: RefundAtStripe, booked: BookedRefund | None, topup: BookedTopup | None
) -> Difference | None:
    """Compare a refund with its row, or with the top-up that it is of; without either it is a stranger's."""
    owner = booked or topup
    if owner is None:
        return None
    dead = refund.status in _REFUND_DEAD
    if booked is None:
        detail = f"Stripe gave back {refund.amount} ({refund.status}), and the books do not know"
        kind = DifferenceKind.REFUND_NOT_BOOKED
        return None if dead else _of(owner, kind, refund.refund_id, detail, mendable=True)
    kind = DifferenceKind.REFUND_DIFFERS
    if refund.amount != booked.amount:
        detail = f"Stripe gave back {refund.amount}, the books {booked.amount}"
        return _of(owner, kind, refund.refund_id, detail)
    detail = f"{refund.status} at Stripe, {booked.state} in the books"
    if dead != (booked.state == "failed") or booked.state == "quarantined":
        # What the books gave back already is not taken again without a person.
        mendable = dead and booked.state != "quarantined"
        return _of(owner, kind, refund.refund_id, detail, mendable=mendable)
    if refund.status == "succeeded" and booked.state != "succeeded":
        return _of(owner, kind, refund.refund_id, detail, mendable=True)
    return None


def judge_booked_refund(refund: BookedRefund, *, known: bool, now: datetime) -> Difference | None:
    """Look at a refund of the books from its own side; ``known`` tells whether Stripe has it."""
    waits = refund.state == "reserved" and refund.stripe_refund_id is None
    late = now - refund.changed_at > _REFUND_PATIENCE
    if known or refund.state in ("failed", "quarantined") or (waits and not late):
        return None
    about = refund.stripe_refund_id or refund.refund_id
    detail = f"{refund.amount}, {refund.state} in the books, and Stripe does not have it"
    return Difference(DifferenceKind.REFUND_UNKNOWN, about, detail, refund.account_id, refund.topup_id)


def judge_dispute(
    dispute: DisputeAtStripe, booked: BookedDispute | None, topup: BookedTopup | None
) -> Difference | None:
    """Compare a dispute as a refund is compared; an inquiry takes nothing and needs no row."""
    owner = booked or topup
    if owner is None:
        return None
    if booked is None:
        detail = f"Stripe has a dispute over {dispute.amount} ({dispute.status}), and the books do not know"
        kind = DifferenceKind.DISPUTE_NOT_BOOKED
        inquiry = dispute.status.startswith("warning_")
        return None if inquiry else _of(owner, kind, dispute.dispute_id, detail, mendable=True)
    kind = DifferenceKind.DISPUTE_DIFFERS
    if dispute.amount != booked.amount:
        detail = f"over {dispute.amount} at Stripe, over {booked.amount} in the books"
        return _of(owner, kind, dispute.dispute_id, detail)
    if dispute.status != booked.status:
        detail = f"{dispute.status} at Stripe, {booked.status} in the books"
        return _of(owner, kind, dispute.dispute_id, detail, mendable=True)
    return None


def judge_booked_dispute(dispute: BookedDispute) -> Difference:
    """Name a dispute of the books that Stripe does not have."""
    detail = f"over {dispute.amount}, {dispute.status} in the books, and Stripe does not have it"
    kind = DifferenceKind.DISPUTE_UNKNOWN
    return Difference(kind, dispute.dispute_id, detail, dispute.account_id, dispute.topup_id)


def _foreign(payment: Payment) -> Difference:
    named = f"; its metadata names {payment.topup_id}" if payment.topup_id else ""
    detail = f"Stripe took {payment.amount} for no top-up of the books{named}"
    return Difference(DifferenceKind.FOREIGN_INTENT, payment.payment_id, detail)


def _uncharged(payment: Payment, topup: BookedTopup) -> Difference | None:
    if topup.credited is not None:
        detail = f"credited {topup.credited}, and its intent is {payment.status}"
        return _of(topup, DifferenceKind.CREDIT_WITHOUT_CHARGE, payment.payment_id, detail)
    if _ahead(payment, topup):
        detail = f"its intent is {payment.status}, and the top-up is {topup.state}"
        return _of(topup, DifferenceKind.TOPUP_BEHIND, payment.payment_id, detail, mendable=True)
    return None


def _ahead(payment: Payment, topup: BookedTopup) -> bool:
    """Whether an intent went where its top-up did not. A decline is for the stage, which counts attempts."""
    before_the_charge = topup.state in (TopupState.PENDING, TopupState.CREATED, TopupState.CONFIRMING)
    if payment.status == "canceled":
        return topup.state in OPEN_STATES
    if payment.status == "requires_action":
        # On a page of Checkout its owner is at it right now.
        return before_the_charge and not topup.by_checkout
    return payment.status == "processing" and before_the_charge


def _may_settle(payment: Payment, topup: BookedTopup) -> bool:
    closed = topup.state in (TopupState.FAILED, TopupState.CANCELED)
    return topup.state in OPEN_STATES or (closed and topup.payment_id == payment.payment_id)


def _of(
    owner: BookedTopup | BookedRefund | BookedDispute,
    kind: DifferenceKind,
    stripe_id: str,
    detail: str,
    *,
    mendable: bool = False,
) -> Difference:
    return Difference(kind, stripe_id, detail, owner.account_id, owner.topup_id, mendable)
