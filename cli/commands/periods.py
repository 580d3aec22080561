"""payg usage periods, detach, attach: old months of usage leave the table and come back."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import month
from cli.output import print_list, print_object, progress_bar
from cli.session import with_database
from shared.domain.periods import Period
from shared.operations import periods
from shared.settings import load_settings

_COLUMNS = ("period", "state", "rows", "bytes", "table", "detached_at")


def register(usage: typer.Typer) -> None:
    usage.command("periods")(list_periods)
    for command in (detach, attach):
        usage.command()(command)


def list_periods() -> None:
    """List the months that usage is divided into, attached or detached."""
    print_list(with_database(periods.list_periods), _COLUMNS, "no periods")


def detach(
    before: Annotated[
        Period,
        typer.Option(parser=month, metavar="YYYY-MM", help="Months before this one."),
    ],
) -> None:
    """Prove the books, then make old months tables of their own, to dump and drop. Ids stay taken."""
    grace = load_settings().late_record_grace
    with progress_bar("accounts") as progress:
        task = progress.add_task("auditing", total=None)
        detached = with_database(
            partial(
                periods.detach_periods,
                before=before,
                grace=grace,
                progress=lambda done, of: progress.update(task, completed=done, total=of),
            )
        )
    print_list(detached, _COLUMNS, f"no months before {before} are attached")


def attach(
    period: Annotated[Period, typer.Argument(parser=month, metavar="YYYY-MM", help="The month.")],
) -> None:
    """Bring a detached month back, if its rows are those that went."""
    print_object(with_database(partial(periods.attach_period, period=period)))
