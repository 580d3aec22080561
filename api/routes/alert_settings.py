"""When the account's owner is told of what: bounds of the balance, rules, quiet hours."""

from collections.abc import Mapping, Sequence
from datetime import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from api.access import ReadingAccount, WritingAccount
from api.amounts import Dollars, DollarsOrZero
from api.bodies import Body
from api.errors import RESPONSES
from api.services import Services, services_of
from shared.domain.alert_rules import MOST_RULES, RuleKind
from shared.domain.money import parse_dollars
from shared.operations import alert_settings
from shared.operations.alert_settings import OwnBounds, Quiet

router = APIRouter(prefix="/v1/billing", tags=["alerts"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]

Percents = Annotated[list[Annotated[int, Field(ge=1, le=99, strict=True)]], Field(max_length=MOST_RULES)]
Amounts = Annotated[list[Dollars], Field(max_length=MOST_RULES)]
Minutes = Annotated[
    list[Annotated[int, Field(ge=1, le=1_000_000, strict=True)]], Field(max_length=MOST_RULES)
]


class QuietHours(Body):
    """Local time of a place; over midnight where the end is earlier. What stops requests does not wait."""

    start: time = Field(examples=["22:00"])
    end: time = Field(examples=["07:00"])
    time_zone: str = Field(max_length=100, examples=["Europe/Berlin"])


class AlertSettings(BaseModel):
    """Where levels begin, when it is quiet, and the rules beside the levels: each is told as ``rule.…``."""

    low_nanos: int
    warning_nanos: int
    critical_nanos: int
    quiet_hours: QuietHours | None
    balance_nanos: list[int] = Field(description="told at this balance or below")
    quota_percent: list[int] = Field(description="of the cycle's quota is used")
    spending_limit_percent: list[int] = Field(description="of the spending limit is spent")
    key_limit_percent: list[int] = Field(description="of a key's limit is spent in its period")
    spend_per_hour_nanos: list[int] = Field(description="taken from the balance in an hour of UTC")
    spend_per_day_nanos: list[int] = Field(description="taken from the balance in a day of UTC")
    time_to_empty_minutes: list[int] = Field(description="the balance lasts no longer at the present pace")


class AlertSettingsWanted(Body):
    """All alert settings; what is left out is as for everybody."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"low": "50", "warning": "20", "quota_percent": [80]}]}
    )

    low: Dollars | None = None
    warning: DollarsOrZero | None = None
    critical: DollarsOrZero | None = None
    quiet_hours: QuietHours | None = None
    balance: Amounts = Field(default_factory=list)
    quota_percent: Percents = Field(default_factory=list)
    spending_limit_percent: Percents = Field(default_factory=list)
    key_limit_percent: Percents = Field(default_factory=list)
    spend_per_hour: Amounts = Field(default_factory=list)
    spend_per_day: Amounts = Field(default_factory=list)
    time_to_empty_minutes: Minutes = Field(default_factory=list)


@router.get("/alert-settings")
async def show(account_id: ReadingAccount, services: ServicesNow) -> AlertSettings:
    """Show when the owner is told of what."""
    return _settings(await alert_settings.show_alert_settings(services.engine, account_id))


@router.put("/alert-settings")
async def change(
    wanted: AlertSettingsWanted, account_id: WritingAccount, services: ServicesNow
) -> AlertSettings:
    """Set when the owner is told of what, from the next transfer on."""
    quiet = wanted.quiet_hours
    saved = await alert_settings.set_alert_settings(
        services.engine,
        account_id,
        bounds=OwnBounds(
            low_nanos=_nanos(wanted.low),
            warning_nanos=_nanos(wanted.warning),
            critical_nanos=_nanos(wanted.critical),
        ),
        quiet=Quiet(quiet.start, quiet.end, quiet.time_zone) if quiet else None,
        clear_quiet=quiet is None,
        rules=_rules(wanted),
    )
    return _settings(saved)


def _rules(wanted: AlertSettingsWanted) -> dict[RuleKind, Sequence[int]]:
    return {
        RuleKind.BALANCE: [parse_dollars(amount) for amount in wanted.balance],
        RuleKind.QUOTA_SHARE: wanted.quota_percent,
        RuleKind.SPENDING_LIMIT_SHARE: wanted.spending_limit_percent,
        RuleKind.KEY_LIMIT_SHARE: wanted.key_limit_percent,
        RuleKind.SPEND_PER_HOUR: [parse_dollars(amount) for amount in wanted.spend_per_hour],
        RuleKind.SPEND_PER_DAY: [parse_dollars(amount) for amount in wanted.spend_per_day],
        RuleKind.TIME_TO_EMPTY: wanted.time_to_empty_minutes,
    }


def _settings(shown: Mapping[str, Any]) -> AlertSettings:
    quiet = None
    if shown["time_zone"] is not None:
        quiet = QuietHours(start=shown["quiet_start"], end=shown["quiet_end"], time_zone=shown["time_zone"])
    return AlertSettings(
        low_nanos=shown["low_nanos"],
        warning_nanos=shown["warning_nanos"],
        critical_nanos=shown["critical_nanos"],
        quiet_hours=quiet,
        balance_nanos=shown[RuleKind.BALANCE],
        quota_percent=shown[RuleKind.QUOTA_SHARE],
        spending_limit_percent=shown[RuleKind.SPENDING_LIMIT_SHARE],
        key_limit_percent=shown[RuleKind.KEY_LIMIT_SHARE],
        spend_per_hour_nanos=shown[RuleKind.SPEND_PER_HOUR],
        spend_per_day_nanos=shown[RuleKind.SPEND_PER_DAY],
        time_to_empty_minutes=shown[RuleKind.TIME_TO_EMPTY],
    )


def _nanos(amount: str | None) -> int | None:
    return None if amount is None else parse_dollars(amount)
