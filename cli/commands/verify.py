"""payg verify: check a statement on any machine, with neither database nor settings."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import print_object
from shared.domain.signature import parse_key
from shared.domain.statement_check import Checked, check_statement
from shared.domain.statement_export import Exported, StatementFault, read_export, read_json


def register(app: typer.Typer) -> None:
    app.command()(verify)


def _key(text: str) -> bytes:
    return parse_key(text)


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="A statement as JSON, or what was exported."
        ),
    ],
    public_key: Annotated[
        list[bytes] | None,
        typer.Option(
            parser=_key, metavar="KEY", help="The key it must be signed with; for any of several, again."
        ),
    ] = None,
    entries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="The exported entries, where FILE has none."
        ),
    ] = None,
) -> None:
    """Check a statement offline: signature, sums, hash chain, usage rows. Exit status 1 if one does not hold.

    Without --public-key it is shown who signed: compare it with the key that the seller publishes.
    """
    try:
        checked = _check(file, entries, public_key)
    except StatementFault as unreadable:
        checked = Checked(fault=unreadable)
    statement, fault = checked.statement, checked.fault
    print_object(
        {
            "ok": fault is None,
            "account_id": statement.account.account_id if statement else None,
            "period": statement.period if statement else None,
            "signed_by": checked.signed_by,
            "trusted": public_key is not None and checked.signed_by is not None,
            "entries_checked": checked.entries,
            "usage_rows_checked": checked.usage_rows,
            "first_fault": str(fault) if fault else None,
            "fault_where": fault.where if fault else None,
        }
    )
    if fault is not None:
        raise SystemExit(1)


def _check(file: Path, entries: Path | None, trusted: list[bytes] | None) -> Checked:
    signed, beside = _open(file)
    if signed is None:
        raise StatementFault("statement", "the file holds no statement")
    if entries is not None:
        beside = read_export(_lines(entries))[1]
    return check_statement(signed, beside, trusted)


def _open(file: Path) -> tuple[Mapping[str, Any] | None, Iterable[Exported] | None]:
    """Return the statement of a file, and the entries after it; None where there are none."""
    with file.open("rb") as lines:
        head, more = lines.readline(), lines.readline()
    if more.strip() and head.lstrip().startswith(b'{"'):
        return read_export(_lines(file))
    return read_json(file.read_bytes(), "statement"), None


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from lines
