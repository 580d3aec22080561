"""payg dead-letters: list, replay."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.output import print_list, print_object
from cli.session import with_transport
from shared.messaging.topology import every_queue
from shared.messaging.transport import DeadLetter, Transport
from shared.settings import load_settings

app = typer.Typer(name="dead-letters", help="Messages that the broker gave up on.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app)


_COLUMNS = ("queue", "message_id", "records", "enqueued_at", "bytes")


@app.command("list")
def list_() -> None:
    """List dead letters, and leave them where they are."""

    async def read(_engine: AsyncEngine, transport: Transport) -> list[dict[str, Any]]:
        return [letter async for letter in dead_letters(transport)]

    print_list(with_transport(read), _COLUMNS, "no dead letters")


@app.command()
def replay() -> None:
    """Send all dead letters back to the queues they came from."""

    async def send(_engine: AsyncEngine, transport: Transport) -> int:
        return await transport.replay_dead_letters(_queues())

    print_object({"replayed": with_transport(send)})


async def dead_letters(transport: Transport) -> AsyncIterator[dict[str, Any]]:
    """Yield dead letters as people see them."""
    async for letter in transport.dead_letters(_queues()):
        yield _shown(letter)


def _queues() -> list[str]:
    return every_queue(load_settings().debit_queues)


def _shown(letter: DeadLetter) -> dict[str, Any]:
    fields: dict[str, Any] = {"queue": letter.queue, "bytes": len(letter.body)}
    try:
        message = msgspec.json.decode(letter.body)
        fields |= {
            "message_id": message["message_id"],
            "records": len(message["args"][0]),
            "enqueued_at": datetime.fromtimestamp(message["message_timestamp"] / 1000, UTC),
        }
    except (msgspec.DecodeError, LookupError, TypeError):
        fields |= {"message_id": None, "records": None, "enqueued_at": None}
    return fields | {"body": letter.body.decode(errors="replace")}
