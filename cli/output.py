"""What commands print: JSON for programs, tables for people."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shared.domain.money import format_dollars

console = Console()
#: Progress and remarks, beside what a program may read.
remarks = Console(stderr=True)


class _Mode:
    json = False


mode = _Mode()


def print_object(fields: Mapping[str, Any]) -> None:
    """Print one thing."""
    if mode.json:
        _print_json(fields)
        return
    table = Table(show_header=False, box=None)
    for name, value in fields.items():
        table.add_row(_label(name), _text(name, value))
    console.print(table)


def print_list(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Print many things: all fields as JSON, or these columns for people."""
    if mode.json:
        for row in rows:
            _print_json(row)
        return
    table = Table(box=SIMPLE)
    for column in columns:
        numeric = column.endswith(("_nanos", "_tokens", "seq", "count", "rows", "bytes"))
        table.add_column(_label(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(column, row.get(column)) for column in columns))
    console.print(table if table.row_count else empty)


def progress_bar(unit: str) -> Progress:
    """Return a bar that shows on a terminal, and not in JSON mode, how far a long command is."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        console=remarks,
        disable=mode.json or not remarks.is_terminal,
        transient=True,
    )


def _print_json(fields: Mapping[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode({k: _plain(v) for k, v in fields.items()}).decode() + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a row
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


def _label(name: str) -> str:
    return name.removesuffix("_nanos").replace("_", " ")


def _text(name: str, value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "-"
    if name.endswith("_nanos"):
        return f"${format_dollars(value)}"
    if isinstance(value, bytes):
        return value.hex()[:16]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
    return str(value)
