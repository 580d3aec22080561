"""Stripe's payments, refunds and disputes against the books: every difference by its name. Pure.

What moved a moment ago is passed over: its answer may be on the way to the books. The next look, over a
window that overlaps, finds it settled or names it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

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

IN_FLIGHT = timedelta(seconds=30)

#: Ids that were looked at, and what was found, if anything.
_Findings = Iterator[tuple[str, Difference | None]]


@dataclass(slots=True)
class AtStripe:
    """What Stripe has, by id; None stands for what it was asked for and does not know."""

    payments: dict[str, Payment | None] = field(default_factory=dict)
    refunds: dict[str, RefundAtStripe | None] = field(default_factory=dict)
    disputes: dict[str, DisputeAtStripe | None] = field(default_factory=dict)

    def add(self, other: Self) -> None:
        self.payments |= other.payments
        self.refunds |= other.refunds
        self.disputes |= other.disputes


@dataclass(frozen=True, slots=True)
class Credit:
    """A credit in the books that says it is for a top-up, and for which there is none."""

    account_id: str
    seq: int
    amount: Amount

    @property
    def name(self) -> str:
        return f"{self.account_id}/{self.seq}"


@dataclass(frozen=True, slots=True)
class InBooks:
    """What the books have. ``credits`` are those of no top-up."""

    topups: Sequence[BookedTopup] = ()
    refunds: Sequence[BookedRefund] = ()
    disputes: Sequence[BookedDispute] = ()
    credits: Sequence[Credit] = ()


@dataclass(slots=True)
class Wanted:
    """Single things to look at: payments, refunds and disputes by Stripe's ids, the others by ours."""

    payments: set[str] = field(default_factory=set)
    refunds: set[str] = field(default_factory=set)
    disputes: set[str] = field(default_factory=set)
    topups: set[tuple[str, str]] = field(default_factory=set)
    credits: set[tuple[str, int]] = field(default_factory=set)
    booked_refunds: set[str] = field(default_factory=set)

    def with_all(self, other: Self) -> Self:
        """Return what is wanted by either."""
        mine = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return type(self)(*(some | more for some, more in mine))

    @classmethod
    def named_by(cls, stripe: AtStripe) -> Self:
        """Return what the books must be asked for beside what Stripe has."""
        payments = [payment for payment in stripe.payments.values() if payment]
        refunds = [refund for refund in stripe.refunds.values() if refund]
        disputes = [dispute for dispute in stripe.disputes.values() if dispute]
        return cls(
            {*stripe.payments, *(r.payment_id for r in refunds), *(d.payment_id for d in disputes)},
            set(stripe.refunds),
            set(stripe.disputes),
            {(p.account_id, p.topup_id) for p in payments if p.account_id and p.topup_id},
            booked_refunds={refund.booked_id for refund in refunds if refund.booked_id},
        )

    @classmethod
    def to_ask(cls, stripe: AtStripe, books: InBooks, now: datetime) -> Self:
        """Return what Stripe must be asked for by id: what the books have and no list brought."""
        about = (t.payment_id for t in books.topups if t.credited is not None or overdue(t, now))
        refunds = (refund.stripe_refund_id for refund in books.refunds)
        return cls(
            {payment_id for payment_id in about if payment_id} - stripe.payments.keys(),
            {refund_id for refund_id in refunds if refund_id} - stripe.refunds.keys(),
            {dispute.dispute_id for dispute in books.disputes} - stripe.disputes.keys(),
        )

    @classmethod
    def to_see_again(cls, known: Iterable[Difference]) -> Self:
        """Return what must be looked at to know whether differences are still there."""
        wanted = cls()
        for difference in known:
            about = difference.stripe_id
            if difference.account_id and difference.topup_id:
                wanted.topups.add((difference.account_id, difference.topup_id))
            if about.startswith("ref_"):
                wanted.booked_refunds.add(about)
            elif difference.kind.startswith("refund_"):
                wanted.refunds.add(about)
            elif difference.kind.startswith("dispute_"):
                wanted.disputes.add(about)
            elif "/" in about:
                account_id, _, seq = about.rpartition("/")
                wanted.credits.add((account_id, int(seq)))
            elif about != difference.topup_id:
                wanted.payments.add(about)
        return wanted


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences, and the ids of all that was looked at: what differed before is gone if it is there."""

    differences: tuple[Difference, ...]
    examined: frozenset[str]


def compare(stripe: AtStripe, books: InBooks, now: datetime, in_flight: timedelta = IN_FLIGHT) -> Comparison:
    """Compare what Stripe has with what the books have; what moved within ``in_flight`` is not examined."""
    look = _Look(stripe, books, now, in_flight)
    findings = list(look.findings())
    # A payment that two top-ups claim is named once.
    differences = {found.key: found for _, found in findings if found}
    return Comparison(tuple(differences.values()), frozenset(about for about, _ in findings))


class _Look:
    def __init__(self, stripe: AtStripe, books: InBooks, now: datetime, in_flight: timedelta) -> None:
        self._stripe = stripe
        self._books = books
        self._now = now
        self._in_flight = in_flight
        self._by_id = {topup.topup_id: topup for topup in books.topups}
        self._claims: Mapping[str, list[BookedTopup]] = defaultdict(list)
        for topup in books.topups:
            if topup.payment_id is not None:
                self._claims[topup.payment_id].append(topup)

    def findings(self) -> _Findings:
        yield from self._payments()
        yield from self._topups()
        yield from ((credit.name, _no_topup(credit)) for credit in self._books.credits)
        yield from self._refunds()
        yield from self._booked_refunds()
        yield from self._disputes()
        yield from self._booked_disputes()

    def _payments(self) -> _Findings:
        for payment_id, payment in self._stripe.payments.items():
            if payment is None:
                if not any(self._moves(topup.changed_at) for topup in self._claims.get(payment_id, ())):
                    yield payment_id, None
                continue
            topup = self._owner(payment)
            if not self._moves(payment.moved_at) and not (topup and self._moves(topup.changed_at)):
                yield payment_id, judge_payment(payment, topup)

    def _topups(self) -> _Findings:
        for topup in self._books.topups:
            if self._moves(topup.changed_at):
                continue
            if topup.payment_id is not None and topup.payment_id not in self._stripe.payments:
                yield topup.topup_id, None  # nothing about it calls for a question to Stripe
                continue
            payment = self._stripe.payments.get(topup.payment_id or "")
            if payment is not None and self._owner(payment) is not topup:
                payment = None  # it is another top-up's, and pays for one only
            yield topup.topup_id, judge_topup(topup, payment, self._now)

    def _refunds(self) -> _Findings:
        booked = {refund.stripe_refund_id: refund for refund in self._books.refunds}
        named = {refund.refund_id: refund for refund in self._books.refunds if not refund.stripe_refund_id}
        for refund in filter(None, self._stripe.refunds.values()):
            row = booked.get(refund.refund_id) or named.get(refund.booked_id or "")
            topup = self._refunded(refund.payment_id)
            if row and topup and row.topup_id != topup.topup_id:
                row = None
            if self._moves(refund.moved_at) or (row and self._moves(row.changed_at)):
                continue
            yield refund.refund_id, judge_refund(refund, row, topup)

    def _booked_refunds(self) -> _Findings:
        by_metadata = {refund.booked_id for refund in self._stripe.refunds.values() if refund}
        for row in self._books.refunds:
            if self._moves(row.changed_at):
                continue
            known = row.refund_id in by_metadata
            if row.stripe_refund_id is not None:
                known = self._stripe.refunds.get(row.stripe_refund_id) is not None
            found = judge_booked_refund(row, known=known, now=self._now)
            yield row.refund_id, found
            if row.stripe_refund_id is not None:
                yield row.stripe_refund_id, None

    def _disputes(self) -> _Findings:
        booked = {dispute.dispute_id: dispute for dispute in self._books.disputes}
        for dispute in filter(None, self._stripe.disputes.values()):
            row, topup = booked.get(dispute.dispute_id), self._refunded(dispute.payment_id)
            if self._moves(dispute.moved_at) or (row and self._moves(row.changed_at)):
                continue
            yield dispute.dispute_id, judge_dispute(dispute, row, topup)

    def _booked_disputes(self) -> _Findings:
        for row in self._books.disputes:
            if not self._moves(row.changed_at):
                known = self._stripe.disputes.get(row.dispute_id) is not None
                yield row.dispute_id, None if known else judge_booked_dispute(row)

    def _owner(self, payment: Payment) -> BookedTopup | None:
        """Return the top-up that a payment is for: the one that has it, or one without any that it names.

        Metadata alone is anybody's word: account and customer must agree.
        """
        if claims := self._claims.get(payment.payment_id):
            return next((topup for topup in claims if topup.topup_id == payment.topup_id), claims[0])
        named = self._by_id.get(payment.topup_id or "")
        if named is None or named.payment_id is not None or named.customer_id is None:
            return None
        theirs = (payment.account_id, payment.customer_id)
        return named if theirs == (named.account_id, named.customer_id) else None

    def _refunded(self, payment_id: str) -> BookedTopup | None:
        return next(iter(self._claims.get(payment_id, ())), None)

    def _moves(self, at: datetime) -> bool:
        """Whether it moved just now; a clock that is wrong by more than that does not matter."""
        return abs(self._now - at) < self._in_flight


def _no_topup(credit: Credit) -> Difference:
    detail = f"credited {credit.amount} for a top-up that the books do not have"
    return Difference(DifferenceKind.CREDIT_WITHOUT_CHARGE, credit.name, detail, credit.account_id)
