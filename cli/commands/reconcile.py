"""payg reconcile; payg differences: list, dismiss."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import instant
from cli.output import mode, print_list, print_object, progress_bar
from cli.session import with_database
from shared.clock import utc_now
from shared.domain.errors import RefusedError
from shared.gateways.stripe_payments import configured_payments
from shared.operations.payments import differences as operations
from shared.operations.payments.mend import menders
from shared.operations.payments.reconcile import LOOK_BACK, Reconciliation, Report
from shared.operations.payments.settle import SettlePolicy
from shared.settings import load_settings

differences = typer.Typer(
    name="differences", help="What differs between Stripe and the books.", no_args_is_help=True
)

_COLUMNS = ("id", "kind", "stripe_id", "account_id", "topup_id", "state", "detail")


def register(app: typer.Typer) -> None:
    app.command()(reconcile)
    app.add_typer(differences)


def reconcile(
    start: Annotated[
        datetime | None,
        typer.Option("--from", parser=instant, metavar="TIME", help="Default: three days ago."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", parser=instant, metavar="TIME", help="Default: now.")
    ] = None,
) -> None:
    """Compare Stripe with the books, mend what has one right answer; exit 1 if differences remain."""
    start = start or (end or utc_now()) - LOOK_BACK
    if start >= (end or utc_now()):
        raise typer.BadParameter("it must be earlier than --to", param_hint="--from")
    with progress_bar("days") as progress:
        task = progress.add_task("comparing", total=None)
        moved = lambda done, of: progress.update(task, completed=done, total=of)  # noqa: E731
        report = with_database(partial(_run, start=start, end=end, progress=moved))
    found = [*report.mended, *report.open]
    counts = _counts(report)
    if mode.json:
        print_object({**counts, "differences": found})
    else:
        print_list(found, _COLUMNS, "no differences")
        print_object(counts)
    if report.open:
        raise SystemExit(1)


@differences.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Mended and dismissed ones too.")] = False,
) -> None:
    """List what differs between Stripe and the books, oldest first."""
    rows = with_database(partial(operations.list_differences, include_closed=everything))
    print_list(rows, _COLUMNS, "no differences")


@differences.command()
def dismiss(
    difference_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Differences to close.")],
    because: Annotated[str, typer.Option(help="Why; kept with the difference.")],
) -> None:
    """Close differences for good: seen again, they stay closed."""
    dismissed = with_database(partial(operations.dismiss, difference_ids=difference_ids, because=because))
    print_object({"dismissed": len(dismissed), "ids": dismissed})


async def _run(
    engine: AsyncEngine,
    start: datetime,
    end: datetime | None,
    progress: Callable[[int, int], object],
) -> Report:
    settings = load_settings()
    payments = configured_payments(settings)
    if payments is None:
        raise RefusedError("payments are off: PAYG_STRIPE_API_KEY is not set")
    policy = SettlePolicy(timedelta(seconds=settings.topup_retry_s), settings.late_record_grace)
    reconciliation = Reconciliation(engine, payments, utc_now, menders(engine, payments, utc_now, policy))
    return await reconciliation.run(start, end, thorough=True, progress=progress)


def _counts(report: Report) -> dict[str, Any]:
    return {
        "from": report.start,
        "to": report.end,
        "payments": len(report.payments),
        "refunds": len(report.refunds),
        "disputes": len(report.disputes),
        "new": len(report.new),
        "mended": len(report.mended),
        "open": len(report.open),
    }
