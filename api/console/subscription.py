"""The subscription, and what happens when its quota is used up."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import BaseModel, Field

from api.console.forms import MaybeAmountOrZero
from api.console.pages import done, page
from api.console.viewer import Owner, Reader, ServicesNow
from shared.domain.money import parse_dollars
from shared.operations import accounts

router = APIRouter()


class PlanWanted(BaseModel):
    """The plan to subscribe or to switch to."""

    plan_id: str = Field(min_length=1, max_length=512)


class Fallback(BaseModel):
    """Whether the balance pays after the quota, and how much of it in a cycle at most."""

    enabled: bool = False
    spending_limit: MaybeAmountOrZero = None


@router.get("/subscription")
async def show(request: Request, viewer: Reader, services: ServicesNow) -> Response:
    """Show the plan of this cycle, those there are, and the fallback."""
    plans = {plan["plan_id"]: plan for plan in await accounts.list_plans(services.engine)}
    account = await accounts.show_account(services.engine, viewer.reads_account)
    return await page(request, viewer, "subscription.html", account=account, plans=plans)


@router.post("/subscription")
async def subscribe(viewer: Owner, services: ServicesNow, form: Annotated[PlanWanted, Form()]) -> Response:
    """Subscribe at once, or switch at the next cycle."""
    await _change(viewer, services, plan=form.plan_id)
    return await done(services, viewer, "subscription", "Your subscription is changed.")


@router.post("/subscription/cancel")
async def cancel(viewer: Owner, services: ServicesNow) -> Response:
    """Cancel at the end of the cycle."""
    await _change(viewer, services, cancel_plan=True)
    return await done(services, viewer, "subscription", "Your plan ends with this cycle.")


@router.post("/subscription/fallback")
async def set_fallback(viewer: Owner, services: ServicesNow, form: Annotated[Fallback, Form()]) -> Response:
    """Let the balance pay when the quota is used up, or not."""
    limit = None if form.spending_limit is None else parse_dollars(form.spending_limit)
    await _change(viewer, services, {"fallback": form.enabled, "spending_limit_nanos": limit})
    return await done(services, viewer, "subscription", "Saved what happens after the quota.")


async def _change(
    viewer: Owner,
    services: ServicesNow,
    settings: dict[str, Any] | None = None,
    *,
    plan: str | None = None,
    cancel_plan: bool = False,
) -> None:
    await accounts.set_account(
        services.engine,
        viewer.reads_account,
        settings or {},
        plan=plan,
        cancel_plan=cancel_plan,
        grace=services.settings.late_record_grace,
    )
    await services.holds.refresh([viewer.reads_account])
