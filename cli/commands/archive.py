"""payg usage archive: usage as a Parquet file, from which its charges follow."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import instant
from cli.output import print_object
from cli.session import with_database
from shared.operations.usage_archive import write_archive


def register(usage: typer.Typer) -> None:
    usage.command()(archive)


def archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, such as 2026-10.parquet.")],
    start: Annotated[
        datetime, typer.Option("--from", parser=instant, metavar="TIME", help="Debited from then on.")
    ],
    end: Annotated[
        datetime, typer.Option("--to", parser=instant, metavar="TIME", help="Debited before then.")
    ],
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account's; for several, again.")
    ] = None,
) -> None:
    """Write usage, with all that its charges follow from, to a Parquet file; `payg rerate` reads it."""
    if start >= end:
        raise typer.BadParameter("it must be earlier than --to", param_hint="--from")
    records = with_database(
        partial(write_archive, account_ids=account or (), start=start, end=end, file=file)
    )
    print_object({"file": str(file), "records": records, "bytes": file.stat().st_size})
