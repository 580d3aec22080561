"""payg plan create, payg plans list."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import dollars, percent
from cli.output import print_list, print_object
from cli.session import with_database
from shared.operations import accounts

app = typer.Typer(name="plan", help="Subscription plans: a quota for each month.", no_args_is_help=True)
listing = typer.Typer(name="plans", help="The plans there are.", no_args_is_help=True)

_COLUMNS = ("plan_id", "name", "quota_nanos", "price_nanos", "time_zone", "created_at")


def register(root: typer.Typer) -> None:
    root.add_typer(app)
    root.add_typer(listing)


@app.callback()
def plan() -> None:
    """Make ``create`` a command of its own."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name for people.")],
    quota: Annotated[int, typer.Option(metavar="USD", parser=dollars, help="Quota of a cycle.")],
    # No defaults but None: typer hands others to the parser, which expects text.
    price: Annotated[
        int | None, typer.Option(metavar="USD", parser=dollars, help="Price of a cycle; default: 0.")
    ] = None,
    discount: Annotated[
        int | None,
        typer.Option(metavar="PERCENT", parser=percent, help="Discount on what the quota pays; default: 0."),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="IANA time zone of the cycles.")] = "UTC",
) -> None:
    """Create a plan."""
    plan_id = with_database(
        partial(
            accounts.create_plan,
            name=name,
            quota_nanos=quota,
            price_nanos=price or 0,
            discount_ppm=discount or 0,
            zone=time_zone,
        )
    )
    print_object({"plan_id": plan_id, "name": name, "quota_nanos": quota, "price_nanos": price or 0})


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_() -> None:
    """List plans, oldest first."""
    print_list(with_database(accounts.list_plans), _COLUMNS, "no plans")
