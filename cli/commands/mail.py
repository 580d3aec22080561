"""payg account mail: who gets mail about an account."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import AccountArgument
from cli.output import print_list, print_object
from cli.session import with_database
from shared.domain.alerts import AlertType
from shared.operations.delivery import mail_recipients

_COLUMNS = ("recipient_id", "address", "event_types", "enabled", "refused_because")


def mail(
    account: AccountArgument,
    to: Annotated[str | None, typer.Option(help="Add this address, or change what it gets.")] = None,
    type_: Annotated[
        list[AlertType] | None, typer.Option("--type", help="Only alerts of this type; may be repeated.")
    ] = None,
    remove: Annotated[str | None, typer.Option(metavar="RECIPIENT", help="Take an address away.")] = None,
) -> None:
    """Say who gets mail about an account; alone, list the addresses."""
    if to and remove:
        raise typer.BadParameter("give --to or --remove")
    if type_ and not to:
        raise typer.BadParameter("--type goes with --to", param_hint="--type")
    if to:
        put = partial(mail_recipients.put_recipient, account_id=account, to=to, event_types=type_ or ())
        print_object(with_database(put))
    elif remove:
        with_database(partial(mail_recipients.remove_recipient, account_id=account, recipient_id=remove))
        print_object({"account_id": account, "recipient_id": remove, "removed": True})
    else:
        found = with_database(partial(mail_recipients.list_recipients, account_id=account))
        print_list(found, _COLUMNS, "no addresses")


def register(account: typer.Typer) -> None:
    """Add the command to the group of accounts."""
    account.command()(mail)
