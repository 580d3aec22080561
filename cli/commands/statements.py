"""payg statements list, statement show, statement export, signing-key create, signing-key list."""

import os
import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import AccountArgument, month
from cli.output import mode, print_list, print_object
from cli.session import with_database
from shared.clock import utc_now
from shared.domain.periods import Period
from shared.domain.signature import ALGORITHM, KEY_BYTES, SigningKey
from shared.operations import statements
from shared.settings import load_settings

statement = typer.Typer(name="statement", help="One statement of a month.", no_args_is_help=True)
listing = typer.Typer(name="statements", help="Statements by month.", no_args_is_help=True)
signing_key = typer.Typer(name="signing-key", help="The keys that sign statements.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(statement)
    root.add_typer(listing)
    root.add_typer(signing_key)


_COLUMNS = ("period", "state", "opening_nanos", "moved_nanos", "closing_nanos", "transfers", "as_of")
_KEY_COLUMNS = ("key_id", "algorithm", "public_key", "first_used_at", "last_used_at")

MonthArgument = Annotated[Period, typer.Argument(parser=month, metavar="YYYY-MM", help="The month, of UTC.")]


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(account: Annotated[str, typer.Option(help="The account's id.")]) -> None:
    """List the statements of an account, the newest first; a month that is not closed is a preview."""
    seller = load_settings().issuer.seller
    found = with_database(
        partial(statements.list_statements, account_id=account, seller=seller, now=utc_now())
    )
    print_list(found, _COLUMNS, "no statements")


@statement.command()
def show(
    account: AccountArgument,
    period: MonthArgument,
    pdf: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it there, as a PDF.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it there, as CSV.")
    ] = None,
) -> None:
    """Show a statement. With --json it is the document with its signature, as `payg verify` reads it."""
    signed = with_database(partial(_shown, account_id=account, period=period))
    document = statements.read_statement(signed)
    if pdf is not None:
        from shared.documents.statement_pdf import render_statement  # noqa: PLC0415 - takes long to load

        pdf.write_bytes(render_statement(document, signed["signature"]))
    if csv is not None:
        from shared.documents.statement_csv import render_csv  # noqa: PLC0415

        csv.write_text(render_csv(document), newline="")
    if mode.json:
        print_object(signed)
        return
    lines = {f"{line.kind}_nanos": line.amount_nanos for line in document.lines if line.amount_nanos}
    print_object(
        {
            "period": document.period,
            "state": document.state,
            "beginning_balance_nanos": document.opening.balance_nanos,
            **lines,
            "ending_balance_nanos": document.closing.balance_nanos,
            "entries": f"{document.opening.seq + 1} to {document.closing.seq}",
            "head": document.closing.hash,
            "signed_by": signed["signature"] and signed["signature"]["key_id"],
        }
    )


@statement.command()
def export(
    account: AccountArgument,
    period: MonthArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Where to write it.")],
    usage: Annotated[bool, typer.Option("--usage", help="With every usage record.")] = False,
) -> None:
    """Write a statement and the entries it is made of as JSON lines, for `payg verify`."""

    async def run(engine: AsyncEngine) -> int:
        signed = await _shown(engine, account, period)
        return await _write(file, statements.export_statement(engine, account, signed, usage=usage))

    lines = with_database(run)
    print_object({"file": str(file), "account_id": account, "period": str(period), "lines": lines})


@signing_key.command()
def create(
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the key there, not here.")
    ] = None,
) -> None:
    """Make a key that signs statements, for PAYG_SIGNING_KEY or PAYG_SIGNING_KEY_FILE; shown this once."""
    seed = secrets.token_bytes(KEY_BYTES)
    key = SigningKey(seed)
    made: dict[str, Any] = {
        "key_id": key.key_id,
        "algorithm": ALGORITHM,
        "public_key": key.public_key.hex(),
    }
    if file is None:
        made["signing_key"] = seed.hex()
    else:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
            written.write(seed.hex() + "\n")
        made["signing_key_file"] = str(file)
    print_object(made)


@signing_key.command("list")
def list_keys() -> None:
    """List the public keys that ever signed a statement, the one in use first."""
    print_list(with_database(statements.list_keys), _KEY_COLUMNS, "no statement was signed")


async def _shown(engine: AsyncEngine, account_id: str, period: Period) -> dict[str, Any]:
    seller = load_settings().issuer.seller
    return await statements.show_statement(engine, account_id, period, seller, utc_now())


async def _write(file: Path, lines: AsyncIterator[bytes]) -> int:
    """Write lines as they come; nothing is left where they end early."""
    written, part = 0, file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as out:
            async for line in lines:
                out.write(line)
                written += 1
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return written
