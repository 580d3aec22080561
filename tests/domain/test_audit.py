"""The audit of one account: sound books pass, and whatever somebody changes in them is named."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from domain_builders import ACCOUNT, GRACE, NOW, payg_account, plan, subscribed, usage

from shared.domain.account import AccountState
from shared.domain.audit import (
    AccountAudit,
    CarriedCycle,
    Fault,
    StoredAccount,
    StoredCycle,
    StoredUsage,
    StoredVoid,
)
from shared.domain.debit import debit
from shared.domain.ids import EventId
from shared.domain.ledger import Transfer, TransferKind, digest_of_rows, genesis_hash
from shared.domain.pricing import Tier, TokenRates
from shared.domain.usage import PricedUsage

MONTH = datetime(2026, 11, 1, tzinfo=UTC)
#: A nano a token: a record of the builders, 374 tokens in and 44 out, costs 418.
RATES = {7: (Tier(0, TokenRates.inherit({"input": 10**6, "output": 10**6})),)}
COST = 418
changed = msgspec.structs.replace


class Books:
    """The books of an account as they are stored, for somebody to change."""

    def __init__(self, state: AccountState) -> None:
        self.state = state
        self.entries: list[tuple[Transfer, list[StoredUsage]]] = []
        self.cycles = [_stored(cycle) for cycle in state.cycles]
        self.voids: list[StoredVoid] = []
        self.carried: list[CarriedCycle] = []
        self.rates: dict[int, Sequence[Tier]] = dict(RATES)
        self.detached: set[int] = set()

    def credit(self, nanos: int) -> None:
        self.state, transfer = self.state.post(TransferKind.CREDIT, nanos, "opening", NOW)
        self.entries.append((transfer, []))

    def use(self, *event_ids: str) -> None:
        self._debit([usage(event_id, COST) for event_id in event_ids])

    def use_all_kinds(self, event_id: str) -> None:
        more = {
            "cache_read_tokens": 1,
            "cache_write_tokens": 2,
            "input_audio_tokens": 4,
            "output_audio_tokens": 8,
        }
        self._debit([usage(event_id, COST + sum(more.values()), **more)])

    def _debit(self, batch: list[PricedUsage]) -> None:
        done = debit(self.state, batch, {}, NOW, GRACE)
        self.state = done.after
        rows = [StoredUsage(r.row, r.digest, r.debited_at, r.fingerprint) for r in done.records]
        self.entries.append((done.transfers[-1], rows))
        self.cycles = [_stored(cycle) for cycle in self.state.cycles]

    def void(self, event_id: str, nanos: int, quota_nanos: int = 0) -> None:
        taken_by = next(t.seq for t, rows in self.entries if any(u.row.event_id == event_id for u in rows))
        self.state, transfer = self.state.post(
            TransferKind.VOID, nanos, event_id, NOW, quota_amount_nanos=quota_nanos
        )
        self.entries.append((transfer, []))
        self.voids.append(StoredVoid(EventId(event_id), nanos, quota_nanos, taken_by))

    def change_row(self, place: int, *, sealed: bool = True, **values: Any) -> None:
        """Change a row of an entry; sealed, with all digests and hashes made anew, as an insider would."""
        transfer, rows = self.entries[place]
        row = rows[0].row._replace(**values)
        rows[0] = changed(rows[0], row=row, digest=row.digest() if sealed else rows[0].digest)
        digest = digest_of_rows((u.row.event_id, u.digest) for u in rows)
        self.entries[place] = (changed(transfer, rows_digest=digest), rows)
        self.chain()

    def change(self, place: int, *, sealed: bool = True, **values: Any) -> None:
        """Change a transfer; sealed, with all hashes made anew."""
        transfer, rows = self.entries[place]
        self.entries[place] = (changed(transfer, **values), rows)
        if sealed:
            self.chain()

    def chain(self) -> None:
        head = genesis_hash(ACCOUNT)
        for place, (transfer, rows) in enumerate(self.entries):
            self.entries[place] = (transfer.with_hash(head), rows)
            head = self.entries[place][0].hash
        self.state = changed(self.state, head_hash=head)

    def fault(self, **account: Any) -> tuple[str, str, str] | None:
        """Return what the audit finds: table, key, what is wrong."""
        stored = StoredAccount(ACCOUNT, self.state.balance_nanos, self.state.seq, self.state.head_hash)
        audit = AccountAudit(replace(stored, **account), self.rates, self.voids, self.carried)
        try:
            for transfer, rows in self.entries:
                audit.check_transfer(transfer, rows, detached=transfer.seq in self.detached)
            audit.check_end(self.cycles)
        except Fault as found:
            return found.table, found.key, found.what
        return None


def _stored(cycle: Any) -> StoredCycle:
    return StoredCycle(cycle.start, cycle.quota_nanos, cycle.quota_remaining_nanos, cycle.spent_nanos)


def _payg() -> Books:
    """A credit, two records in one transfer, one in another."""
    books = Books(payg_account())
    books.credit(10_000)
    books.use("req_1", "req_2")
    books.use("req_3")
    return books


def _with_plan(quota: int = 600) -> Books:
    """A record that the quota pays, and one that it pays in part."""
    books = Books(subscribed(plan(quota), MONTH, balance_nanos=0, fallback=True))
    books.credit(10_000)
    books.use("req_1")
    books.use("req_2")
    return books


def _uncollected() -> Books:
    """A record of every kind of tokens, which the quota pays in part and nobody the rest."""
    books = Books(subscribed(plan(100), MONTH))
    books.use_all_kinds("req_1")
    return books


@pytest.mark.parametrize("books", [_payg(), _with_plan(), _uncollected(), Books(payg_account())])
def test_sound_books_pass(books: Books) -> None:
    assert books.fault() is None


_ROW, _TRANSFER = ("usage_records", "acc_1/req_1"), ("transfers", "acc_1/2")
_CHANGES: dict[str, tuple[Callable[[Books], None], tuple[str, str], str]] = {
    "a value of a row": (
        lambda books: books.change_row(1, sealed=False, model="other"),
        _ROW,
        "a value was changed: its digest does not match",
    ),
    "the charge": (
        lambda books: books.change_row(1, charge_nanos=COST + 1),
        _ROW,
        "charge is not quota + balance + uncollected",
    ),
    "the price": (
        lambda books: books.change_row(1, list_nanos=COST + 1, charge_nanos=COST + 1, balance_nanos=COST + 1),
        _ROW,
        "list price is not that of rate 7",
    ),
    "the rate": (lambda books: books.change_row(1, rate_id=8), _ROW, "there is no rate 8"),
    "the tokens": (
        lambda books: books.change_row(1, input_tokens=1),
        _ROW,
        "list price is not that of rate 7",
    ),
    "the model": (
        lambda books: books.change_row(1, model="other"),
        ("usage_ids", "acc_1/req_1"),
        "the fingerprint is missing or not that of the record",
    ),
    "the number": (
        lambda books: books.change(1, seq=3),
        ("transfers", "acc_1/3"),
        "expected number 2",
    ),
    "the cause": (
        lambda books: books.change(1, sealed=False, cause="other"),
        _TRANSFER,
        "the hash chain breaks here",
    ),
    "the balance after": (
        lambda books: books.change(1, balance_after_nanos=1),
        _TRANSFER,
        "balance_after is not the balance before plus the amount",
    ),
    "the amount": (
        lambda books: books.change(1, amount_nanos=-1, balance_after_nanos=9_999),
        _TRANSFER,
        "its amount is not the sum of its usage rows",
    ),
    "the quota": (
        lambda books: books.change(1, quota_amount_nanos=-1),
        _TRANSFER,
        "its quota amount is not the sum of its usage rows",
    ),
    "the time of the debit": (
        lambda books: books.change(1, occurred_at=NOW + timedelta(seconds=1)),
        _ROW,
        "debited_at is not the time of its transfer",
    ),
    "a row less": (
        lambda books: books.entries[1][1].pop(),
        _TRANSFER,
        "its usage rows are not those it was made of: one was added or removed",
    ),
    "the kind": (
        lambda books: books.change(1, kind=TransferKind.CREDIT),
        _TRANSFER,
        "usage rows name a transfer of kind credit",
    ),
}


@pytest.mark.parametrize(("change", "where", "what"), _CHANGES.values(), ids=_CHANGES)
def test_a_change_is_named(change: Callable[[Books], Any], where: tuple[str, str], what: str) -> None:
    books = _payg()
    change(books)
    assert books.fault() == (*where, what)


def test_a_kind_of_tokens_without_a_price_is_named() -> None:
    books = _payg()
    books.rates[7] = (Tier(0, TokenRates(10**6, None, None, None, None, None)),)
    assert books.fault() == (*_ROW, "the model has no price for output tokens")


@pytest.mark.parametrize(
    ("account", "what"),
    [
        ({"balance_nanos": 1}, f"balance 1, its transfers sum to {10_000 - 3 * COST}"),
        ({"seq": 4}, "seq or head_hash is not that of the last transfer"),
        ({"head_hash": b"x"}, "seq or head_hash is not that of the last transfer"),
    ],
)
def test_the_account_says_what_its_transfers_come_to(account: dict[str, Any], what: str) -> None:
    assert _payg().fault(**account) == ("accounts", "acc_1", what)


@pytest.mark.parametrize("values", [{"quota_remaining_nanos": 1}, {"spent_nanos": 1}, {"quota_nanos": 700}])
def test_a_cycle_has_left_what_its_records_did_not_take(values: dict[str, int]) -> None:
    books = _with_plan()
    assert books.cycles == [StoredCycle(MONTH, 600, 0, 2 * COST - 600)]
    books.cycles = [changed(books.cycles[0], **values)]
    key = f"acc_1/{MONTH.isoformat()}"
    assert books.fault() == ("cycles", key, "what is left of it is not what its records did not take")
    books.cycles = []
    assert books.fault() == ("cycles", key, "records count in it, and it is gone")


def test_a_record_that_was_voided_counts_in_no_cycle() -> None:
    books = _with_plan()
    books.void("req_1", 0, COST)
    books.cycles = [StoredCycle(MONTH, 600, COST, 2 * COST - 600)]
    assert books.fault() is None


def test_a_void_gives_back_what_its_record_took_and_no_more() -> None:
    for nanos, quota in ((COST - 1, 0), (COST, 1)):
        books = _payg()
        books.void("req_1", nanos, quota)
        what = "a void gives back something else than the record took"
        assert books.fault() == ("transfers", "acc_1/req_1", what)
    books = _payg()
    books.void("req_1", COST)
    assert books.fault() is None
    books.voids.append(StoredVoid(EventId("req_9"), 1, 0, None))
    assert books.fault() == ("transfers", "acc_1/req_9", "a void of no usage record")


def _detached() -> Books:
    """The first record's month is away; what it took of the cycle was noted."""
    books = _with_plan()
    books.entries[1][1].clear()
    books.detached = {2}
    books.carried = [CarriedCycle(MONTH, COST, 0)]
    return books


