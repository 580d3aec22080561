"""When the owner is told of what, and who else hears it: bounds, quiet hours, rules, mail, webhooks."""

from datetime import time
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from pydantic import BeforeValidator, Field

from api.bodies import Told
from api.console.forms import Blank, MaybeAmountOrZero, MaybeText
from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from api.routes.alert_settings import AlertSettingsWanted, Amounts, Minutes, Percents, QuietHours, change
from shared.domain.errors import RefusedError
from shared.domain.levels import DEFAULT_BOUNDS
from shared.operations.alert_settings import show_alert_settings
from shared.operations.delivery.mail_recipients import list_recipients
from shared.operations.delivery.webhook_endpoints import list_endpoints

router = APIRouter()


def _several(fields: list[str]) -> list[str]:
    """Return what stands between the spaces of a field, without ornaments."""
    return [word.strip("$%").replace(",", "") for field in fields for word in field.split()]


def _whole(fields: list[str]) -> list[int | str]:
    return [int(word) if word.isascii() and word.isdecimal() else word for word in _several(fields)]


_Amounts = Annotated[Amounts, BeforeValidator(_several), Field(default_factory=list)]
_Percents = Annotated[Percents, BeforeValidator(_whole), Field(default_factory=list)]
_Minutes = Annotated[Minutes, BeforeValidator(_whole), Field(default_factory=list)]
_MaybeTime = Annotated[time | None, Blank]


class Wanted(Told):
    """The form: a bound that is blank is that of everybody, and rules of a kind stand in one field."""

    low: MaybeAmountOrZero = None
    warning: MaybeAmountOrZero = None
    critical: MaybeAmountOrZero = None
    quiet_start: _MaybeTime = None
    quiet_end: _MaybeTime = None
    time_zone: MaybeText = None
    balance: _Amounts
    quota_percent: _Percents
    spending_limit_percent: _Percents
    key_limit_percent: _Percents
    spend_per_hour: _Amounts
    spend_per_day: _Amounts
    time_to_empty_minutes: _Minutes

    def quiet_hours(self) -> QuietHours | None:
        """Return the quiet hours; in UTC where no place is named. Raises RefusedError for half of them."""
        if self.quiet_start is None and self.quiet_end is None:
            return None
        if self.quiet_start is None or self.quiet_end is None:
            raise RefusedError("quiet hours have a beginning and an end")
        return QuietHours(start=self.quiet_start, end=self.quiet_end, time_zone=self.time_zone or "UTC")


@router.get("/alerts/settings")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """Show all of it."""
    account_id = viewer.reads_account
    return await page(
        request,
        viewer,
        "alert_settings.html",
        settings=await show_alert_settings(services.engine, account_id),
        defaults=DEFAULT_BOUNDS,
        recipients=await list_recipients(services.engine, account_id),
        endpoints=await list_endpoints(services.engine, account_id),
        mail=services.settings.smtp_url is not None,
    )


@router.post("/alerts/settings")
async def save(viewer: Owner, services: ServicesNow, form: Annotated[Wanted, Form()]) -> Response:
    """Save bounds, quiet hours and rules."""
    given = form.model_dump(exclude={"quiet_start", "quiet_end", "time_zone"})
    wanted = AlertSettingsWanted(**given, quiet_hours=form.quiet_hours())
    await change(wanted, viewer.reads_account, services)
    return await done(services, viewer, "alerts/settings", "Saved. It counts from the next transaction on.")
