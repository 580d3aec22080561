"""The command line: ``payg``. Exit status 1 where something is refused or not found, 2 for wrong usage."""

import logging
import sys
from typing import Annotated

import sqlalchemy.exc
import typer

from cli.commands import (
    accounts,
    alert_settings,
    alerts,
    asyncapi,
    books,
    cards,
    endpoints,
    invoices,
    keys,
    letters,
    mail,
    periods,
    plans,
    prices,
    processes,
    quarantine,
    reconcile,
    refunds,
    rerate,
    simulate,
    statements,
    system,
    topups,
    trace,
    verify,
    webhooks,
)
from cli.output import mode, remarks
from shared.domain.errors import InvalidAmountError, PaygError
from shared.settings import SettingsError

app = typer.Typer(
    name="payg",
    help="Prepaid billing: exact, fast, provable. With --json anywhere, output is for programs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (
    accounts.app,
    plans.app,
    keys.app,
    keys.listing,
    prices.app,
    quarantine.app,
    letters.app,
    books.usage,
    books.transfers,
    cards.card,
    cards.listing,
    topups.topup,
    topups.listing,
    invoices.invoice,
    invoices.listing,
    statements.statement,
    statements.listing,
    statements.signing_key,
    refunds.listing,
    refunds.disputed,
    alerts.app,
    webhooks.app,
    endpoints.app,
    reconcile.differences,
):
    app.add_typer(group)
for module in (system, processes, refunds, reconcile, rerate, verify, asyncapi, trace, simulate):
    module.register(app)
periods.register(books.usage)
alert_settings.register(accounts.app)
mail.register(accounts.app)


@app.callback()
def options(
    json: Annotated[bool, typer.Option("--json", help="Print JSON: one object, or one a line.")] = False,
) -> None:
    mode.json = mode.json or json


def main() -> None:
    """Run the command line."""
    # What libraries log is for processes, which set up their own; a command says what is wrong itself.
    logging.getLogger().addHandler(logging.NullHandler())
    arguments = sys.argv[1:]
    mode.json = "--json" in arguments
    try:
        app([argument for argument in arguments if argument != "--json"])
    except (InvalidAmountError, SettingsError) as error:
        _fail(error, 2)
    except PaygError as error:
        _fail(error, 1)
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error
        _fail(f"{type(cause).__name__}: {cause}", 1)


def _fail(message: object, status: int) -> None:
    line = " ".join(str(message).split())  # what others say may have more than one
    remarks.print(f"payg: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(status)
