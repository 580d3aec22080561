"""payg asyncapi: the messages that go in and come out, for programs that make code or documents of it."""

import sys

import msgspec
import typer

from shared.messaging.asyncapi import asyncapi_document


def asyncapi() -> None:
    """Print the AsyncAPI document of usage and alerts, as JSON."""
    text = msgspec.json.format(msgspec.json.encode(asyncapi_document()), indent=2).decode()
    sys.stdout.write(text + "\n")


def register(app: typer.Typer) -> None:
    app.command()(asyncapi)
