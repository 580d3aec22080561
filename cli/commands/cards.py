"""payg card add, setup, default, remove; payg cards list."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import AccountArgument
from cli.output import print_list, print_object
from cli.session import with_database
from shared.gateways.stripe_payments import configured_payments
from shared.operations.payments import cards
from shared.settings import load_settings

card = typer.Typer(name="card", help="Cards that are saved at Stripe.", no_args_is_help=True)
listing = typer.Typer(name="cards", help="The saved cards of an account.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(card)
    root.add_typer(listing)


CardArgument = Annotated[str, typer.Argument(metavar="PM", help="The card's id at Stripe, pm_….")]

_COLUMNS = ("id", "brand", "last4", "exp_month", "exp_year", "default")


@card.command()
def add(account: AccountArgument, payment_method: CardArgument) -> None:
    """Save a card; it is charged if no other is, or once it is made the default."""
    payments = configured_payments(load_settings())

    async def save(engine: AsyncEngine) -> Mapping[str, Any]:
        saved = await cards.save_card(engine, payments, account, payment_method, default=False)
        found = await cards.list_cards(engine, payments, account)
        return next(each for each in found if each["id"] == saved)

    print_object(with_database(save))


@card.command()
def setup(
    account: AccountArgument,
    client_secret: Annotated[
        bool, typer.Option("--client-secret", help="For a page of your own, with Stripe.js.")
    ] = False,
) -> None:
    """Open a page at Stripe where the owner saves a card; see url."""
    work = cards.card_setup if client_secret else cards.card_page
    payments = configured_payments(load_settings())
    print_object(with_database(partial(work, payments=payments, account_id=account)))


@card.command()
def default(account: AccountArgument, payment_method: CardArgument) -> None:
    """Charge this card from now on."""
    payments = configured_payments(load_settings())
    change = partial(cards.default_card, payments=payments, account_id=account, payment_method=payment_method)
    print_object(with_database(change))


@card.command()
def remove(account: AccountArgument, payment_method: CardArgument) -> None:
    """Remove a card; without the one that is charged, automatic top-up is off."""
    payments = configured_payments(load_settings())
    change = partial(cards.remove_card, payments=payments, account_id=account, payment_method=payment_method)
    print_object(with_database(change))


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(account: Annotated[str, typer.Option(help="The account's id.")]) -> None:
    """List an account's cards, the newest first; the default is the one that is charged."""
    payments = configured_payments(load_settings())
    found = with_database(partial(cards.list_cards, payments=payments, account_id=account))
    print_list(found, _COLUMNS, "no cards")
