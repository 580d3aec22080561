"""What a statement says wrong of its entries is found and named, even where it was signed so."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from domain_builders import payg_account
from msgspec.structs import replace
from statement_histories import KEY, Month, months, played, signed

from shared.domain.ledger import TransferKind
from shared.domain.money import format_dollars
from shared.domain.statement import Statement, UsageDay, as_document
from shared.domain.statement_check import Checked, check_statement
from shared.domain.statement_export import Exported

_DAY = timedelta(days=1)
_STEPS: list[tuple[timedelta, Any]] = [
    (timedelta(hours=1), (TransferKind.CREDIT, 10_000)),
    (timedelta(), (TransferKind.TOPUP, 5_000)),
    (timedelta(), [("gpt-4o", 300), ("claude-sonnet-4-5", 200)]),
    (_DAY, [("gpt-4o", 700)]),
]


def _month() -> Month:
    (month,) = months(played(payg_account(), _STEPS))
    return month


def _check(month: Month, statement: Statement, entries: list[Exported] | None = None) -> Checked:
    return check_statement(signed(as_document(statement)), entries or month.entries, [KEY.public_key])


def _moved(parts: tuple[Any, ...], *names: str) -> tuple[Any, ...]:
    """Return parts with a nano moved from the first to the second: their sum is as before."""

    def more(part: Any, nanos: int) -> Any:
        changed = {name: getattr(part, name) + nanos for name in names}
        if "amount_nanos" in changed:
            changed["amount"] = format_dollars(changed["amount_nanos"])
        return replace(part, **changed)

    return (more(parts[0], -1), more(parts[1], 1), *parts[2:])


_WRONG: dict[str, tuple[Callable[[Statement], Statement], str, str]] = {
    "a line": (
        lambda said: replace(said, lines=_moved(said.lines, "amount_nanos")),
        "lines, topups",
        "by the entries, amount_nanos is 5000, not 4999",
    ),
    "a day": (
        lambda said: replace(said, usage_days=_moved(said.usage_days, "balance_nanos")),
        "usage_days, 2026-09-20",
        "by the entries, balance_nanos is 500, not 499",
    ),
    "one more day": (
        lambda said: replace(
            said,
            usage_days=(
                *said.usage_days,
                UsageDay(day=date(2026, 9, 30), transfers=0, quota_nanos=0, balance_nanos=0),
            ),
        ),
        "usage_days",
        "there are 3, by the entries 2",
    ),
    "a model": (
        lambda said: replace(said, usage=_moved(said.usage, "balance_nanos", "charge_nanos", "list_nanos")),
        "usage, gpt-4o",
        "by the entries, list_nanos is 1000, not 999",
    ),
    "one more transaction": (
        lambda said: replace(said, transactions=(*said.transactions, replace(said.transactions[-1], seq=9))),
        "entry 9",
        "the statement lists it, and it is not among the entries",
    ),
    "no first transaction": (
        lambda said: replace(said, transactions=said.transactions[1:]),
        "entry 1",
        "the statement does not list it in its place",
    ),
    "no last transaction": (
        lambda said: replace(said, transactions=said.transactions[:-1]),
        "entry 2",
        "the statement does not list it in its place",
    ),
    "the end": (
        lambda said: replace(said, closing=replace(said.closing, hash="0" * 64)),
        "closing",
        "the entries end with number 4 and hash is ",
    ),
}


@pytest.mark.parametrize(("change", "where", "what"), _WRONG.values(), ids=_WRONG)
def test_what_is_signed_and_wrong_is_named(
    change: Callable[[Statement], Statement], where: str, what: str
) -> None:
    month = _month()
    fault = _check(month, change(month.statement)).fault
    assert fault is not None
    assert fault.where == where
    assert fault.what.startswith(what)


def test_rows_beside_some_entries_and_not_beside_others_are_found() -> None:
    month = _month()
    *others, last = month.entries
    fault = _check(month, month.statement, [*others, last._replace(rows=[])]).fault
    assert fault is not None
    assert (fault.where, fault.what) == ("usage", "1 entries of usage have no usage rows beside them")


def test_a_changed_entry_is_named_and_so_is_a_head_that_nobody_signed() -> None:
    month = _month()
    changed = month.entries[0]._replace(transfer=replace(month.entries[0].transfer, cause="other"))
    fault = _check(month, month.statement, [changed, *month.entries[1:]]).fault
    assert fault is not None
    assert (fault.where, fault.what) == ("entry 1", "a value was changed: the hash chain breaks here")

    _, later = months(played(payg_account(), [*_STEPS, (20 * _DAY, (TransferKind.CREDIT, 1))]))
    moved = replace(later.statement, opening=replace(later.statement.opening, hash="0" * 64))
    fault = check_statement({"statement": as_document(moved), "signature": None}, later.entries).fault
    assert fault is not None
    assert (fault.where, fault.what) == ("opening", "entry 5 does not chain to its head")
    fault = _check(later, moved).fault
    assert fault is not None
    assert fault.where == "entry 5"
