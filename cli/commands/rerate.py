"""payg rerate: what usage would have cost at other prices; posted as corrections when told to."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import instant
from cli.output import mode, print_list, print_object
from cli.price_list import read_price_list
from cli.session import tell_gate, with_database
from shared.domain.rerating import RerateLine
from shared.operations import rerate as operation
from shared.operations.rerate_posting import PostedCorrection, rerate_and_post
from shared.operations.usage_archive import rerate_archive
from shared.settings import load_settings

_SUMMED = (
    "records",
    "list_nanos",
    "rerated_nanos",
    "difference_nanos",
    "balance_difference_nanos",
    "unpriced_records",
    "unpriced_nanos",
)
_COLUMNS = ("account_id", "model", *_SUMMED[:-1])
_POSTED_COLUMNS = ("account_id", "seq", "kind", "amount_nanos", "posted_before")


def register(app: typer.Typer) -> None:
    app.command()(rerate)


def rerate(
    start: Annotated[
        datetime | None, typer.Option("--from", parser=instant, metavar="TIME", help="Debited from then on.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", parser=instant, metavar="TIME", help="Debited before then.")
    ] = None,
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
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Of `payg usage archive`: its records and rates, and no database.",
        ),
    ] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Credit, or take, what balances paid too much, or too little.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is posted; kept in the books.")] = None,
) -> None:
    """Show what usage would have cost at other list prices. Exit 1 if some has no price.

    Nothing changes without --post.
    """
    if start and end and start >= end:
        raise typer.BadParameter("it must be earlier than --to", param_hint="--from")
    if provider and not model:
        raise typer.BadParameter("it needs --model", param_hint="--provider")
    if post and (archive or not reason):
        raise typer.BadParameter("it needs --reason, and the books: no --archive", param_hint="--post")
    if reason and not post:
        raise typer.BadParameter("it needs --post", param_hint="--reason")
    if not archive and not (start and end):
        raise typer.BadParameter("both are needed, other than with --archive", param_hint="--from, --to")
    other = operation.OtherPrices(
        model=(provider, model) if model else None,
        listed=list(read_price_list(prices)) if prices else None,
        at=at,
    )
    asked: dict[str, Any] = {"account_ids": account or (), "start": start, "end": end, "prices": other}
    if reason:
        lines, posted = with_database(partial(_post, reason=reason, **asked))
        _print(lines, posted)
        return
    lines = rerate_archive(archive, **asked) if archive else with_database(partial(operation.rerate, **asked))
    _print(lines)
    if any(line.unpriced_records for line in lines):
        raise SystemExit(1)


async def _post(engine: AsyncEngine, **asked: Any) -> tuple[list[RerateLine], list[PostedCorrection]]:  # noqa: ANN401
    lines, posted = await rerate_and_post(engine, grace=load_settings().late_record_grace, **asked)
    await tell_gate(engine, [correction.account_id for correction in posted])
    return lines, posted


def _print(lines: Sequence[RerateLine], posted: Sequence[PostedCorrection] | None = None) -> None:
    shown = [asdict(line) | {"difference_nanos": line.difference_nanos} for line in lines]
    totals: dict[str, Any] = {name: sum(line[name] for line in shown) for name in _SUMMED}
    corrections = None if posted is None else [asdict(correction) for correction in posted]
    if mode.json:
        made = {} if corrections is None else {"posted": corrections}
        print_object({**totals, "lines": shown, **made})
        return
    print_list(shown, _COLUMNS, "no usage was debited then")
    print_object(totals)
    if corrections is not None:
        print_list(corrections, _POSTED_COLUMNS, "no balance was to be corrected")
