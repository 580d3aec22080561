"""The tables of a statement: usage by model, and everything that moved the balance, day by day."""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from shared.documents.amounts import Money, amount_of
from shared.documents.sheet import (
    ACCENT,
    BODY,
    HAIRLINE,
    INK,
    LABEL,
    LEFT_MM,
    NOTE,
    WIDTH_MM,
    Sheet,
    Text,
    across,
)
from shared.domain.ledger import TransferKind
from shared.domain.statement import Statement, Transaction, UsageLine

_BAR_MM = 0.7
_AMOUNTS = ("list_nanos", "quota_nanos", "balance_nanos", "uncollected_nanos")
_HEADS = ("List price", "From quota", "From balance", "Uncollected")
_KINDS = {
    TransferKind.CREDIT: "Credit",
    TransferKind.ADJUSTMENT: "Adjustment",
    TransferKind.TOPUP: "Top-up",
    TransferKind.VOID: "Voided usage",
    TransferKind.QUOTA_RESET: "Quota granted",
    TransferKind.REFUND: "Refund",
    TransferKind.REFUND_RETURNED: "Refund returned",
    TransferKind.DISPUTE: "Dispute",
    TransferKind.DISPUTE_REINSTATED: "Dispute reinstated",
}


def draw_models(sheet: Sheet, statement: Statement) -> None:
    """Draw usage by model, the dearest first; columns in which nothing stands are left out."""
    lines = statement.usage
    if not lines:
        return
    shown = [
        (head, name)
        for head, name in zip(_HEADS, _AMOUNTS, strict=True)
        if name in ("list_nanos", "balance_nanos") or any(getattr(line, name) for line in lines)
    ]
    share = 0.66 / len(_HEADS)
    columns = {
        name: Money.ending(
            1 - (len(shown) - 1 - place) * share, share, (getattr(line, name) for line in lines)
        )
        for place, (_, name) in enumerate(shown)
    }

    def head() -> None:
        sheet.columns(
            across(0, 0.34, Text(LABEL, "Usage by model")),
            *(columns[name].label(title, LABEL) for title, name in shown),
        )
        sheet.space(1.5)
        sheet.rule(INK)
        sheet.space(2.5)

    sheet.keep(26)
    head()
    sheet.table_head = head
    most = max(line.charge_nanos for line in lines)
    for line in lines:
        sheet.keep(15)
        cells = [cell for name, money in columns.items() for cell in money.cells(getattr(line, name), BODY)]
        sheet.columns(across(0, 0.34, Text(BODY, line.model or "Detached records")), *cells)
        sheet.columns(across(0, 1, Text(NOTE, _counts(line))))
        _bar(sheet, line.charge_nanos, most)
        sheet.space(2.6)
    sheet.table_head = None
    sheet.space(6.5)


def draw_transactions(sheet: Sheet, statement: Statement) -> None:
    """Draw every entry other than usage, and usage by day, in order of time."""
    rows = list(_rows(statement))
    if not rows:
        return
    amounts = Money.ending(0.8, 0.2, (row.amount_nanos for row in rows))
    balances = Money.ending(1, 0.2, (row.balance_nanos for row in rows if row.balance_nanos is not None))

    def head() -> None:
        sheet.columns(
            across(0, 0.13, Text(LABEL, "Date")),
            across(0.13, 0.45, Text(LABEL, "Transaction")),
            amounts.label("Amount", LABEL),
            balances.label("Balance", LABEL),
        )
        sheet.space(1.5)
        sheet.rule(INK)
        sheet.space(2.2)

    sheet.keep(26)
    head()
    sheet.table_head = head
    for row in rows:
        _draw_row(sheet, row, amounts, balances)
    sheet.table_head = None
    sheet.space(8)


class _Row(NamedTuple):
    day: date
    time: str
    what: str
    detail: str
    amount_nanos: int
    balance_nanos: int | None


def _draw_row(sheet: Sheet, row: _Row, amounts: Money, balances: Money) -> None:
    sheet.keep(11)
    balance = () if row.balance_nanos is None else balances.cells(row.balance_nanos, BODY)
    sheet.columns(
        across(0, 0.13, Text(BODY, f"{row.day.day} {row.day:%b}")),
        across(0.13, 0.45, Text(BODY, row.what)),
        *amounts.cells(row.amount_nanos, BODY),
        *balance,
    )
    if row.detail or row.time:
        sheet.columns(across(0, 0.13, Text(NOTE, row.time)), across(0.13, 0.62, Text(NOTE, row.detail)))
    sheet.space(1.1)
    sheet.rule()
    sheet.space(1.3)


def _rows(statement: Statement) -> Iterator[_Row]:
    """Yield entries in order; a day's usage stands after the entries of that day."""
    rows = [((each.occurred_at.date(), 0, each.seq), _entry(each)) for each in statement.transactions]
    for day in statement.usage_days:
        entries = f"{day.transfers:,} entr{'ies' if day.transfers > 1 else 'y'}"
        quota = f", and {_in_words(day.quota_nanos)} from the quota" if day.quota_nanos else ""
        usage = _Row(day.day, "", "Usage", entries + quota, -day.balance_nanos, None)
        rows.append(((day.day, 1, 0), usage))
    yield from (row for _, row in sorted(rows, key=_place))


def _place(row: tuple[tuple[date, int, int], _Row]) -> tuple[date, int, int]:
    return row[0]


def _entry(each: Transaction) -> _Row:
    detail = each.cause
    if each.quota_amount_nanos:
        detail = f"{detail}; quota {_in_words(each.quota_amount_nanos)}"
    what = f"{_KINDS[each.kind]}"
    time = f"{each.occurred_at:%H:%M}"
    return _Row(each.occurred_at.date(), time, what, detail, each.amount_nanos, each.balance_after_nanos)


def _counts(line: UsageLine) -> str:
    if line.model is None:
        return "taken by records that lie in detached months"
    records = f"{line.records:,} record{'s' if line.records > 1 else ''}"
    tokens = f"{line.input_tokens:,} tokens in, {line.output_tokens:,} out"
    return " · ".join(filter(None, (line.provider, records, tokens)))


def _in_words(nanos: int) -> str:
    amount = amount_of(nanos)
    return amount.cents + amount.fine


def _bar(sheet: Sheet, part: int, whole: int) -> None:
    """Draw how much of the most a line is."""
    sheet.space(0.9)
    sheet.fill(LEFT_MM, sheet.get_y(), WIDTH_MM, _BAR_MM, HAIRLINE)
    if part > 0 and whole > 0:
        sheet.fill(LEFT_MM, sheet.get_y(), max(WIDTH_MM * part / whole, 0.4), _BAR_MM, ACCENT)
    sheet.space(_BAR_MM)
