"""payg refund, payg refunds list, payg disputes list."""

from functools import partial
from typing import Annotated

import typer

from cli.arguments import dollars
from cli.output import print_list, print_object
from cli.session import with_database
from shared.operations.payments import disputes, refund_requests
from shared.settings import load_settings

listing = typer.Typer(name="refunds", help="Refunds and where they stand.", no_args_is_help=True)
disputed = typer.Typer(name="disputes", help="What cardholders' banks ask back.", no_args_is_help=True)

AccountOption = Annotated[str | None, typer.Option(help="Only this account's.")]
_REFUNDS = ("created_at", "id", "account_id", "topup_id", "state", "amount_nanos", "reason", "detail")
_DISPUTES = ("created_at", "id", "account_id", "topup_id", "status", "amount_nanos", "taken_nanos", "reason")


def register(app: typer.Typer) -> None:
    app.command()(refund)
    app.add_typer(listing)
    app.add_typer(disputed)


def refund(
    topup: Annotated[str, typer.Argument(metavar="TOPUP", help="The top-up's id.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the books.")],
    amount: Annotated[
        int | None,
        typer.Argument(metavar="USD", parser=dollars, help="Dollars; default: all that is unspent of it."),
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Ask twice, refund once.")] = None,
) -> None:
    """Pay a top-up, or what is unspent of it, back to the card that paid; automatic top-up is suspended."""
    reserve = partial(
        refund_requests.reserve_refund,
        topup_id=topup,
        amount_nanos=amount,
        reason=reason,
        grace=load_settings().late_record_grace,
        idempotency_key=idempotency_key,
    )
    print_object(with_database(reserve))


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(account: AccountOption = None) -> None:
    """List refunds, oldest first."""
    print_list(
        with_database(partial(refund_requests.list_refunds, account_id=account)), _REFUNDS, "no refunds"
    )


@disputed.callback()
def disputed_group() -> None:
    """Make ``list`` a command of its own."""


@disputed.command("list")
def list_disputes(account: AccountOption = None) -> None:
    """List disputes, oldest first."""
    print_list(with_database(partial(disputes.list_disputes, account_id=account)), _DISPUTES, "no disputes")
