"""Statements: what an account had when a month began, what moved it, and what it had at the end. Pure.

    opening balance + Σ lines = closing balance, to the nano

A statement covers entries of the books by number, without a gap: it begins where the one before ended, and
ends before the first entry of a later month. So statements join, whatever a clock did at midnight. Once it is
closed it never changes: what is corrected later is an entry of a later month, and stands in that statement.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import msgspec

from shared.domain.invoice import Buyer, Party
from shared.domain.ledger import Transfer, TransferKind
from shared.domain.money import format_dollars
from shared.domain.periods import Period
from shared.domain.statement_totals import ModelUsage, Movement


class LineKind(StrEnum):
    """What a line sums up, in the order in which lines stand."""

    TOPUPS = "topups"
    CREDITS = "credits"
    ADJUSTMENTS = "adjustments"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    VOIDED_USAGE = "voided_usage"
    USAGE = "usage"
    QUOTA_GRANTS = "quota_grants"


LINE_OF: dict[TransferKind, LineKind] = {
    TransferKind.TOPUP: LineKind.TOPUPS,
    TransferKind.CREDIT: LineKind.CREDITS,
    TransferKind.ADJUSTMENT: LineKind.ADJUSTMENTS,
    TransferKind.REFUND: LineKind.REFUNDS,
    TransferKind.REFUND_RETURNED: LineKind.REFUNDS,
    TransferKind.DISPUTE: LineKind.DISPUTES,
    TransferKind.DISPUTE_REINSTATED: LineKind.DISPUTES,
    TransferKind.VOID: LineKind.VOIDED_USAGE,
    TransferKind.USAGE: LineKind.USAGE,
    TransferKind.QUOTA_RESET: LineKind.QUOTA_GRANTS,
}


class State(StrEnum):
    """An open statement is a preview, and may still change."""

    OPEN = "open"
    CLOSED = "closed"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Mark(_Part, frozen=True, kw_only=True):
    """A place in the books of the account: after entry ``seq``, with the head of the hash chain there."""

    seq: int
    hash: str
    balance_nanos: int
    balance: str


class Line(_Part, frozen=True, kw_only=True):
    """All entries of one sort, signed as in the books."""

    kind: LineKind
    transfers: int
    amount_nanos: int
    amount: str
    quota_amount_nanos: int


class UsageLine(_Part, frozen=True, kw_only=True):
    """Usage of one model: ``charge = quota + balance + uncollected``.

    Without a model it is usage whose records lie in months that were detached before the statement was made;
    what it took is known from the transfers, but not for what.
    """

    provider: str | None
    model: str | None
    records: int
    input_tokens: int
    output_tokens: int
    list_nanos: int
    charge_nanos: int
    quota_nanos: int
    balance_nanos: int
    uncollected_nanos: int


class UsageDay(_Part, frozen=True, kw_only=True):
    """What usage took on one day of UTC, by the time of its debit."""

    day: date
    transfers: int
    quota_nanos: int
    balance_nanos: int


class Transaction(_Part, frozen=True, kw_only=True):
    """One entry other than usage."""

    seq: int
    occurred_at: datetime
    kind: TransferKind
    amount_nanos: int
    amount: str
    quota_amount_nanos: int
    balance_after_nanos: int
    cause: str
    hash: str


class Statement(_Part, frozen=True, kw_only=True):
    """The document. ``version`` is that of its form: one that was closed is never written anew."""

    version: int = 1
    account: Buyer
    seller: Party
    period: str
    start: datetime
    end: datetime
    state: State
    as_of: datetime
    currency: str = "USD"
    opening: Mark
    lines: tuple[Line, ...]
    closing: Mark
    usage: tuple[UsageLine, ...]
    usage_days: tuple[UsageDay, ...]
    transactions: tuple[Transaction, ...]


class Heading(msgspec.Struct, frozen=True):
    """Whose statement it is, from whom, of which month, and when it was drawn up."""

    account: Buyer
    seller: Party
    period: Period
    state: State
    as_of: datetime


def draw_up(
    heading: Heading,
    opening: Mark,
    closing: Mark,
    movements: Sequence[Movement],
    usage: Iterable[ModelUsage],
    transactions: Iterable[Transfer],
) -> Statement:
    """Return the statement of a month, given its sums and its entries other than usage."""
    return Statement(
        account=heading.account,
        seller=heading.seller,
        period=str(heading.period),
        start=heading.period.start,
        end=heading.period.end,
        state=heading.state,
        as_of=heading.as_of,
        opening=opening,
        lines=lines_of(movements),
        closing=closing,
        usage=usage_lines_of(usage, movements),
        usage_days=usage_days_of(movements),
        transactions=tuple(map(transaction_of, transactions)),
    )


def mark(seq: int, head: bytes, balance_nanos: int) -> Mark:
    """Return the place after an entry."""
    return Mark(seq=seq, hash=head.hex(), balance_nanos=balance_nanos, balance=format_dollars(balance_nanos))


def lines_of(movements: Sequence[Movement]) -> tuple[Line, ...]:
    """Return a line for each sort of entry that there is."""
    return tuple(_lines(movements))


def usage_days_of(movements: Iterable[Movement]) -> tuple[UsageDay, ...]:
    """Return what usage took on each day that had some."""
    return tuple(
        UsageDay(
            day=each.day,
            transfers=each.transfers,
            quota_nanos=-each.quota_amount_nanos,
            balance_nanos=-each.amount_nanos,
        )
        for each in sorted(movements)
        if each.kind == TransferKind.USAGE
    )


def usage_lines_of(usage: Iterable[ModelUsage], movements: Iterable[Movement]) -> tuple[UsageLine, ...]:
    """Return a line for each model, the dearest first; the last one is what transfers took beyond them."""
    by_charge = sorted(usage, key=lambda each: (-each.charge_nanos, each.model or "", each.provider or ""))
    lines = [UsageLine(**each._asdict()) for each in by_charge]
    taken = [each for each in movements if each.kind == TransferKind.USAGE]
    quota = -sum(each.quota_amount_nanos for each in taken) - sum(line.quota_nanos for line in lines)
    balance = -sum(each.amount_nanos for each in taken) - sum(line.balance_nanos for line in lines)
    if quota or balance:
        beyond = ModelUsage(None, None, 0, 0, 0, 0, quota + balance, quota, balance, 0)
        lines.append(UsageLine(**beyond._asdict()))
    return tuple(lines)


def transaction_of(transfer: Transfer) -> Transaction:
    """Return an entry as it stands in a statement."""
    return Transaction(
        seq=transfer.seq,
        occurred_at=transfer.occurred_at,
        kind=transfer.kind,
        amount_nanos=transfer.amount_nanos,
        amount=format_dollars(transfer.amount_nanos),
        quota_amount_nanos=transfer.quota_amount_nanos,
        balance_after_nanos=transfer.balance_after_nanos,
        cause=transfer.cause,
        hash=transfer.hash.hex(),
    )


def as_document(statement: Statement) -> dict[str, Any]:
    """Return the JSON document: what is stored, signed and sent."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(statement))
    return document


def _lines(movements: Sequence[Movement]) -> Iterator[Line]:
    for kind in LineKind:
        summed = [each for each in movements if LINE_OF[each.kind] == kind]
        if summed:
            amount = sum(each.amount_nanos for each in summed)
            yield Line(
                kind=kind,
                transfers=sum(each.transfers for each in summed),
                amount_nanos=amount,
                amount=format_dollars(amount),
                quota_amount_nanos=sum(each.quota_amount_nanos for each in summed),
            )
