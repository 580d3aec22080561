"""What Stripe and the books disagree on, for operators."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import BaseModel

from api.console.forms import Reason
from api.console.pages import done, page
from api.console.viewer import Operator, Overseer, ServicesNow
from api.routes.admin import payments
from shared.operations.operator_log import written_down
from shared.operations.payments import differences

router = APIRouter(prefix="/reconciliation")

_SHOWN = 100


class Dismissal(BaseModel):
    """Why a difference is closed for good."""

    reason: Reason


@router.get("")
async def show(
    request: Request, viewer: Overseer, services: ServicesNow, *, closed: bool = False
) -> Response:
    """List differences, newest first."""
    found = await differences.list_differences(services.engine, include_closed=closed)
    return await page(
        request,
        viewer,
        "operator/differences.html",
        rows=list(reversed(found))[:_SHOWN],
        count_all=len(found),
        closed=closed,
    )


@router.post("/run")
async def run(viewer: Operator, services: ServicesNow) -> Response:
    """Compare Stripe with the books over the last three days, and mend what has one right answer."""
    async with written_down(services.engine, viewer.actor, "reconcile"):
        report = await payments.reconcile(services)
    text = (
        f"Compared {report.payments} payments, {report.refunds} refunds and {report.disputes} disputes: "
        f"{report.mended} mended, {report.open} open."
    )
    return await done(services, viewer, "reconciliation", text)


@router.post("/{difference_id}/dismiss")
async def dismiss(
    difference_id: Annotated[str, Path(max_length=512)],
    viewer: Operator,
    services: ServicesNow,
    form: Annotated[Dismissal, Form()],
) -> Response:
    """Close a difference for good."""
    detail = f"{difference_id}: {form.reason}"
    async with written_down(services.engine, viewer.actor, "dismiss difference", detail=detail):
        await differences.dismiss(services.engine, [difference_id], form.reason)
    return await done(services, viewer, "reconciliation", f"{difference_id} is closed.")
