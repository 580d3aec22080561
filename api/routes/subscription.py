"""The account's subscription, and what happens when its quota is used up."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from api.access import ReadingAccount, WritingAccount
from api.amounts import DollarsOrZero
from api.bodies import Body, Flag
from api.errors import RESPONSES
from api.paging import Page
from api.services import Services, services_of
from shared.domain.money import parse_dollars
from shared.operations import accounts

router = APIRouter(prefix="/v1/billing", tags=["subscription"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]


class Plan(BaseModel):
    """A plan that an account can subscribe to; the quota is granted afresh in each month."""

    plan_id: str
    name: str
    quota_nanos: int
    price_nanos: int
    discount_ppm: int
    time_zone: str


class Subscription(BaseModel):
    """The plan of the cycle that runs, and the one of the next: None where it is cancelled."""

    plan_id: str | None
    next_plan_id: str | None
    quota_nanos: int
    quota_remaining_nanos: int
    cycle_spent_nanos: int
    cycle_start: datetime | None
    cycle_end: datetime | None


class Wanted(Body):
    """The plan to subscribe or to switch to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan_id": "plan_1"}]})

    plan_id: str = Field(min_length=1, max_length=512)


class Fallback(Body):
    """Whether the balance pays when the quota is used up, and how much of it in a cycle at most."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True, "spending_limit": "50"}]})

    enabled: Flag
    spending_limit: DollarsOrZero | None = Field(None, description="dollars a cycle; without one, no limit")


class FallbackNow(BaseModel):
    """The fallback as it is set."""

    enabled: bool
    spending_limit_nanos: int | None
    cycle_spent_nanos: int


@router.get("/plans")
async def list_plans(account_id: ReadingAccount, services: ServicesNow) -> Page[Plan]:  # noqa: ARG001 - who may
    """List the plans there are."""
    return Page(data=[Plan(**plan) for plan in await accounts.list_plans(services.engine)])


@router.get("/subscription")
async def subscription(account_id: ReadingAccount, services: ServicesNow) -> Subscription:
    """Show the subscription."""
    shown = await accounts.show_account(services.engine, account_id)
    return Subscription(**{name: shown[name] for name in Subscription.model_fields})


@router.put("/subscription")
async def subscribe(wanted: Wanted, account_id: WritingAccount, services: ServicesNow) -> Subscription:
    """Subscribe to a plan, at once, or switch to another at the next cycle. The balance stays as it is."""
    await _change(services, account_id, plan=wanted.plan_id)
    return await subscription(account_id, services)


@router.delete("/subscription")
async def cancel(account_id: WritingAccount, services: ServicesNow) -> Subscription:
    """Cancel: the plan lasts to the end of its cycle, then the balance pays."""
    await _change(services, account_id, cancel_plan=True)
    return await subscription(account_id, services)


@router.get("/fallback")
async def fallback(account_id: ReadingAccount, services: ServicesNow) -> FallbackNow:
    """Show whether the balance pays when the quota is used up."""
    shown = await accounts.show_account(services.engine, account_id)
    return FallbackNow(
        enabled=shown["fallback"],
        spending_limit_nanos=shown["spending_limit_nanos"],
        cycle_spent_nanos=shown["cycle_spent_nanos"],
    )


@router.put("/fallback")
async def set_fallback(wanted: Fallback, account_id: WritingAccount, services: ServicesNow) -> FallbackNow:
    """Let the balance pay when the quota is used up, or not."""
    limit = None if wanted.spending_limit is None else parse_dollars(wanted.spending_limit)
    settings = {"fallback": wanted.enabled, "spending_limit_nanos": limit}
    await _change(services, account_id, settings)
    return await fallback(account_id, services)


async def _change(
    services: Services,
    account_id: str,
    settings: Mapping[str, object] | None = None,
    *,
    plan: str | None = None,
    cancel_plan: bool = False,
) -> None:
    await accounts.set_account(
        services.engine,
        account_id,
        settings or {},
        plan=plan,
        cancel_plan=cancel_plan,
        grace=services.settings.late_record_grace,
    )
    await services.holds.refresh([account_id])
