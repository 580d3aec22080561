"""What was parked, for operators: look, release, dismiss."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import BaseModel

from api.console.forms import Reason as Because
from api.console.pages import done, page
from api.console.viewer import Operator, Overseer, ServicesNow
from shared.domain.quarantine import Reason
from shared.messaging.connect import open_transport
from shared.operations import quarantine
from shared.operations.operator_log import written_down

router = APIRouter(prefix="/quarantine")

EntryId = Annotated[str, Path(max_length=512)]
_SHOWN = 100


class Dismissal(BaseModel):
    """Why an entry is closed for good."""

    reason: Because


@router.get("")
async def show(
    request: Request, viewer: Overseer, services: ServicesNow, *, closed: bool = False
) -> Response:
    """List what is parked, newest first; with ``closed`` also what was released or dismissed."""
    found = await quarantine.list_quarantine(services.engine, include_closed=closed)
    rows = [entry | {"releasable": Reason(entry["reason"]).releasable} for entry in reversed(found)]
    return await page(
        request, viewer, "operator/quarantine.html", rows=rows[:_SHOWN], count_all=len(rows), closed=closed
    )


@router.post("/{entry_id}/release")
async def release(entry_id: EntryId, viewer: Operator, services: ServicesNow) -> Response:
    """Send a parked record on its way again."""
    async with (
        written_down(services.engine, viewer.actor, "release", detail=entry_id),
        open_transport(services.settings.broker_url) as transport,
    ):
        await quarantine.release(services.engine, transport, [entry_id], None)
    return await done(services, viewer, "quarantine", f"{entry_id} is on its way again.")


@router.post("/{entry_id}/dismiss")
async def dismiss(
    entry_id: EntryId, viewer: Operator, services: ServicesNow, form: Annotated[Dismissal, Form()]
) -> Response:
    """Close an entry for good."""
    detail = f"{entry_id}: {form.reason}"
    async with written_down(services.engine, viewer.actor, "dismiss", detail=detail):
        await quarantine.dismiss(services.engine, [entry_id], form.reason)
    return await done(services, viewer, "quarantine", f"{entry_id} is closed.")
