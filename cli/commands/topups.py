"""payg topup create, topup checkout, topups list."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import AccountArgument, dollars
from cli.output import print_list, print_object
from cli.session import with_database
from shared.gateways.stripe_payments import configured_payments
from shared.operations.payments import checkout as pages
from shared.operations.payments import topups
from shared.settings import load_settings

topup = typer.Typer(name="topup", help="Add funds, from a saved card or at Checkout.", no_args_is_help=True)
listing = typer.Typer(name="topups", help="Top-ups and where they stand.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(topup)
    root.add_typer(listing)


AmountArgument = Annotated[int, typer.Argument(metavar="USD", parser=dollars, help="Dollars, at least 5.")]
KeyOption = Annotated[str | None, typer.Option(help="Ask twice, top up once.")]

_COLUMNS = ("created_at", "id", "account_id", "automatic", "channel", "state", "amount_nanos", "detail")


@topup.command()
def create(account: AccountArgument, amount: AmountArgument, idempotency_key: KeyOption = None) -> None:
    """Charge the account's saved card, and credit what was charged."""
    create_topup = partial(
        topups.create_topup, account_id=account, amount_nanos=amount, idempotency_key=idempotency_key
    )
    print_object(with_database(create_topup))


@topup.command()
def checkout(
    account: AccountArgument,
    amount: AmountArgument,
    save_card: Annotated[
        bool, typer.Option("--save-card", help="Keep the card for later, and charge it if no other is.")
    ] = False,
    idempotency_key: KeyOption = None,
) -> None:
    """Open a page at Stripe where the owner pays with a new card; see checkout_url."""
    create_checkout = partial(
        pages.create_checkout,
        payments=configured_payments(load_settings()),
        account_id=account,
        amount_nanos=amount,
        saves_card=save_card,
        idempotency_key=idempotency_key,
    )
    print_object(with_database(create_checkout))


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(account: Annotated[str | None, typer.Option(help="Only this account's.")] = None) -> None:
    """List top-ups, oldest first."""
    print_list(with_database(partial(topups.list_topups, account_id=account)), _COLUMNS, "no top-ups")
