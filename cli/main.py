"""The command line: ``payg``. Exit status 1 where something is refused or not found, 2 for wrong usage."""

import logging
import sys
from importlib import import_module
from typing import Annotated

import sqlalchemy.exc
import typer

from cli.output import mode, remarks
from shared.domain.errors import InvalidAmountError, PaygError
from shared.settings import SettingsError

#: The commands of each module of cli.commands. Only the module of the command is imported: all take a second.
COMMANDS = {
    "processes": ("worker", "clock", "api", "up", "demo", "bench"),
    "system": ("migrate", "publish", "audit", "drain"),
    "settings": ("settings",),
    "watch": ("status", "top"),
    "trace": ("trace",),
    "accounts": ("account", "accounts"),
    "plans": ("plan", "plans"),
    "keys": ("key", "keys"),
    "members": ("member",),
    "prices": ("prices",),
    "books": ("usage", "transfers"),
    "quarantine": ("quarantine",),
    "letters": ("dead-letters",),
    "rebuild": ("rebuild",),
    "rerate": ("rerate",),
    "cards": ("card", "cards"),
    "topups": ("topup", "topups"),
    "refunds": ("refund", "refunds", "disputes"),
    "reconcile": ("reconcile", "differences"),
    "webhooks": ("webhooks",),
    "invoices": ("invoice", "invoices"),
    "statements": ("statement", "statements", "signing-key"),
    "verify": ("verify",),
    "alerts": ("alerts",),
    "endpoints": ("endpoint",),
    "asyncapi": ("asyncapi",),
    "broker": ("broker",),
    "simulate": ("simulate",),
    "chaos": ("chaos",),
}


def options(
    json: Annotated[bool, typer.Option("--json", help="Print JSON: one object, or one a line.")] = False,
) -> None:
    mode.json = mode.json or json


def command_line(name: str | None = None) -> typer.Typer:
    """Return the command line with the command of that name, or with all of them where it names none."""
    app = typer.Typer(
        name="payg",
        help="Prepaid billing: exact, fast, provable. With --json anywhere, output is for programs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(options)
    named = [module for module, commands in COMMANDS.items() if name in commands]
    for module in named or COMMANDS:
        import_module(f"cli.commands.{module}").register(app)
    return app


def main() -> None:
    """Run the command line."""
    # What libraries log is for processes, which set up their own; a command says what is wrong itself.
    logging.getLogger().addHandler(logging.NullHandler())
    mode.json = "--json" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    try:
        command_line(*arguments[:1])(arguments)
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
