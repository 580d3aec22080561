"""payg quarantine: list, release, dismiss."""

from functools import partial
from typing import Annotated

import typer

from cli.output import print_list, print_object
from cli.session import with_database, with_transport
from shared.domain.quarantine import Reason
from shared.operations import quarantine

app = typer.Typer(name="quarantine", help="Records that could not be debited.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app)


_COLUMNS = ("id", "reason", "count", "event_id", "detail")


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Closed entries too.")] = False,
) -> None:
    """List what is parked, with the reason and the raw body (with --json)."""
    rows = with_database(partial(quarantine.list_quarantine, include_closed=everything))
    print_list(rows, (*_COLUMNS, "status") if everything else _COLUMNS, "the quarantine is empty")


@app.command()
def release(
    entry_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Entries to release.")
    ] = None,
    reason: Annotated[Reason | None, typer.Option(help="All entries with this reason.")] = None,
) -> None:
    """Debit parked records as if they had just arrived, once the cause is gone."""
    if bool(entry_ids) == bool(reason):
        raise typer.BadParameter("name entries, or a --reason")
    released = with_transport(partial(quarantine.release, entry_ids=entry_ids or None, reason=reason))
    print_object({"released": len(released), "ids": released})


@app.command()
def dismiss(
    entry_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Entries to close.")],
    because: Annotated[str, typer.Option(help="Why; kept with the entry.")],
) -> None:
    """Close entries for good."""
    dismissed = with_database(partial(quarantine.dismiss, entry_ids=entry_ids, because=because))
    print_object({"dismissed": len(dismissed), "ids": dismissed})
