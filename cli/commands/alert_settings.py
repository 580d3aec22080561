"""payg account alerts: an account's own bounds, quiet hours and rules."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from cli.arguments import AccountArgument, amounts, dollars_or_none, hours, numbers
from cli.output import print_object
from cli.session import with_database
from shared.domain.alert_rules import RuleKind
from shared.operations.alert_settings import OwnBounds, Quiet, set_alert_settings, show_alert_settings

BoundOption = Annotated[
    Any,
    typer.Option(
        metavar="USD|none", parser=dollars_or_none, help="Where that level begins; none: as for everybody."
    ),
]
AmountsOption = Annotated[
    Any, typer.Option(metavar="USD,…|none", parser=amounts, help="Amounts; each is told when it is reached.")
]
PercentsOption = Annotated[
    Any, typer.Option(metavar="PERCENT,…|none", parser=numbers, help="Shares of that limit, 1 to 99.")
]
QuietOption = Annotated[
    Any, typer.Option(metavar="HH:MM-HH:MM|none", parser=hours, help="What can wait waits until its end.")
]
MinutesOption = Annotated[
    Any, typer.Option(metavar="MINUTES,…|none", parser=numbers, help="How long the balance lasts.")
]


def register(app: typer.Typer) -> None:
    """Add the command to those of accounts."""
    app.command("alerts")(alerts)


def alerts(
    account: AccountArgument,
    low: BoundOption = None,
    warning: BoundOption = None,
    critical: BoundOption = None,
    quiet: QuietOption = None,
    time_zone: Annotated[str, typer.Option(help="The IANA time zone of the quiet hours.")] = "UTC",
    balance: AmountsOption = None,
    quota_share: PercentsOption = None,
    spending_limit_share: PercentsOption = None,
    key_limit_share: PercentsOption = None,
    spend_per_hour: AmountsOption = None,
    spend_per_day: AmountsOption = None,
    time_to_empty: MinutesOption = None,
) -> None:
    """Set when an account's owner is told of what; alone, show it. What is not named stays."""
    rules: dict[RuleKind, Sequence[int] | None] = {
        RuleKind.BALANCE: balance,
        RuleKind.QUOTA_SHARE: quota_share,
        RuleKind.SPENDING_LIMIT_SHARE: spending_limit_share,
        RuleKind.KEY_LIMIT_SHARE: key_limit_share,
        RuleKind.SPEND_PER_HOUR: spend_per_hour,
        RuleKind.SPEND_PER_DAY: spend_per_day,
        RuleKind.TIME_TO_EMPTY: time_to_empty,
    }
    named = {kind: found for kind, found in rules.items() if found is not None}
    bounds = _bounds(low, warning, critical)
    if not (named or bounds or quiet):
        print_object(with_database(partial(show_alert_settings, account_id=account)))
        return
    change = partial(
        set_alert_settings,
        account_id=account,
        bounds=bounds,
        quiet=None if quiet in {None, "none"} else Quiet(quiet[0], quiet[1], time_zone),
        clear_quiet=quiet == "none",
        rules=named,
    )
    print_object(with_database(change))


def _bounds(low: int | str | None, warning: int | str | None, critical: int | str | None) -> OwnBounds:
    """Return the bounds that were named."""
    bounds = OwnBounds()
    if low is not None:
        bounds["low_nanos"] = low if isinstance(low, int) else None
    if warning is not None:
        bounds["warning_nanos"] = warning if isinstance(warning, int) else None
    if critical is not None:
        bounds["critical_nanos"] = critical if isinstance(critical, int) else None
    return bounds
