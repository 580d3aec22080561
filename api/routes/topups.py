"""Adding funds: by a saved card, by Checkout, by themselves."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path
from pydantic import BaseModel, ConfigDict, Field

from api.access import ReadingAccount, WritingAccount
from api.amounts import Dollars, DollarsOrZero
from api.bodies import Body, CardName, Flag
from api.errors import RESPONSES, ApiError
from api.paging import Page, fields_of
from api.services import Services, services_of
from shared.domain.money import format_dollars, parse_dollars
from shared.domain.topup import MOST_LEAD_MINUTES, PRESETS
from shared.operations.payments import checkout, topups
from shared.operations.payments.topups import Caps

router = APIRouter(prefix="/v1/billing", tags=["add funds"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="ask twice, charged once")
]


class Topup(BaseModel):
    """A top-up and where it stands. At ``action_url`` its owner authenticates, while that is asked for."""

    id: str
    automatic: bool
    channel: str
    state: str
    amount_nanos: int
    detail: str | None
    payment_intent: str | None
    checkout_url: str | None
    action_url: str | None
    receipt_url: str | None
    transfer_seq: int | None
    refunded_nanos: int
    created_at: datetime
    updated_at: datetime


class Begun(BaseModel):
    """A top-up that was begun; the rest is done by a worker."""

    id: str
    state: str
    amount_nanos: int


class Amount(Body):
    """Dollars, at least 5, in whole cents."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": "25"}]})

    amount: Dollars


class CheckoutAmount(Amount):
    """Dollars to pay on Stripe's page; the card may be saved for later."""

    save_card: Flag = False


class CheckoutBegun(Begun):
    """A top-up that its owner pays at ``url``."""

    url: str | None


class AutoTopup(BaseModel):
    """When a saved card is charged by itself, for how much, and how often at most."""

    enabled: bool
    threshold_nanos: int | None = None
    amount_nanos: int | None = None
    max_per_day: int | None = None
    max_per_month: int | None = None
    max_per_day_nanos: int | None = None
    max_per_month_nanos: int | None = None
    lead_minutes: int | None = None
    disabled_because: str | None = None
    payment_method: str | None = None


class AutoTopupWanted(Body):
    """Top up strictly below ``threshold`` by ``amount``; or a preset. Caps are of a UTC day and month.

    With ``lead_minutes`` also where the balance will not last so long at the account's pace; 0: not any more.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"preset": "regular"}, {"threshold": "10", "amount": "25"}]}
    )

    enabled: Flag = True
    preset: str | None = None
    threshold: DollarsOrZero | None = None
    amount: Dollars | None = None
    payment_method: CardName | None = None
    max_per_day: int | None = Field(None, ge=1, le=1000, strict=True)
    max_per_month: int | None = Field(None, ge=1, le=10_000, strict=True)
    max_per_day_usd: Dollars | None = None
    max_per_month_usd: Dollars | None = None
    lead_minutes: int | None = Field(None, ge=0, le=MOST_LEAD_MINUTES, strict=True)


class Preset(BaseModel):
    """A choice that suits a kind of use."""

    name: str
    threshold_nanos: int
    threshold: str
    amount_nanos: int
    amount: str


@router.get("/topups")
async def list_topups(account_id: ReadingAccount, services: ServicesNow) -> Page[Topup]:
    """List the account's top-ups, oldest first."""
    found = await topups.list_topups(services.engine, account_id)
    return Page(data=[Topup(**fields_of(row, Topup)) for row in found])


@router.get("/topups/{topup_id}")
async def show_topup(
    topup_id: Annotated[str, Path(max_length=512)], account_id: ReadingAccount, services: ServicesNow
) -> Topup:
    """Show one top-up."""
    row = await topups.find_topup(services.engine, account_id, topup_id)
    return Topup(**fields_of(row, Topup))


