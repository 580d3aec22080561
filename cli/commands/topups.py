"""payg topup create, payg topups list."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import dollars
from cli.output import print_list, print_object
from cli.session import with_database
from shared.operations import topups

topup = typer.Typer(name="topup", help="Add funds from a saved card.", no_args_is_help=True)
listing = typer.Typer(name="topups", help="Top-ups and where they stand.", no_args_is_help=True)

_COLUMNS = ("created_at", "id", "account_id", "automatic", "state", "amount_nanos", "detail")


@topup.callback()
def topup_group() -> None:
    """Make ``create`` a command of its own."""


@topup.command()
def create(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    amount: Annotated[int, typer.Argument(metavar="USD", parser=dollars, help="Dollars, at least 5.")],
) -> None:
    """Charge the account's saved card, and credit what was charged."""
    print_object(with_database(partial(topups.create_topup, account_id=account, amount_nanos=amount)))


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(account: Annotated[str | None, typer.Option(help="Only this account's.")] = None) -> None:
    """List top-ups, oldest first."""
    print_list(with_database(partial(topups.list_topups, account_id=account)), _COLUMNS, "no top-ups")
