"""A statement as a PDF, drawn from the document and its signature alone: the same bytes each time."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from shared.documents.amounts import MINUS, Money, amount_of, figure
from shared.documents.sheet import (
    ACCENT,
    BODY,
    INK,
    KIND,
    LABEL,
    LEFT_MM,
    NOTE,
    SMALL,
    STRONG,
    TITLE,
    WIDTH_MM,
    Imprint,
    Sheet,
    Style,
    Text,
    across,
    day_of,
)
from shared.documents.statement_chart import draw_days
from shared.documents.statement_tables import draw_models, draw_transactions
from shared.domain.invoice import Party
from shared.domain.statement import LineKind, State, Statement

_PANEL = (243, 248, 245)
_FIGURE = Style(13, 6.2, bold=True)
_FIGURE_END = Style(13, 6.2, bold=True, color=ACCENT)
_CLOSING = Style(11, 6.4, bold=True)
_OPEN = Style(9.5, 5.2, bold=True, color=(180, 83, 9))
_NAMES = {
    LineKind.TOPUPS: "Top-ups",
    LineKind.CREDITS: "Credits",
    LineKind.ADJUSTMENTS: "Adjustments",
    LineKind.REFUNDS: "Refunds",
    LineKind.DISPUTES: "Disputes",
    LineKind.VOIDED_USAGE: "Voided usage, given back",
    LineKind.USAGE: "Usage",
}


def render_statement(statement: Statement, signature: Mapping[str, Any] | None) -> bytes:
    """Return the PDF of a statement."""
    with TemporaryDirectory() as fonts:
        sheet = Sheet(_imprint(statement), f"{MINUS}{msgspec.json.encode(statement).decode()}", Path(fonts))
        sheet.add_page()
        _head(sheet, statement)
        _at_a_glance(sheet, statement)
        _summary(sheet, statement)
        draw_days(sheet, statement)
        draw_models(sheet, statement)
        draw_transactions(sheet, statement)
        _proof(sheet, statement, signature)
        return bytes(sheet.output())


def _imprint(statement: Statement) -> Imprint:
    seller, month = statement.seller, f"{statement.start:%B %Y}"
    ask = f"Questions about this statement? {seller.email}" if seller.email else seller.name
    return Imprint(
        title=f"Statement {statement.period} of {statement.account.account_id}",
        author=seller.name,
        dated=statement.as_of,
        reference=f"Statement, {month}",
        question=ask,
    )


def _head(sheet: Sheet, statement: Statement) -> None:
    sheet.columns(
        across(0, 0.6, Text(TITLE, statement.seller.name)),
        across(0.6, 0.4, Text(KIND, "Statement"), align="R"),
    )
    sheet.space(9)
    closed = statement.state == State.CLOSED
    facts = (
        ("Period", Text(STRONG, f"{statement.start:%B %Y}")),
        ("Account", Text(STRONG, statement.account.account_id)),
        (
            ("Closed", Text(STRONG, day_of(statement.as_of)))
            if closed
            else ("Preview, not closed", Text(_OPEN, f"as of {_minute(statement.as_of)}"))
        ),
    )
    sheet.columns(
        *(across(place / 3, 1 / 3, Text(LABEL, label), fact) for place, (label, fact) in enumerate(facts))
    )
    sheet.space(5)
    sheet.rule()
    sheet.space(5)
    sheet.columns(
        across(0, 0.46, *_party("From", statement.seller)),
        across(0.5, 0.5, *_party("For", statement.account)),
    )
    sheet.space(8)


def _at_a_glance(sheet: Sheet, statement: Statement) -> None:
    came_in = sum(line.amount_nanos for line in statement.lines if line.amount_nanos > 0)
    went_out = sum(line.amount_nanos for line in statement.lines if line.amount_nanos < 0)
    figures = (
        ("Beginning balance", statement.opening.balance_nanos, _FIGURE),
        ("Came in", came_in, _FIGURE),
        ("Went out", went_out, _FIGURE),
        ("Ending balance", statement.closing.balance_nanos, _FIGURE_END),
    )
    sheet.keep(20)
    top_mm = sheet.get_y()
    sheet.fill(LEFT_MM, top_mm, WIDTH_MM, 19, _PANEL)
    sheet.fill(LEFT_MM, top_mm, 0.9, 19, ACCENT)
    for place, (label, nanos, style) in enumerate(figures):
        x_mm = LEFT_MM + 5 + place * (WIDTH_MM - 5) / len(figures)
        sheet.put(x_mm, top_mm + 3.6, Text(LABEL, label))
        sheet.set_y(top_mm + 8.6)
        figure(sheet, x_mm, nanos, style)
    sheet.set_y(top_mm + 19)
    sheet.space(9)


def _summary(sheet: Sheet, statement: Statement) -> None:
    lines = [line for line in statement.lines if line.kind in _NAMES]
    amounts = [line.amount_nanos for line in lines]
    money = Money.ending(1, 0.3, [*amounts, statement.opening.balance_nanos, statement.closing.balance_nanos])
    label = f"Amount in {statement.currency}"
    sheet.columns(across(0, 0.5, Text(LABEL, "Summary")), money.label(label, LABEL))
    sheet.space(1.5)
    sheet.rule(INK)
    sheet.space(2.5)
    opened = f"Beginning balance, {day_of(statement.start)}"
    sheet.columns(across(0, 0.7, Text(BODY, opened)), *money.cells(statement.opening.balance_nanos, BODY))
    for line in lines:
        sheet.space(1.2)
        entries = f"{line.transfers:,} entr{'ies' if line.transfers > 1 else 'y'}"
        sheet.columns(
            across(0, 0.45, Text(BODY, _NAMES[line.kind])),
            across(0.45, 0.25, Text(Style(8, 5.2, color=NOTE.color), entries)),
            *money.cells(line.amount_nanos, BODY),
        )
    sheet.space(2.5)
    sheet.rule()
    sheet.space(2)
    cells = money.cells(statement.closing.balance_nanos, _CLOSING)
    sheet.columns(across(0, 0.7, Text(_CLOSING, "Ending balance")), *cells)
    if quota := _quota(statement):
        sheet.space(1)
        sheet.columns(across(0, 1, Text(NOTE, quota)))
    sheet.space(9)


def _quota(statement: Statement) -> str | None:
    """Return what became of the subscription's quota, in words."""
    moved = {line.kind: line.quota_amount_nanos for line in statement.lines if line.quota_amount_nanos}
    words = {
        LineKind.QUOTA_GRANTS: "granted",
        LineKind.USAGE: "used",
        LineKind.VOIDED_USAGE: "given back",
    }
    parts = [
        f"{word} {amount_of(abs(moved[kind])).cents}{amount_of(moved[kind]).fine}"
        for kind, word in words.items()
        if kind in moved
    ]
    return f"Subscription quota, beside the balance: {', '.join(parts)}." if parts else None


