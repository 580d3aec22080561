"""payg broker: what RabbitMQ is to be told."""

import json
from pathlib import Path
from typing import Annotated

import typer

from shared.settings import Settings


def register(app: typer.Typer) -> None:
    group = typer.Typer(name="broker", help="What RabbitMQ is to be told.", no_args_is_help=True)
    group.command()(definitions)
    app.add_typer(group)


def definitions(
    passwords: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="A folder with one file a user, which holds its password."
        ),
    ] = None,
    vhost: Annotated[str, typer.Option(help="The virtual host.")] = "/",
    debit_queues: Annotated[
        int, typer.Option(min=1, max=256, help="As PAYG_DEBIT_QUEUES.")
    ] = Settings.model_fields["debit_queues"].default,
) -> None:
    """Print the definitions: queues, a user for each process with the least rights, policies."""
    from shared.messaging.definitions import definitions as defined  # noqa: PLC0415 - the help starts faster

    found = (
        {file.name: file.read_text().strip() for file in passwords.iterdir() if file.is_file()}
        if passwords
        else {}
    )
    print(json.dumps(defined(debit_queues, found, vhost), indent=2))  # noqa: T201 - it is a file's content
