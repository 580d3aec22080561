"""payg endpoint create, list, set, rotate, disable, enable, remove, deliveries, replay."""

from datetime import datetime
from functools import partial
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import instant
from cli.output import print_list, print_object
from cli.session import with_database
from shared.clock import utc_now
from shared.domain.alerts import AlertType
from shared.domain.deliveries import DeliveryState
from shared.operations.delivery import webhook_endpoints as endpoints
from shared.settings import load_settings

app = typer.Typer(
    name="endpoint", help="Webhooks: where alerts go, and what became of them.", no_args_is_help=True
)


def register(root: typer.Typer) -> None:
    root.add_typer(app)


Account = Annotated[
    str | None, typer.Option("--account", help="An account's; without, an operator's, for all accounts.")
]
Types = Annotated[list[AlertType] | None, typer.Option("--type", help="Only this type; may be repeated.")]
Description = Annotated[str | None, typer.Option(help="A text for people.")]
EndpointArgument = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")]

_COLUMNS = ("created_at", "endpoint_id", "url", "event_types", "enabled", "disabled_because")
_LOG = ("created_at", "delivery_id", "event_id", "type", "state", "attempts", "status", "detail")


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="https, on the public Internet.")],
    account: Account = None,
    types: Types = None,
    description: Description = None,
) -> None:
    """Add an endpoint. Its secret, by which it verifies what it gets, is shown once."""
    make = partial(
        endpoints.create_endpoint,
        account_id=account,
        url=url,
        event_types=types or (),
        description=description,
        loopback=load_settings().webhook_loopback,
    )
    print_object(with_database(make))


@app.command("list")
def list_(account: Account = None) -> None:
    """List endpoints, oldest first."""
    print_list(with_database(partial(endpoints.list_endpoints, account_id=account)), _COLUMNS, "no endpoints")


@app.command("set")
def set_(
    endpoint: EndpointArgument,
    account: Account = None,
    types: Types = None,
    all_types: Annotated[bool, typer.Option("--all-types", help="Alerts of every type again.")] = False,
    url: Annotated[str | None, typer.Option(help="https, on the public Internet.")] = None,
    description: Description = None,
) -> None:
    """Change which types an endpoint gets, its URL or its description; what is not named stays."""
    if types and all_types:
        raise typer.BadParameter("give --type or --all-types")
    changes = endpoints.Changes()
    if types or all_types:
        changes["event_types"] = [*(types or ())]
    if url is not None:
        changes["url"] = url
    if description is not None:
        changes["description"] = description
    if not changes:
        raise typer.BadParameter("say what to change: --type, --all-types, --url or --description")
    _change(endpoint, account, changes)


@app.command()
def rotate(endpoint: EndpointArgument, account: Account = None) -> None:
    """Make a new secret, shown once; for 24 hours the one before signs too."""
    change = partial(endpoints.rotate_secret, account_id=account, endpoint_id=endpoint, now=utc_now())
    print_object(with_database(change))


@app.command()
def disable(endpoint: EndpointArgument, account: Account = None) -> None:
    """Send nothing any more, and give up what was to be sent; replay sends it later."""
    _change(endpoint, account, endpoints.Changes(enabled=False))


@app.command()
def enable(endpoint: EndpointArgument, account: Account = None) -> None:
    """Send what happens from now on."""
    _change(endpoint, account, endpoints.Changes(enabled=True))


@app.command()
def remove(endpoint: EndpointArgument, account: Account = None) -> None:
    """Remove an endpoint for good."""
    with_database(partial(endpoints.remove_endpoint, account_id=account, endpoint_id=endpoint))
    print_object({"endpoint_id": endpoint, "removed": True})


@app.command()
def deliveries(
    endpoint: EndpointArgument,
    account: Account = None,
    state: Annotated[
        list[DeliveryState] | None, typer.Option(help="Only those in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List what became of events, newest first: the last answer and the beginning of its body."""
    look = partial(
        endpoints.list_deliveries,
        account_id=account,
        endpoint_id=endpoint,
        limit=limit,
        states=state or (),
    )
    print_list(with_database(look), _LOG, "no deliveries")


@app.command()
def replay(
    endpoint: EndpointArgument,
    account: Account = None,
    delivery: Annotated[str | None, typer.Option(help="Only this delivery.")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=instant, help="What happened since and did not arrive.")
    ] = None,
    sent_too: Annotated[bool, typer.Option("--sent-too", help="Also what did arrive.")] = False,
) -> None:
    """Send events again, with the ids they had."""
    if (delivery is None) == (since is None):
        raise typer.BadParameter("say either --delivery or --since")

    async def send_again(engine: AsyncEngine) -> int:
        if delivery is not None:
            await endpoints.replay_delivery(engine, account, endpoint, delivery, utc_now())
            return 1
        since_then = since or utc_now()
        return await endpoints.replay_since(
            engine, account, endpoint, since_then, utc_now(), sent_too=sent_too
        )

    print_object({"replayed": with_database(send_again)})


def _change(endpoint: str, account: str | None, changes: endpoints.Changes) -> None:
    change = partial(
        endpoints.change_endpoint,
        account_id=account,
        endpoint_id=endpoint,
        changes=changes,
        loopback=load_settings().webhook_loopback,
    )
    print_object(with_database(change))
