"""payg alerts tail: alert events as they come."""

import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import instant
from cli.output import console, mode
from cli.session import with_transport
from shared.db.alerts import alert_event, alerts_since
from shared.messaging.transport import Transport

app = typer.Typer(name="alerts", help="What was told about accounts.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app)


@app.callback()
def alerts_group() -> None:
    """Make ``tail`` a command of its own."""


@app.command()
def tail(
    since: Annotated[
        datetime | None, typer.Option(parser=instant, help="Those that happened since then come first.")
    ] = None,
) -> None:
    """Print alert events as they come, each once, until Ctrl-C."""

    async def follow(engine: AsyncEngine, transport: Transport) -> None:
        async for event in _events(engine, transport, since):
            _print(event)

    try:
        with_transport(follow)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


async def _events(
    engine: AsyncEngine, transport: Transport, since: datetime | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield past events, then live ones, subscribed before the past was read so that none is missed."""
    seen: set[str] = set()
    async with transport.subscribe_alerts() as live:
        if since is not None:
            async with engine.connect() as connection:
                past = await alerts_since(connection, since)
            for row in past:
                event = msgspec.to_builtins(alert_event(row))
                seen.add(event["id"])
                yield event
        async for delivery in live:
            event = msgspec.json.decode(delivery.body)
            if event["id"] not in seen:
                seen.add(event["id"])
                yield event


def _print(event: dict[str, Any]) -> None:
    if mode.json:
        sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        sys.stdout.flush()
        return
    data = event["data"]
    name = event["type"].removeprefix("payg.").removesuffix(".v1")
    console.print(
        f"{event['time']}  {name:<24} {data.get('account_id') or '-'}  balance ${data['balance']}",
        highlight=False,
        soft_wrap=True,
    )