def test_what_detached_rows_took_is_what_was_noted_of_them() -> None:
    assert _detached().fault() is None
    books = _detached()
    books.carried = [CarriedCycle(MONTH, COST - 1, 0)]
    books.cycles = [changed(books.cycles[0], quota_remaining_nanos=1)]
    what = "they do not add up to the quota that transfers of detached months took"
    assert books.fault() == ("usage_period_cycles", "acc_1", what)


def test_a_cycle_may_lie_in_two_months_that_are_detached() -> None:
    books = _detached()
    books.entries[2][1].clear()
    books.detached = {2, 3}
    books.carried = [CarriedCycle(MONTH, COST, 100), CarriedCycle(MONTH, 600 - COST, 2 * COST - 700)]
    assert books.fault() is None


def test_what_detached_rows_took_of_the_balance_counts_in_the_cycle() -> None:
    books = _detached()
    books.carried = [CarriedCycle(MONTH, COST, 5)]
    assert books.fault() is not None
    books.cycles = [changed(books.cycles[0], spent_nanos=books.cycles[0].spent_nanos + 5)]
    assert books.fault() is None


def test_a_row_that_is_still_here_though_its_month_is_away_is_named() -> None:
    books = _with_plan()
    books.detached = {2}
    what = "its month is detached, by usage_periods, and it is still here"
    assert books.fault() == ("usage_records", "acc_1/req_1", what)


def test_a_void_of_a_detached_row_accounts_for_its_quota() -> None:
    books = _with_plan()
    books.void("req_1", 0, COST)
    books.entries[1][1].clear()
    books.detached = {2}
    books.cycles = [StoredCycle(MONTH, 600, COST, 2 * COST - 600)]
    assert books.fault() is None
    books.voids = [changed(books.voids[0], taken_by_seq=3)]
    assert books.fault() == ("transfers", "acc_1/req_1", "a void of no usage record")


def test_a_fault_says_table_key_and_what() -> None:
    assert str(Fault("cycles", "acc_1/x", "it is gone")) == "cycles acc_1/x: it is gone"
