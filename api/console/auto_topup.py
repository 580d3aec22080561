"""Automatic top-up: below how much, by how much, and how often at most."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import BaseModel, Field

from api.console.formats import money
from api.console.forms import Amount, AmountOrZero, MaybeAmount
from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from api.services import Services
from shared.domain.money import parse_dollars
from shared.domain.topup import PRESETS, Preset
from shared.operations.payments import topups
from shared.operations.payments.topups import FIRST_CAPS, Caps

router = APIRouter()

_UNSET = ("threshold_nanos", "amount_nanos", "disabled_because", "max_per_day_nanos", "max_per_month_nanos")


class PresetWanted(BaseModel):
    """A choice that suits a kind of use."""

    preset: Preset


class Wanted(BaseModel):
    """Settings of one's own; a cap on money that is blank is none."""

    threshold: AmountOrZero
    amount: Amount
    max_per_day: Annotated[int, Field(ge=1, le=1000)] = FIRST_CAPS["max_per_day"]
    max_per_month: Annotated[int, Field(ge=1, le=10_000)] = FIRST_CAPS["max_per_month"]
    max_per_day_usd: MaybeAmount = None
    max_per_month_usd: MaybeAmount = None


@router.get("/auto-topup")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """Show the settings."""
    auto = await auto_settings(services, viewer.reads_account)
    return await page(request, viewer, "auto_topup.html", auto=auto, presets=PRESETS)


async def auto_settings(services: Services, account_id: str) -> dict[str, Any]:
    """Return the settings of an account; where it never had any, those it would begin with."""
    auto = await topups.show_auto_topup(services.engine, account_id)
    return {**dict.fromkeys(_UNSET), **FIRST_CAPS, **auto}


@router.post("/auto-topup/preset")
async def choose(viewer: Owner, services: ServicesNow, form: Annotated[PresetWanted, Form()]) -> Response:
    """Switch on with a preset; the caps stay."""
    terms = PRESETS[form.preset]
    return await _set(viewer, services, terms.threshold_nanos, terms.amount_nanos, None)


@router.post("/auto-topup")
async def set_up(viewer: Owner, services: ServicesNow, form: Annotated[Wanted, Form()]) -> Response:
    """Switch on with settings of one's own."""
    caps = Caps(
        max_per_day=form.max_per_day,
        max_per_month=form.max_per_month,
        max_per_day_nanos=parse_dollars(form.max_per_day_usd) if form.max_per_day_usd else None,
        max_per_month_nanos=parse_dollars(form.max_per_month_usd) if form.max_per_month_usd else None,
    )
    return await _set(viewer, services, parse_dollars(form.threshold), parse_dollars(form.amount), caps)


@router.post("/auto-topup/off")
async def switch_off(viewer: Owner, services: ServicesNow) -> Response:
    """Switch it off."""
    await topups.switch_off_auto_topup(services.engine, viewer.reads_account)
    return await done(services, viewer, "auto-topup", "Automatic top-up is off.")


async def _set(
    viewer: Owner, services: ServicesNow, threshold_nanos: int, amount_nanos: int, caps: Caps | None
) -> Response:
    await topups.set_auto_topup(
        services.engine,
        services.payments,
        viewer.reads_account,
        threshold_nanos=threshold_nanos,
        amount_nanos=amount_nanos,
        payment_method=None,
        caps=caps,
    )
    text = (
        f"Automatic top-up is on: {money(amount_nanos)} whenever you have less than {money(threshold_nanos)}."
    )
    return await done(services, viewer, "auto-topup", text)
