"""payg invoices list, payg invoice show."""

from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli.output import mode, print_list, print_object
from cli.session import with_database
from shared.operations.payments import invoices

invoice = typer.Typer(name="invoice", help="One invoice, as it was issued.", no_args_is_help=True)
listing = typer.Typer(name="invoices", help="Invoices, one for every top-up.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(invoice)
    root.add_typer(listing)


_COLUMNS = ("number", "issued_at", "account_id", "buyer", "amount_nanos", "refunded_nanos")


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(account: Annotated[str | None, typer.Option(help="Only this account's.")] = None) -> None:
    """List invoices in order of their numbers, with what was refunded since."""
    print_list(with_database(partial(invoices.list_invoices, account_id=account)), _COLUMNS, "no invoices")


@invoice.callback()
def invoice_group() -> None:
    """Make ``show`` a command of its own."""


@invoice.command()
def show(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Such as INV-00000042.")],
    pdf: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it there, as a PDF.")
    ] = None,
) -> None:
    """Show an invoice: the document that was frozen, and beside it what was refunded since."""
    shown, document = with_database(partial(invoices.show_invoice, number=number))
    if pdf is not None:
        from shared.documents.invoice_pdf import render_invoice  # noqa: PLC0415 - what draws takes long to load

        pdf.write_bytes(render_invoice(document))
    print_object(shown | {"document": msgspec.to_builtins(document)} if mode.json else shown)