def _proof(sheet: Sheet, statement: Statement, signature: Mapping[str, Any] | None) -> None:
    sheet.keep(48)
    sheet.columns(across(0, 1, Text(STRONG, "Proof")))
    sheet.space(1)
    opening, closing = statement.opening, statement.closing
    facts = [
        ("Begins after entry", f"{opening.seq}, {opening.hash}"),
        ("Ends with entry", f"{closing.seq}, {closing.hash}"),
    ]
    if signature:
        facts.append(("Signed with key", f"{signature['key_id']}, {signature['algorithm']}"))
        facts.append(("Signature", signature["value"]))
    for label, fact in facts:
        sheet.columns(across(0, 0.2, Text(NOTE, label)), across(0.2, 0.8, Text(SMALL, fact)))
    sheet.space(1.5)
    how = (
        "Each entry of the books is chained to the one before by SHA-256. With the statement as JSON and the "
        "exported entries, the command payg verify recomputes the chain between these two heads, and every "
        "figure above."
    )
    preview = "This is a preview of a month that is not closed: it may change, and it is not signed. "
    sheet.columns(across(0, 1, Text(NOTE, how if statement.state == State.CLOSED else preview + how)))


def _party(label: str, party: Party) -> Iterator[Text]:
    yield Text(LABEL, label)
    yield Text(STRONG, party.name)
    for line in party.address:
        yield Text(BODY, line)
    if party.tax_id:
        yield Text(BODY, f"Tax ID {party.tax_id}")
    if party.email:
        yield Text(BODY, party.email)


def _minute(instant: datetime) -> str:
    return f"{day_of(instant)}, {instant:%H:%M} UTC"
