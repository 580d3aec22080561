"""payg account: create, set, show, credit, autotopup, billing; payg accounts list.

What account owners are told is in ``alert_settings`` and ``mail``.
"""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.arguments import AccountArgument, Switch, dollars, dollars_or_none, instant
from cli.commands import alert_settings, mail
from cli.output import print_list, print_object
from cli.session import with_account, with_database
from shared.domain.topup import PRESETS, Preset
from shared.gateways.stripe_payments import configured_payments
from shared.operations import accounts, money
from shared.operations.payments import invoices, topups
from shared.settings import load_settings

app = typer.Typer(name="account", help="Accounts: who pays.", no_args_is_help=True)
listing = typer.Typer(name="accounts", help="All accounts, or those that a text names.", no_args_is_help=True)

_COLUMNS = ("account_id", "name", "balance_nanos", "plan_id", "frozen", "created_at")


def register(root: typer.Typer) -> None:
    alert_settings.register(app)
    mail.register(app)
    root.add_typer(app)
    root.add_typer(listing)


PlanOption = Annotated[str | None, typer.Option(help="The id, or the unique name, of a plan.")]
FallbackOption = Annotated[
    Switch | None, typer.Option(help="Whether the balance pays what the quota does not cover.")
]
LimitOption = Annotated[
    Any,
    typer.Option(
        metavar="USD|none",
        parser=dollars_or_none,
        help="What the fallback may take in a cycle; none: no limit.",
    ),
]
CountOption = Annotated[
    int | None, typer.Option(min=1, help="Automatic top-ups in a UTC day or month; at first 20 and 200.")
]
CapOption = Annotated[
    Any,
    typer.Option(
        metavar="USD|none",
        parser=dollars_or_none,
        help="Money of automatic top-ups in a UTC day or month; none: no cap.",
    ),
]

LeadOption = Annotated[
    int | None,
    typer.Option(min=0, help="Also where the balance will not last so many minutes; 0: not any more."),
]


@app.command()
def create(
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    plan: PlanOption = None,
    anchor: Annotated[
        datetime | None, typer.Option(parser=instant, help="When the plan's cycles begin; default: now.")
    ] = None,
    fallback: FallbackOption = None,
    spending_limit: LimitOption = None,
) -> None:
    """Create an account and its first key, which is shown once."""
    if anchor and not plan:
        raise typer.BadParameter("an anchor needs a --plan", param_hint="--anchor")
    account_id, key = with_database(
        partial(
            accounts.create_account,
            name=name,
            plan=plan,
            anchor=anchor,
            fallback=fallback is Switch.ON,
            spending_limit_nanos=None if spending_limit == "none" else spending_limit,
        )
    )
    print_object({"account_id": account_id, "api_key_id": key.api_key_id, "api_key": key.api_key})


@app.command("set")
def set_(
    account: AccountArgument,
    plan: Annotated[str | None, typer.Option(metavar="PLAN|none", help="From the next cycle on.")] = None,
    fallback: FallbackOption = None,
    spending_limit: LimitOption = None,
    frozen: Annotated[Switch | None, typer.Option(help="A frozen account is refused at the gate.")] = None,
) -> None:
    """Change an account's plan, fallback, spending limit, or freeze it."""
    settings: dict[str, Any] = {}
    if fallback is not None:
        settings["fallback"] = fallback is Switch.ON
    if frozen is not None:
        settings["frozen"] = frozen is Switch.ON
    if spending_limit is not None:
        settings["spending_limit_nanos"] = None if spending_limit == "none" else spending_limit

    async def change(engine: AsyncEngine) -> dict[str, Any]:
        await accounts.set_account(
            engine,
            account,
            settings,
            plan=None if plan == "none" else plan,
            cancel_plan=plan == "none",
            grace=load_settings().late_record_grace,
        )
        return await accounts.show_account(engine, account)

    print_object(with_account(account, change))


@app.command()
def show(account: AccountArgument) -> None:
    """Show an account: balance, level, current cycle."""
    print_object(with_database(partial(accounts.show_account, account_id=account)))


