"""payg member put, list, remove: who signs in to the console by mail."""

from functools import partial
from typing import Annotated

import typer

from cli.output import print_list, print_object
from cli.session import with_database
from shared.domain.access import Role
from shared.operations import members

app = typer.Typer(name="member", help="People who sign in to the console by mail.", no_args_is_help=True)

_COLUMNS = ("member_id", "address", "role", "api_key_id", "signed_in_at")
Account = Annotated[str | None, typer.Option(metavar="ACCOUNT", help="The account; without, the platform.")]


def register(root: typer.Typer) -> None:
    root.add_typer(app)


@app.command()
def put(
    address: Annotated[str, typer.Argument(help="The mail address.")],
    role: Annotated[Role, typer.Option(help="What they may see and do.")],
    account: Account = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="The key whose usage a member sees.")] = None,
) -> None:
    """Let somebody sign in, or change their role."""
    print_object(
        with_database(
            partial(members.put_member, account_id=account, address=address, role=role, api_key_id=key)
        )
    )


@app.command("list")
def list_(account: Account = None) -> None:
    """List who may sign in."""
    print_list(with_database(partial(members.list_members, account_id=account)), _COLUMNS, "nobody")


@app.command()
def remove(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's id.")], account: Account = None
) -> None:
    """Let somebody in no more; their sessions are over at once."""
    address = with_database(partial(members.remove_member, account_id=account, member_id=member))
    print_object({"member_id": member, "address": address, "removed": True})
