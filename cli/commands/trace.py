"""payg trace: any id, from the log to the ledger."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.commands.letters import dead_letters
from cli.output import console, mode, print_object
from cli.session import with_database, with_transport
from shared.domain.errors import NotFoundError
from shared.messaging.transport import Transport, TransportError
from shared.operations import trace as tracing


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    record_id: Annotated[
        str, typer.Argument(metavar="ID", help="Of an event, transfer (ACCOUNT/SEQ), alert, payment, entry.")
    ],
    account: Annotated[str | None, typer.Option(help="Look for an event in this account only.")] = None,
) -> None:
    """Show what an id names and what came of it: price, payer, transfer, evaluation, alerts, deliveries."""
    try:
        steps = with_database(partial(tracing.trace, record_id=record_id, account_id=account))
    except NotFoundError as nowhere:
        steps = _given_up(record_id, nowhere)
    if mode.json:
        print_object({"id": record_id, "steps": steps})
        return
    for step in steps:
        console.print(f"\n[bold]{step['step'].replace('_', ' ')}[/bold]")
        print_object({name: value for name, value in step.items() if name != "step"})


def _given_up(record_id: str, nowhere: NotFoundError) -> Sequence[tracing.Step]:
    """Return the dead letters that carry what is nowhere else; raises NotFoundError if there are none."""
    try:
        letters = with_transport(partial(_dead_letters, record_id=record_id))
    except TransportError as error:
        raise NotFoundError(f"{nowhere}; dead letters were not looked at: {error}") from error
    if not letters:
        raise NotFoundError(f"{nowhere}, nor in a dead letter") from nowhere
    return letters


async def _dead_letters(_engine: AsyncEngine, transport: Transport, record_id: str) -> Sequence[tracing.Step]:
    """Return the dead letters that carry a record."""
    named = msgspec.json.encode(record_id).decode()
    return [
        {"step": "dead_letter", **letter}
        async for letter in dead_letters(transport)
        if named in letter["body"]
    ]
