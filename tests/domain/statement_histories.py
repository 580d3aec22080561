"""Random histories of an account over some months, and the statements that they come to."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from domain_builders import ACCOUNT, GRACE, payg_account, plan, subscribed, usage
from hypothesis import strategies as st

from shared.domain.account import AccountState, roll_over
from shared.domain.debit import debit
from shared.domain.invoice import Buyer, Party
from shared.domain.ledger import Transfer, TransferKind, UsageRow, genesis_hash
from shared.domain.periods import Period
from shared.domain.signature import SigningKey, signature_of
from shared.domain.statement import Heading, Mark, State, Statement, as_document, draw_up, mark
from shared.domain.statement_export import Exported
from shared.domain.statement_totals import Totals

KEY = SigningKey(bytes(range(32)))
START = datetime(2026, 9, 20, tzinfo=UTC)
SELLER = Party(name="Northwind Inference Ltd")
MODELS = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash")

_signs = {
    TransferKind.CREDIT: 1,
    TransferKind.TOPUP: 1,
    TransferKind.ADJUSTMENT: -1,
    TransferKind.REFUND: -1,
    TransferKind.REFUND_RETURNED: 1,
    TransferKind.DISPUTE: -1,
    TransferKind.DISPUTE_REINSTATED: 1,
}
_moved = st.tuples(st.sampled_from(sorted(_signs)), st.integers(1, 10**13))
_used = st.lists(st.tuples(st.sampled_from(MODELS), st.integers(0, 10**11)), min_size=1, max_size=4)
_step = st.one_of(_moved, _used, st.just("void"))
_wait = st.timedeltas(timedelta(), timedelta(days=9))
_steps = st.lists(st.tuples(_wait, _step), max_size=25)
_quota = st.none() | st.integers(0, 10**11)


class Month(NamedTuple):
    """A month of a history: its statement as a document, signed, and its entries with their usage rows."""

    statement: Statement
    signed: dict[str, Any]
    entries: list[Exported]


class _Account:
    """An account to which things happen."""

    def __init__(self, state: AccountState) -> None:
        self.state = state
        self.entries: list[Exported] = []
        self.live: list[UsageRow] = []
        self.records = 0

    def use(self, records: Sequence[tuple[str, int]], now: datetime) -> None:
        first = self.records
        self.records += len(records)
        batch = [usage(f"req_{first + n}", cost, now, model=model) for n, (model, cost) in enumerate(records)]
        done = debit(self.state, batch, {}, now, GRACE)
        self.state = done.after
        rows = [record.row for record in done.records]
        self.live += rows
        self.entries += [
            Exported(each, rows if each.kind == TransferKind.USAGE else []) for each in done.transfers
        ]

    def post(self, kind: TransferKind, amount: int, cause: str, now: datetime, quota: int = 0) -> None:
        state, rolled = roll_over(self.state, now, GRACE)
        self.state, transfer = state.post(kind, amount, cause, now, quota_amount_nanos=quota)
        self.entries += [Exported(each, []) for each in (*rolled, transfer)]

    def void(self, now: datetime) -> None:
        if self.live:
            row = self.live.pop(len(self.live) // 2)
            self.post(TransferKind.VOID, row.balance_nanos, f"void {row.event_id}", now, row.quota_nanos)


@st.composite
def histories(draw: st.DrawFn) -> list[Month]:
    """Draw what happened to an account in some months."""
    quota = draw(_quota)
    state = payg_account() if quota is None else subscribed(plan(quota), START, fallback=draw(st.booleans()))
    return months(played(state, draw(_steps)))


def played(state: AccountState, steps: Sequence[tuple[timedelta, Any]]) -> list[Exported]:
    """Return the entries of what happened."""
    account, now = _Account(state), START
    for wait, step in steps:
        now += wait
        if step == "void":
            account.void(now)
        elif isinstance(step, list):
            account.use(step, now)
        else:
            kind, amount = step
            account.post(kind, _signs[kind] * amount, f"{kind} of {amount}", now)
    return account.entries


def months(entries: Sequence[Exported]) -> list[Month]:
    """Return the months of a history, each from where the one before ended."""
    place, found = mark(0, genesis_hash(ACCOUNT), 0), []
    for period, inside in groupby(entries, lambda each: Period.of(each.transfer.occurred_at)):
        found.append(month(period, place, list(inside)))
        place = found[-1].statement.closing
    return found


def month(period: Period, opening: Mark, entries: list[Exported]) -> Month:
    """Return one month, closed and signed."""
    totals = Totals()
    for transfer, rows in entries:
        totals.add(transfer, rows)
    last = entries[-1].transfer
    heading = Heading(Buyer(account_id=ACCOUNT, name="Ann"), SELLER, period, State.CLOSED, period.end)
    listed: list[Transfer] = [each.transfer for each in entries if each.transfer.kind != TransferKind.USAGE]
    closing = mark(last.seq, last.hash, last.balance_after_nanos)
    statement = draw_up(heading, opening, closing, totals.movements, totals.usage, listed)
    return Month(statement, signed(as_document(statement)), entries)


def signed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its signature, as it is sent."""
    signature = signature_of(KEY.public_key, KEY.sign(document))
    return {
        "statement": document,
        "signature": {name: getattr(signature, name) for name in signature.__struct_fields__},
    }
