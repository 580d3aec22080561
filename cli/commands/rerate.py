"""payg rerate: what usage would have cost at other prices."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.arguments import instant
from cli.output import mode, print_list, print_object
from cli.price_list import read_price_list
from cli.session import with_database
from shared.domain.rerating import RerateLine
from shared.operations import rerate as operation

_SUMMED = ("records", "list_nanos", "rerated_nanos", "difference_nanos", "unpriced_records", "unpriced_nanos")
_COLUMNS = ("account_id", "model", *_SUMMED[:-1])


def register(app: typer.Typer) -> None:
    app.command()(rerate)


def rerate(
    start: Annotated[
        datetime, typer.Option("--from", parser=instant, metavar="TIME", help="Debited from then on.")
    ],
    end: Annotated[
        datetime, typer.Option("--to", parser=instant, metavar="TIME", help="Debited before then.")
    ],
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account's; for several, again.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="As if all of it had been on this model.")] = None,
    provider: Annotated[str | None, typer.Option(help="The provider of --model.")] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A CSV as of `payg prices import`, over the book.",
        ),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            parser=instant, metavar="TIME", help="At the prices of then; default: each record's time."
        ),
    ] = None,
) -> None:
    """Show what usage would have cost at other list prices; nothing changes. Exit 1 if some has no price."""
    if start >= end:
        raise typer.BadParameter("it must be earlier than --to", param_hint="--from")
    if provider and not model:
        raise typer.BadParameter("it needs --model", param_hint="--provider")
    other = operation.OtherPrices(
        model=(provider, model) if model else None,
        listed=list(read_price_list(prices)) if prices else None,
        at=at,
    )
    lines = with_database(
        partial(operation.rerate, account_ids=account or (), start=start, end=end, prices=other)
    )
    _print(lines)
    if any(line.unpriced_records for line in lines):
        raise SystemExit(1)


def _print(lines: Sequence[RerateLine]) -> None:
    shown = [asdict(line) | {"difference_nanos": line.difference_nanos} for line in lines]
    totals: dict[str, Any] = {name: sum(line[name] for line in shown) for name in _SUMMED}
    if mode.json:
        print_object({**totals, "lines": shown})
    else:
        print_list(shown, _COLUMNS, "no usage was debited then")
        print_object(totals)