@app.command()
def credit(
    account: AccountArgument,
    amount: Annotated[int, typer.Argument(metavar="USD", parser=dollars, help="Dollars, such as 12.50.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the books.")],
    idempotency_key: Annotated[str | None, typer.Option(help="Ask twice, credit once.")] = None,
) -> None:
    """Add to an account's balance."""
    grace = load_settings().late_record_grace
    transfer = with_account(
        account,
        partial(
            money.credit_account,
            account_id=account,
            amount_nanos=amount,
            reason=reason,
            grace=grace,
            idempotency_key=idempotency_key,
        ),
    )
    print_object({"account_id": account, **transfer})


@app.command()
def autotopup(
    account: AccountArgument,
    threshold: Annotated[
        int | None, typer.Option(metavar="USD", parser=dollars, help="Top up strictly below this balance.")
    ] = None,
    amount: Annotated[
        int | None, typer.Option(metavar="USD", parser=dollars, help="How much; at least 5.")
    ] = None,
    preset: Annotated[
        Preset | None, typer.Option(help="Threshold and amount: $5/$20, $20/$50, $50/$100 or $100/$200.")
    ] = None,
    payment_method: Annotated[
        str | None, typer.Option(metavar="PM", help="A card at Stripe; default: the one saved before.")
    ] = None,
    max_per_day: CountOption = None,
    max_per_month: CountOption = None,
    max_per_day_usd: CapOption = None,
    max_per_month_usd: CapOption = None,
    lead_minutes: LeadOption = None,
    off: Annotated[bool, typer.Option("--off", help="Switch it off.")] = False,
) -> None:
    """Charge the saved card by itself when the balance falls below a threshold; alone, show the settings."""
    if off:
        print_object(with_database(partial(topups.switch_off_auto_topup, account_id=account)))
        return
    caps = _caps(max_per_day, max_per_month, max_per_day_usd, max_per_month_usd)
    if lead_minutes is not None:
        caps["lead_minutes"] = lead_minutes or None
    if threshold is None and amount is None and not (preset or payment_method or caps):
        print_object(with_database(partial(topups.show_auto_topup, account_id=account)))
        return
    terms = PRESETS[preset] if preset else None
    threshold = terms.threshold_nanos if terms and threshold is None else threshold
    amount = terms.amount_nanos if terms and amount is None else amount
    if threshold is None or amount is None:
        raise typer.BadParameter("give --threshold and --amount, or --preset, or --off")
    settings = with_database(
        partial(
            topups.set_auto_topup,
            payments=configured_payments(load_settings()),
            account_id=account,
            threshold_nanos=threshold,
            amount_nanos=amount,
            payment_method=payment_method,
            caps=caps,
        )
    )
    print_object(settings)


@app.command()
def billing(
    account: AccountArgument,
    name: Annotated[str | None, typer.Option(help="Who buys; default: the account's name.")] = None,
    address: Annotated[str | None, typer.Option(help="The address; | ends a line.")] = None,
    tax_id: Annotated[str | None, typer.Option(help="A tax id, such as a VAT number.")] = None,
    email: Annotated[str | None, typer.Option(help="Where invoices are asked about.")] = None,
) -> None:
    """Say who invoices are made out to. What is not given stays; an empty text takes it away."""
    details = with_database(
        partial(
            invoices.set_billing, account_id=account, name=name, address=address, tax_id=tax_id, email=email
        )
    )
    print_object(details)


def _caps(
    per_day: int | None, per_month: int | None, per_day_usd: int | str | None, per_month_usd: int | str | None
) -> topups.Caps:
    """Return the caps that were named."""
    caps = topups.Caps()
    if per_day is not None:
        caps["max_per_day"] = per_day
    if per_month is not None:
        caps["max_per_month"] = per_month
    if per_day_usd is not None:
        caps["max_per_day_nanos"] = per_day_usd if isinstance(per_day_usd, int) else None
    if per_month_usd is not None:
        caps["max_per_month_nanos"] = per_month_usd if isinstance(per_month_usd, int) else None
    return caps


@listing.callback()
def listing_group() -> None:
    """Make ``list`` a command of its own."""


@listing.command("list")
def list_(
    search: Annotated[str | None, typer.Option(help="The beginning of an id, or of a name.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="Go on after this one, the last of a list.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most to list.")] = 100,
) -> None:
    """List accounts in order of their ids."""
    found = with_database(partial(accounts.list_accounts, limit=limit, after=after, search=search))
    print_list(found, _COLUMNS, "no accounts")
