"""payg key: create, revoke."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import Period, dollars
from cli.output import print_object
from cli.session import with_database
from shared.operations import accounts

app = typer.Typer(name="key", help="API keys: members of an account.", no_args_is_help=True)


@app.command()
def create(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="USD", parser=dollars, help="What it may spend in a period.")
    ] = None,
    period: Annotated[Period | None, typer.Option(help="The period of the limit.")] = None,
) -> None:
    """Give an account one more key, which is shown once."""
    if (limit is None) != (period is None):
        raise typer.BadParameter("--limit and --period belong together")
    key_limit = accounts.KeyLimit(limit, str(period)) if limit is not None else None
    key = with_database(partial(accounts.create_key, account_id=account, name=name, limit=key_limit))
    print_object({"account_id": account, "api_key_id": key.api_key_id, "api_key": key.api_key})


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")]) -> None:
    """Revoke a key for good. What it used is still debited."""
    print_object(with_database(partial(accounts.revoke_key, api_key_id=key)))
