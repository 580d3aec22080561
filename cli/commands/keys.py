"""payg key create, revoke; payg keys list."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import Period, dollars
from cli.output import print_list, print_object
from cli.session import with_database
from shared.domain.access import MEMBER, Scope
from shared.operations import keys

app = typer.Typer(
    name="key", help="API keys: members of an account, gateways, operators.", no_args_is_help=True
)
listing = typer.Typer(name="keys", help="Keys and when they were last used.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app)
    root.add_typer(listing)


_COLUMNS = ("created_at", "api_key_id", "name", "scopes", "limit_nanos", "last_used_at", "revoked_at")


@app.command()
def create(
    account: Annotated[
        str | None,
        typer.Argument(
            metavar="ACCOUNT", help="The account's id; none for --service, --auditor and --admin."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="USD", parser=dollars, help="What it may spend in a period.")
    ] = None,
    period: Annotated[Period | None, typer.Option(help="The period of the limit.")] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; may be repeated. Default: usage, billing:read."),
    ] = None,
    service: Annotated[bool, typer.Option("--service", help="A gateway's: it asks for any account.")] = False,
    auditor: Annotated[bool, typer.Option("--auditor", help="An auditor's: it sees all.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="An operator's.")] = False,
) -> None:
    """Make a key, which is shown once."""
    if (limit is None) != (period is None):
        raise typer.BadParameter("--limit and --period belong together")
    asked = {Scope.ADMIN: admin, Scope.AUDIT_READ: auditor, Scope.SERVICE: service}
    platform = next((scope for scope, wanted in asked.items() if wanted), None)
    if (account is None) == (platform is None):
        raise typer.BadParameter("name an account, or say --service, --auditor or --admin")
    if platform is not None:
        key = with_database(partial(keys.create_platform_key, name=name, scope=platform))
    else:
        key_limit = keys.KeyLimit(limit, str(period)) if limit is not None else None
        key = with_database(
            partial(
                keys.create_key, account_id=str(account), name=name, limit=key_limit, scopes=scope or MEMBER
            )
        )
    print_object({"account_id": account, "api_key_id": key.api_key_id, "api_key": key.api_key})


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")]) -> None:
    """Revoke a key for good. What it used is still debited."""
    print_object(with_database(partial(keys.revoke_key, api_key_id=key)))


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="An account's; without, the platform's.")] = None,
) -> None:
    """List keys, oldest first."""
    print_list(with_database(partial(keys.list_keys, account_id=account)), _COLUMNS, "no keys")
