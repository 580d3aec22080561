"""A statement as CSV: one table, whose column ``amount`` leads from the opening balance to the closing one.

Amounts are dollars, every digit kept. A text that a spreadsheet would take for a formula is set off by an
apostrophe.
"""

import csv
from collections.abc import Iterator
from io import StringIO

from shared.domain.money import format_dollars
from shared.domain.statement import Statement, UsageLine

_COLUMNS = (
    "section",
    "entry",
    "time",
    "kind",
    "description",
    "records",
    "input_tokens",
    "output_tokens",
    "list",
    "quota",
    "uncollected",
    "amount",
    "balance",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, str | int]


def render_csv(statement: Statement) -> str:
    """Return the CSV of a statement."""
    file = StringIO()
    writer = csv.DictWriter(file, _COLUMNS)
    writer.writeheader()
    writer.writerows(_rows(statement))
    return file.getvalue()


def _rows(statement: Statement) -> Iterator[Row]:
    opening, closing = statement.opening, statement.closing
    yield {
        "section": "opening",
        "entry": opening.seq,
        "time": f"{statement.start:%Y-%m-%dT%H:%M:%SZ}",
        "description": statement.period,
        "balance": opening.balance,
    }
    for each in statement.transactions:
        yield {
            "section": "transaction",
            "entry": each.seq,
            "time": each.occurred_at.isoformat().replace("+00:00", "Z"),
            "kind": each.kind,
            "description": _text(each.cause),
            "quota": format_dollars(each.quota_amount_nanos),
            "amount": each.amount,
            "balance": format_dollars(each.balance_after_nanos),
        }
    for line in statement.usage:
        yield _usage(line)
    yield {
        "section": "closing",
        "entry": closing.seq,
        "time": f"{statement.end:%Y-%m-%dT%H:%M:%SZ}",
        "description": statement.state,
        "balance": closing.balance,
    }


def _usage(line: UsageLine) -> Row:
    return {
        "section": "usage",
        "kind": _text(line.provider or ""),
        "description": _text(line.model or "records of detached months"),
        "records": line.records,
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "list": format_dollars(line.list_nanos),
        "quota": format_dollars(-line.quota_nanos),
        "uncollected": format_dollars(line.uncollected_nanos),
        "amount": format_dollars(-line.balance_nanos),
    }


def _text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
