"""payg usage and payg transfers: read the books, void a record."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.commands import archive, periods
from cli.output import print_list, print_object
from cli.session import with_database
from shared.db import journal
from shared.db.engine import snapshot
from shared.operations import money
from shared.operations.accounts import show_account
from shared.settings import load_settings

usage = typer.Typer(name="usage", help="Debited usage records.", no_args_is_help=True)
transfers = typer.Typer(name="transfers", help="What moved an account's money.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    periods.register(usage)
    archive.register(usage)
    root.add_typer(usage)
    root.add_typer(transfers)


AccountOption = Annotated[str, typer.Option(help="The account's id.")]
_USAGE_COLUMNS = ("time", "id", "account_id", "model", "input_tokens", "output_tokens", "charge_nanos")
_PAID_COLUMNS = ("quota_nanos", "balance_nanos", "uncollected_nanos")
_TRANSFER_COLUMNS = ("seq", "occurred_at", "kind", "amount_nanos", "balance_after_nanos", "cause", "hash")
_PAGE = 1000


@usage.command("list")
def list_usage(
    account: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="Only the record of this event.")] = None,
) -> None:
    """List usage records: tokens, prices, and who paid."""
    rows = partial(journal.list_usage, account_id=account, event_id=event_id)
    _print_pages(rows, _usage_fields, (*_USAGE_COLUMNS, *_PAID_COLUMNS), "no usage records")


@usage.command()
def void(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the event.")],
    account: AccountOption,
    reason: Annotated[str, typer.Option(help="Why; kept in the books.")],
) -> None:
    """Give back what a record took, once, with a reversing transfer."""
    grace = load_settings().late_record_grace
    transfer = with_database(
        partial(money.void_usage, account_id=account, event_id=event_id, reason=reason, grace=grace)
    )
    print_object({"account_id": account, **transfer})


@transfers.callback()
def transfers_group() -> None:
    """Make ``list`` a command of its own."""


@transfers.command("list")
def list_transfers(account: AccountOption) -> None:
    """List the transfers of an account in order."""
    with_database(partial(show_account, account_id=account))
    _print_pages(partial(journal.list_transfers, account_id=account), dict, _TRANSFER_COLUMNS, "no transfers")


def _usage_fields(row: RowMapping) -> dict[str, Any]:
    fields = dict(row)
    fields.pop("digest")
    return {"id": fields.pop("event_id"), **fields}


def _print_pages(
    rows: Callable[[AsyncConnection], AsyncIterator[RowMapping]],
    fields: Callable[[RowMapping], dict[str, Any]],
    columns: Sequence[str],
    empty: str,
) -> None:
    """Print a listing as it is read, so that its length does not matter."""

    async def run(engine: AsyncEngine) -> None:
        page: list[dict[str, Any]] = []
        printed = False
        async with snapshot(engine) as connection:
            async for row in rows(connection):
                page.append(fields(row))
                if len(page) == _PAGE:
                    print_list(page, columns, empty)
                    page, printed = [], True
        if page or not printed:
            print_list(page, columns, empty)

    with_database(run)
