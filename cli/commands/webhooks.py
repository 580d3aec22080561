"""payg webhooks list, retry."""

from functools import partial
from typing import Annotated

import typer

from cli.output import print_list, print_object
from cli.session import with_database
from shared.operations.payments import stripe_events

app = typer.Typer(name="webhooks", help="Stripe's events, and what became of them.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app)


_COLUMNS = ("received_at", "id", "type", "object", "state", "detail")


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Those that were processed too.")] = False,
) -> None:
    """List events that wait for a worker, and those that were parked because Stripe refused."""
    print_list(
        with_database(partial(stripe_events.list_events, everything=everything)), _COLUMNS, "no events"
    )


@app.command()
def retry(
    events: Annotated[list[str], typer.Argument(metavar="ID…", help="Events that are parked.")],
) -> None:
    """Let parked events be taken up again."""
    print_object(with_database(partial(stripe_events.retry_events, event_ids=events)))
