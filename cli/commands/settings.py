"""payg settings: what can be set."""

import sys
from typing import Annotated

import typer

from cli.output import print_list
from shared.settings_page import settings_page, settings_rows


def register(app: typer.Typer) -> None:
    app.command()(settings)


def settings(
    markdown: Annotated[bool, typer.Option(help="Print docs/settings.md.")] = False,
) -> None:
    """List all settings with what they mean; values are not shown."""
    if markdown:
        sys.stdout.write(settings_page())
    else:
        print_list(settings_rows(), ("variable", "default", "means"), "no settings")