@router.post("/topups", status_code=202)
async def create_topup(
    wanted: Amount, account_id: WritingAccount, services: ServicesNow, idempotency_key: IdempotencyKey = None
) -> Begun:
    """Charge the saved card, and credit what was charged."""
    made = await topups.create_topup(
        services.engine, account_id, parse_dollars(wanted.amount), idempotency_key
    )
    return Begun(**fields_of(made, Begun))


@router.post("/topups/checkout", status_code=202)
async def create_checkout(
    wanted: CheckoutAmount,
    account_id: WritingAccount,
    services: ServicesNow,
    idempotency_key: IdempotencyKey = None,
) -> CheckoutBegun:
    """Begin a top-up that is paid on Stripe's page, with any card."""
    made = await checkout.create_checkout(
        services.engine,
        services.payments,
        account_id,
        parse_dollars(wanted.amount),
        saves_card=wanted.save_card,
        idempotency_key=idempotency_key,
    )
    return CheckoutBegun(**fields_of(made, Begun), url=made.get("checkout_url"))


@router.get("/auto-topup")
async def auto_topup(account_id: ReadingAccount, services: ServicesNow) -> AutoTopup:
    """Show when the saved card is charged by itself."""
    return AutoTopup(**fields_of(await topups.show_auto_topup(services.engine, account_id), AutoTopup))


@router.get("/auto-topup/presets")
async def presets(account_id: ReadingAccount) -> Page[Preset]:  # noqa: ARG001 - who may
    """List choices that suit kinds of use."""
    return Page(
        data=[
            Preset(
                name=str(name),
                threshold_nanos=preset.threshold_nanos,
                threshold=format_dollars(preset.threshold_nanos),
                amount_nanos=preset.amount_nanos,
                amount=format_dollars(preset.amount_nanos),
            )
            for name, preset in PRESETS.items()
        ]
    )


@router.put("/auto-topup")
async def set_auto_topup(
    wanted: AutoTopupWanted, account_id: WritingAccount, services: ServicesNow
) -> AutoTopup:
    """Set when the saved card is charged by itself, or switch that off."""
    if not wanted.enabled:
        set_to = await topups.switch_off_auto_topup(services.engine, account_id)
        return AutoTopup(**fields_of(set_to, AutoTopup))
    threshold_nanos, amount_nanos = _levels(wanted)
    set_to = await topups.set_auto_topup(
        services.engine,
        services.payments,
        account_id,
        threshold_nanos=threshold_nanos,
        amount_nanos=amount_nanos,
        payment_method=wanted.payment_method,
        caps=_caps(wanted),
    )
    return AutoTopup(**fields_of(set_to, AutoTopup))


def _levels(wanted: AutoTopupWanted) -> tuple[int, int]:
    preset = next((found for name, found in PRESETS.items() if str(name) == wanted.preset), None)
    if wanted.preset is not None and preset is None:
        known = ", ".join(str(name) for name in PRESETS)
        raise ApiError(422, "invalid_request", f"preset: it is one of {known}")
    threshold = parse_dollars(wanted.threshold) if wanted.threshold else preset and preset.threshold_nanos
    amount = parse_dollars(wanted.amount) if wanted.amount else preset and preset.amount_nanos
    if threshold is None or amount is None:
        raise ApiError(422, "invalid_request", "name a threshold and an amount, or a preset")
    return threshold, amount


def _caps(wanted: AutoTopupWanted) -> Caps:
    caps = Caps()
    if wanted.max_per_day is not None:
        caps["max_per_day"] = wanted.max_per_day
    if wanted.max_per_month is not None:
        caps["max_per_month"] = wanted.max_per_month
    if wanted.max_per_day_usd is not None:
        caps["max_per_day_nanos"] = parse_dollars(wanted.max_per_day_usd)
    if wanted.max_per_month_usd is not None:
        caps["max_per_month_nanos"] = parse_dollars(wanted.max_per_month_usd)
    if wanted.lead_minutes is not None:
        caps["lead_minutes"] = wanted.lead_minutes or None
    return caps
